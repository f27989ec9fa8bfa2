"""Models of graphs, points, physics, chance and play as users write them: for the suite's group `zoo`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from models import trained
from workloads import Step, step_of


def graph_net(torch: Any, best: bool) -> Step:
    """Two layers of attention over the edges of a graph (Velickovic and others 2018): 1,000 nodes, 8,000 edges."""
    torch.manual_seed(0)
    nn, F = torch.nn, torch.nn.functional

    class Layer(nn.Module):
        def __init__(self, given: int, made: int):
            super().__init__()
            self.lin = nn.Linear(given, made, bias=False)
            self.left, self.right = nn.Linear(made, 1, bias=False), nn.Linear(made, 1, bias=False)

        def forward(self, x: Any, edges: Any) -> Any:
            source, target = edges
            h = self.lin(x)
            score = F.leaky_relu((self.left(h)[source] + self.right(h)[target]).squeeze(1), 0.2)
            most = torch.full((x.shape[0],), -1e9).scatter_reduce(0, target, score, "amax")
            e = torch.exp(score - most[target])
            total = torch.zeros(x.shape[0]).scatter_add(0, target, e)
            w = e / (total[target] + 1e-16)
            return torch.zeros(x.shape[0], h.shape[1]).index_add(0, target, w[:, None] * h[source])

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = Layer(64, 32), Layer(32, 7)

        def forward(self, x: Any, edges: Any) -> Any:
            return self.b(F.elu(self.a(x, edges)), edges)

    model = Model()
    x, edges, y = torch.randn(1000, 64), torch.randint(0, 1000, (2, 8000)), torch.randint(0, 7, (1000,))
    known = torch.rand(1000) < 0.3
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3, weight_decay=5e-4)
    return trained(
        torch, best, lambda x, y: F.cross_entropy(model(x, edges)[known], y[known]), optimizer, x, y
    )


def point_net(torch: Any, best: bool) -> Step:
    """Points of space (Qi and others 2017): 16 x 3 x 256, shared layers to 256, maximum over points."""
    torch.manual_seed(0)
    nn, F = torch.nn, torch.nn.functional
    layers: list[Any] = []
    for i, o in ((3, 64), (64, 64), (64, 128), (128, 256)):
        layers += [nn.Conv1d(i, o, 1), nn.BatchNorm1d(o), nn.ReLU()]
    points = nn.Sequential(*layers)
    head = nn.Sequential(nn.Linear(256, 128), nn.ReLU(), nn.Dropout(0.3), nn.Linear(128, 10))
    optimizer = torch.optim.Adam([*points.parameters(), *head.parameters()], lr=1e-3)
    x, y = torch.randn(16, 3, 256), torch.randint(0, 10, (16,))
    return trained(torch, best, lambda x, y: F.cross_entropy(head(points(x).max(2)[0]), y), optimizer, x, y)


def deep_fm(torch: Any, best: bool) -> Step:
    """Clicks foretold from 20 fields and their pairs (Guo and others 2017): 50,000 x 16, batch of 1,024."""
    torch.manual_seed(0)
    nn, F = torch.nn, torch.nn.functional

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.line = nn.Embedding(50000, 16), nn.EmbeddingBag(50000, 1, mode="sum")
            self.deep = nn.Sequential(
                nn.Linear(320, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 1)
            )

        def forward(self, x: Any) -> Any:
            e = self.words(x)
            pairs = 0.5 * (e.sum(1).pow(2) - e.pow(2).sum(1)).sum(1)
            return self.line(x).squeeze(1) + pairs + self.deep(e.flatten(1)).squeeze(1)

    model = Model()
    x, y = torch.randint(0, 50000, (1024, 20)), torch.rand(1024).round()
    optimizer = torch.optim.Adagrad(model.parameters(), lr=0.01)
    return trained(torch, best, lambda x, y: F.binary_cross_entropy_with_logits(model(x), y), optimizer, x, y)


def triplets(torch: Any, best: bool) -> Step:
    """Distances within a batch, the hardest triplets (Hermans and others 2017): 64 x 128."""
    torch.manual_seed(0)
    nn, F = torch.nn, torch.nn.functional
    model = nn.Sequential(nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 64))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    x, y = torch.randn(64, 256), torch.randint(0, 8, (64,))

    def loss(x: Any, y: Any) -> Any:
        apart = torch.cdist(model(x), model(x))
        same = y[:, None] == y[None]
        far = (apart * same).max(1).values
        near = (apart + 1e6 * same).min(1).values
        return F.relu(far - near + 0.3).mean()

    return trained(torch, best, loss, optimizer, x, y)


def physics(torch: Any, best: bool) -> Step:
    """A net that obeys the heat equation (Raissi and others 2019): second derivatives by autograd, 256 points."""
    torch.manual_seed(0)
    nn = torch.nn
    model = nn.Sequential(
        nn.Linear(2, 50),
        nn.Tanh(),
        nn.Linear(50, 50),
        nn.Tanh(),
        nn.Linear(50, 50),
        nn.Tanh(),
        nn.Linear(50, 1),
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    x = torch.rand(256, 1, requires_grad=True)
    t = torch.rand(256, 1, requires_grad=True)

    def step() -> Any:
        optimizer.zero_grad()
        u = model(torch.cat([x, t], 1))
        ux, ut = torch.autograd.grad(u.sum(), (x, t), create_graph=True)
        uxx = torch.autograd.grad(ux.sum(), x, create_graph=True)[0]
        edge = model(torch.cat([x, torch.zeros_like(t)], 1)) - torch.sin(math.pi * x)
        loss = (ut - 0.1 * uxx).pow(2).mean() + edge.pow(2).mean()
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step_of(torch, best, step)


def meta(torch: Any, best: bool) -> Step:
    """Learning to learn (Finn and others 2017): 4 tasks, one step inside, gradients of gradients."""
    torch.manual_seed(0)
    nn, F = torch.nn, torch.nn.functional
    model = nn.Sequential(nn.Linear(1, 40), nn.ReLU(), nn.Linear(40, 40), nn.ReLU(), nn.Linear(40, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    call = torch.func.functional_call
    xs, ys = torch.randn(4, 2, 10, 1), torch.randn(4, 2, 10, 1)

    def step() -> Any:
        optimizer.zero_grad()
        total = 0
        for x, y in zip(xs, ys, strict=True):
            named = dict(model.named_parameters())
            inner = F.mse_loss(call(model, named, (x[0],)), y[0])
            grads = torch.autograd.grad(inner, list(named.values()), create_graph=True)
            moved = {k: p - 0.01 * g for (k, p), g in zip(named.items(), grads, strict=True)}
            total = total + F.mse_loss(call(model, moved, (x[1],)), y[1])
        total.backward()
        optimizer.step()
        return total.detach()

    return step_of(torch, best, step)


def flow(torch: Any, best: bool) -> Step:
    """Eight coupling layers of a normalising flow (Dinh and others 2017) on points of two numbers, batch of 256."""
    torch.manual_seed(0)
    nn = torch.nn
    nets = nn.ModuleList(
        [
            nn.Sequential(
                nn.Linear(1, 64), nn.LeakyReLU(), nn.Linear(64, 64), nn.LeakyReLU(), nn.Linear(64, 2)
            )
            for _ in range(8)
        ]
    )
    prior = torch.distributions.Independent(torch.distributions.Normal(torch.zeros(2), torch.ones(2)), 1)
    optimizer = torch.optim.Adam(nets.parameters(), lr=1e-3)

    def loss(x: Any) -> Any:
        logs = torch.zeros(x.shape[0])
        for net in nets:
            a, b = x.chunk(2, 1)
            scale, move = net(a).chunk(2, 1)
            scale = torch.tanh(scale)
            x = torch.cat([(b - move) * torch.exp(-scale), a], 1)
            logs = logs - scale.squeeze(1)
        return -(prior.log_prob(x) + logs).mean()

    return trained(torch, best, loss, optimizer, torch.randn(256, 2))


def gauss_process(torch: Any, best: bool) -> Step:
    """The marginal likelihood of 200 points by Cholesky's factor, Adam on three numbers."""
    torch.manual_seed(0)
    x = torch.linspace(0, 1, 200)
    y = torch.sin(6 * x) + 0.1 * torch.randn(200)
    logs = torch.nn.Parameter(torch.tensor([-1.0, 0.0, -2.0]))
    optimizer = torch.optim.Adam([logs], lr=0.01)

    def step() -> Any:
        optimizer.zero_grad()
        length, size, noise = logs.exp()
        k = size * torch.exp(-0.5 * (x[:, None] - x[None]).pow(2) / length**2) + (noise + 1e-4) * torch.eye(
            200
        )
        factor = torch.linalg.cholesky(k)
        alpha = torch.cholesky_solve(y[:, None], factor)
        loss = 0.5 * (y @ alpha).sum() + factor.diagonal().log().sum()
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def per_sample(torch: Any, best: bool) -> Step:
    """Gradients of each sample by vmap(grad), clipped and added (Abadi and others 2016): 784-64-10, batch of 64."""
    torch.manual_seed(0)
    nn, F = torch.nn, torch.nn.functional
    model = nn.Sequential(nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, 10))
    params = {k: p.detach() for k, p in model.named_parameters()}
    x, y = torch.randn(64, 784), torch.randint(0, 10, (64,))

    def loss(params: Any, x: Any, y: Any) -> Any:
        return F.cross_entropy(torch.func.functional_call(model, params, (x[None],)), y[None])

    each = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0))

    def step() -> Any:
        grads = each(params, x, y)
        norm = torch.stack([g.flatten(1).norm(dim=1) for g in grads.values()], 1).norm(dim=1)
        factor = (1 / (norm + 1e-6)).clamp(max=1.0)
        for k, g in grads.items():
            params[k] = params[k] - 0.1 * torch.einsum("b,b...->...", factor, g) / 64
        return params["0.weight"].sum()

    return step


def ppo(torch: Any, best: bool) -> Step:
    """Proximal policy optimisation (Schulman and others 2017): 16 steps of 8 worlds played, then four minibatches."""
    torch.manual_seed(0)
    nn = torch.nn

    class Agent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.actor = nn.Sequential(
                nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 2)
            )
            self.critic = nn.Sequential(
                nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 1)
            )

    agent = Agent()
    optimizer = torch.optim.Adam(agent.parameters(), lr=2.5e-4, eps=1e-5)
    Categorical = torch.distributions.Categorical

    def step() -> Any:
        state, rows = torch.zeros(8, 4), []
        with torch.no_grad():
            for _ in range(16):
                chance = Categorical(logits=agent.actor(state))
                action = chance.sample()
                rows.append(
                    (
                        state,
                        action,
                        chance.log_prob(action),
                        agent.critic(state).squeeze(1),
                        state[:, 0].cos(),
                    )
                )
                state = (
                    0.9 * state
                    + 0.1 * torch.stack([state[:, 1], action.float(), state[:, 3], state[:, 2]], 1)
                    + 0.01
                )
            states, actions, logs, values, rewards = (torch.stack(r) for r in zip(*rows, strict=True))
            gained, last = torch.zeros_like(rewards), torch.zeros(8)
            for t in reversed(range(15)):
                delta = rewards[t] + 0.99 * values[t + 1] - values[t]
                gained[t] = last = delta + 0.99 * 0.95 * last
        states, actions, logs = states.view(-1, 4), actions.view(-1), logs.view(-1)
        goal, gained = (gained + values).view(-1), gained.view(-1)
        for part in torch.randperm(128).split(32):
            chance = Categorical(logits=agent.actor(states[part]))
            ratio = (chance.log_prob(actions[part]) - logs[part]).exp()
            g = gained[part]
            g = (g - g.mean()) / (g.std() + 1e-8)
            loss = -torch.min(g * ratio, g * ratio.clamp(0.8, 1.2)).mean()
            loss = loss + 0.5 * (agent.critic(states[part]).squeeze(1) - goal[part]).pow(2).mean()
            loss = loss - 0.01 * chance.entropy().mean()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(agent.parameters(), 0.5)
            optimizer.step()
        return loss.detach()

    return step


def dqn(torch: Any, best: bool) -> Step:
    """Q learning from a memory (Mnih and others 2015): a batch of 64 drawn, a target that follows slowly."""
    torch.manual_seed(0)
    nn, F = torch.nn, torch.nn.functional
    net, target = (
        nn.Sequential(nn.Linear(8, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 4))
        for _ in range(2)
    )
    target.load_state_dict(net.state_dict())
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-4, amsgrad=True)
    s, n, r = torch.randn(5000, 8), torch.randn(5000, 8), torch.randn(5000)
    a, over = torch.randint(0, 4, (5000,)), torch.rand(5000) < 0.1

    def step() -> Any:
        i = torch.randint(0, 5000, (64,))
        q = net(s[i]).gather(1, a[i, None]).squeeze(1)
        with torch.no_grad():
            later = target(n[i]).max(1).values * ~over[i]
        loss = F.smooth_l1_loss(q, r[i] + 0.99 * later)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_value_(net.parameters(), 100)
        optimizer.step()
        with torch.no_grad():
            for p, t in zip(net.parameters(), target.parameters(), strict=True):
                t.mul_(0.995).add_(0.005 * p)
        return loss.detach()

    return step


def ode(torch: Any, best: bool) -> Step:
    """A field of velocities learned through ten steps of Runge and Kutta (Chen and others 2018): 64 x 2."""
    torch.manual_seed(0)
    nn = torch.nn
    field = nn.Sequential(nn.Linear(2, 50), nn.Tanh(), nn.Linear(50, 2))
    optimizer = torch.optim.RMSprop(field.parameters(), lr=1e-3)

    def loss(y: Any, goal: Any) -> Any:
        h = 0.1
        for _ in range(10):
            k1 = field(y)
            k2 = field(y + h / 2 * k1)
            k3 = field(y + h / 2 * k2)
            y = y + h / 6 * (k1 + 2 * k2 + 2 * k3 + field(y + h * k3))
        return (y - goal).abs().mean()

    return trained(torch, best, loss, optimizer, torch.randn(64, 2), torch.randn(64, 2))


OTHER: dict[str, tuple[Callable[[Any, bool], Step], str, int]] = {
    "graph_net": (graph_net, "graph attention, 1,000 nodes, 8,000 edges", 2),
    "point_net": (point_net, "PointNet, 16 x 256 points", 1),
    "deep_fm": (deep_fm, "DeepFM, 50,000 x 16, batch 1,024", 1),
    "triplets": (triplets, "hardest triplets of 64", 5),
    "physics": (physics, "physics-informed net, second derivatives, 256 points", 2),
    "meta": (meta, "MAML, four tasks", 2),
    "flow": (flow, "normalising flow, eight couplings, batch 256", 2),
    "gauss_process": (gauss_process, "Gaussian process of 200 points", 2),
    "per_sample": (per_sample, "gradients of each sample, 784-64-10, batch 64", 1),
    "ppo": (ppo, "PPO, 16 steps of 8 worlds, four minibatches", 1),
    "dqn": (dqn, "DQN, batch 64 from a memory of 5,000", 5),
    "ode": (ode, "ten steps of Runge and Kutta, 64 x 2", 1),
}
