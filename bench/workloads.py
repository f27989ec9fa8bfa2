"""The workloads of the table of figures, each written once over a module that speaks PyTorch's API.

A workload is `make(torch) -> step`: `step()` does one unit of work and returns the tensors (or numbers) that it made.
The harness keeps every result alive until a value of it has been read: work nobody looks at cannot look fast.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from itertools import cycle
from typing import Any, NamedTuple

Step = Callable[[], Any]


class Workload(NamedTuple):
    """One row: what is timed, how many calls make a round, the goal as a share of PyTorch's time (or in us)."""

    make: Callable[[Any], Step]
    title: str
    calls: int
    goal: float
    per_call: int = 1  # operations in one call, by which the time is divided
    absolute: bool = False  # the goal is in microseconds
    reading: bool = True  # the time of the last reading of a value counts


def is_ours(torch: Any) -> bool:
    """Whether this is flambeau."""
    return torch.__name__ == "flambeau"


def forward_of(torch: Any, best: bool, forward: Callable[..., Any]) -> Callable[..., Any]:
    """What goes forward in a step of fixed structure, in its side's best mode: PyTorch compiles it."""
    return torch.compile(forward) if best and not is_ours(torch) else forward


def step_of(torch: Any, best: bool, step: Callable[..., Any]) -> Callable[..., Any]:
    """A step of fixed structure, in its side's best mode: flambeau compiles the whole of it."""
    return torch.compile(step) if best and is_ours(torch) else step


def record(torch: Any, grad: bool) -> Step:
    """100 multiplications of four numbers, recorded; their values are read outside of the timing."""
    x = torch.ones(4, requires_grad=grad)
    b = torch.full((4,), 1.0001)

    def step() -> list[Any]:
        return [x * b for _ in range(100)]

    return step


def record_plain(torch: Any) -> Step:
    """Without gradient."""
    return record(torch, False)


def record_grad(torch: Any) -> Step:
    """With gradient."""
    return record(torch, True)


def tiny_chain(torch: Any) -> Step:
    """100 operations on 64 numbers, each on the result of the one before; one reading at the end."""
    x, b, c = torch.ones(64), torch.full((64,), 0.999), torch.full((64,), 0.001)

    def step() -> Any:
        y = x
        for _ in range(25):
            y = torch.relu((y * b + c) - 0.0005)
        return y

    return step


def training(
    torch: Any, model: Any, loss_of: Callable[[Any, Any], Any], lr: float, x: Any, y: Any, **sgd: Any
) -> Step:
    """One step of SGD on one batch."""
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, **sgd)

    def step() -> Any:
        optimizer.zero_grad()
        loss = loss_of(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    return step


def linear_regression(torch: Any) -> Step:
    """100 points of a line, one weight and one bias, as the documents' program has it."""
    torch.manual_seed(0)
    x = torch.randn(100, 1)
    y = 2 * x + 3 + 0.2 * torch.randn(100, 1)

    class LinearModel(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = torch.nn.Linear(1, 1)

        def forward(self, x: Any) -> Any:
            return self.linear(x)

    return training(torch, LinearModel(), torch.nn.MSELoss(reduction="sum"), 0.001, x, y)


def mlp(torch: Any) -> Step:
    """784-128-10, batch of 64."""
    torch.manual_seed(0)
    nn = torch.nn
    model = nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))
    x, y = torch.randn(64, 784), torch.randint(0, 10, (64,))
    return training(torch, model, nn.CrossEntropyLoss(), 0.01, x, y)


def lenet_model(torch: Any) -> Any:
    """The documents' network for CIFAR."""
    nn = torch.nn
    return nn.Sequential(
        nn.Conv2d(3, 6, 5),
        nn.ReLU(),
        nn.MaxPool2d(2, 2),
        nn.Conv2d(6, 16, 5),
        nn.ReLU(),
        nn.MaxPool2d(2, 2),
        nn.Flatten(),
        nn.Linear(16 * 5 * 5, 120),
        nn.ReLU(),
        nn.Linear(120, 84),
        nn.ReLU(),
        nn.Linear(84, 10),
    )


def lenet(torch: Any) -> Step:
    """Images of 3x32x32, batch of 4, momentum."""
    torch.manual_seed(0)
    x, y = torch.randn(4, 3, 32, 32), torch.randint(0, 10, (4,))
    model = lenet_model(torch)
    return training(torch, model, torch.nn.CrossEntropyLoss(), 0.001, x, y, momentum=0.9)


def random_trees(torch: Any, best: bool = False) -> Step:
    """A binary LSTM over a new random tree of 4 to 20 leaves at each step, with SGD: no structure comes twice."""
    torch.manual_seed(0)
    width, chance, nn = 32, random.Random(0), torch.nn
    words, cell, head = nn.Embedding(50, width), nn.Linear(2 * width, 5 * width), nn.Linear(width, 5)
    parameters = [*words.parameters(), *cell.parameters(), *head.parameters()]
    optimizer = torch.optim.SGD(parameters, lr=0.01)
    tokens = [torch.tensor([number]) for number in range(50)]
    labels = [torch.tensor([number]) for number in range(5)]

    def merge(hl: Any, cl: Any, hr: Any, cr: Any) -> tuple[Any, Any]:
        i, fl, fr, o, g = cell(torch.cat([hl, hr], 1)).chunk(5, 1)
        c = torch.sigmoid(i) * torch.tanh(g) + torch.sigmoid(fl) * cl + torch.sigmoid(fr) * cr
        return torch.sigmoid(o) * torch.tanh(c), c

    inner = torch.compile(merge) if best else merge

    def node(leaves: int) -> tuple[Any, Any]:
        if leaves == 1:
            h = torch.tanh(words(tokens[chance.randrange(50)]))
            return h, h
        cut = chance.randrange(1, leaves)
        return inner(*node(cut), *node(leaves - cut))

    def step() -> Any:
        optimizer.zero_grad()
        root = head(node(chance.randrange(4, 21))[0])
        loss = nn.functional.cross_entropy(root, labels[chance.randrange(5)])
        loss.backward()
        optimizer.step()
        return loss

    return step


def random_depth(torch: Any, best: bool = False) -> Step:
    """One layer applied 1 to 10 times, the number drawn anew at each step (batch of 16, width 64), with SGD."""
    torch.manual_seed(0)
    chance, nn = random.Random(0), torch.nn
    first, middle, last = nn.Linear(64, 64), nn.Linear(64, 64), nn.Linear(64, 1)
    optimizer = torch.optim.SGD([*first.parameters(), *middle.parameters(), *last.parameters()], lr=0.01)
    x, y = torch.randn(16, 64), torch.randn(16, 1)

    def layer(h: Any) -> Any:
        return torch.relu(middle(h))

    again = torch.compile(layer) if best else layer

    def step() -> Any:
        optimizer.zero_grad()
        h = torch.relu(first(x))
        for _ in range(chance.randrange(1, 11)):
            h = again(h)
        loss = nn.functional.mse_loss(last(h), y)
        loss.backward()
        optimizer.step()
        return loss

    return step


def environment(torch: Any, best: bool = False) -> Step:
    """Ten steps of a pole on a cart with batch 1: state in, probability read, action out; then a policy gradient."""
    torch.manual_seed(0)
    import numpy as np

    nn, rng = torch.nn, np.random.default_rng(0)
    policy = nn.Sequential(nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 2))
    optimizer = torch.optim.SGD(policy.parameters(), lr=0.001)
    state = rng.normal(0, 0.05, 4).astype(np.float32)

    def move(action: int) -> float:
        x, v, angle, spin = state
        force = 10.0 if action else -10.0
        turn = (9.8 * math.sin(angle) - math.cos(angle) * force / 1.1) / 0.65
        state[:] = x + 0.02 * v, v + 0.02 * (force / 1.1), angle + 0.02 * spin, spin + 0.02 * turn
        if abs(state[2]) < 0.2 and abs(state[0]) < 2.4:
            return 1.0
        state[:] = rng.normal(0, 0.05, 4)
        return 0.0

    def score(state: Any) -> Any:
        return torch.log_softmax(policy(state), 1)

    scored = torch.compile(score) if best else score

    def step() -> Any:
        terms = []
        for _ in range(10):
            scores = scored(torch.from_numpy(state.copy()).unsqueeze(0))
            action = int(rng.random() < scores[0, 1].exp().item())
            terms.append(-scores[0, action] * move(action))
        optimizer.zero_grad()
        loss = torch.stack(terms).sum()
        loss.backward()
        optimizer.step()
        return loss

    return step


def gelu_chain(torch: Any) -> Step:
    """gelu(x * w + b) + r over 16 Mi floats."""
    torch.manual_seed(0)
    count = 1 << 24
    operands = cycle(
        [(torch.randn(count), torch.randn(count)) for _ in range(3)]
    )  # equal calls would be merged
    w, b = torch.tensor(1.1), torch.tensor(0.1)

    def step() -> Any:
        x, r = next(operands)
        with torch.no_grad():
            return torch.nn.functional.gelu(x * w + b) + r

    return step


WORKLOADS = {
    "record": Workload(record_plain, "one recorded operation", 20, 1.6, 100, absolute=True, reading=False),
    "record_grad": Workload(
        record_grad, "the same with gradient", 20, 2.2, 100, absolute=True, reading=False
    ),
    "tiny_chain": Workload(tiny_chain, "chain of 100 tiny operations", 50, 1.5),
    "linear_regression": Workload(linear_regression, "linear regression step, batch 100", 200, 0.6),
    "mlp": Workload(mlp, "784-128-10 step, batch 64, SGD", 100, 0.6),
    "lenet": Workload(lenet, "LeNet on CIFAR step, batch 4", 50, 0.7),
    "random_trees": Workload(random_trees, "LSTM over random trees, step", 30, 1.5),
    "random_depth": Workload(random_depth, "net of random depth, step", 50, 1.5),
    "environment": Workload(environment, "environment loop, ten steps", 20, 1.5),
    "gelu_chain": Workload(gelu_chain, "gelu(x * w + b) + r, 16 Mi floats", 3, 0.3),
}
