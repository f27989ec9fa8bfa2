"""Random training programs: nets of layers of many kinds, wide ones among them, and steps with what users write in one.

A program is a source text that is drawn from a seed. It leaves the same bits however it runs: by one thread or two, the
first time or again, captured or not; in float64 it agrees with PyTorch, where that is installed.

    python -m tests.fuzz.training SEED SECONDS
"""

from __future__ import annotations

import random
import sys
import time
import warnings
from typing import Any

import numpy as np

LAYERS = """
nn.Linear({d}, {d})
nn.Linear({d}, {d}, bias=False)
nn.Sequential(nn.Linear({d}, 2 * {d}), nn.GLU())
nn.LayerNorm({d})
nn.BatchNorm1d({d})
nn.RMSNorm({d})
nn.Sequential(nn.Unflatten(1, (1, {d})), nn.Conv1d(1, 2, 3, padding=1), nn.Flatten(), nn.Linear(2 * {d}, {d}))
nn.Sequential(nn.Unflatten(1, ({d}, 1)), nn.ConvTranspose1d({d}, {d}, 3, padding=1), nn.Flatten())
Recurrent(nn.LSTM({d}, {d}, batch_first=True))
Recurrent(nn.GRU({d}, {d}, batch_first=True))
nn.PReLU()
nn.Dropout(0.0)
nn.Sequential(nn.GELU(), nn.Linear({d}, {d}), nn.SiLU())
""".strip().split("\n")
OPTIMIZERS = """
SGD(ps, lr=0.05, momentum=0.9, nesterov=True, weight_decay=0.01, foreach=False)
Adam(ps, lr=0.01, eps=1e-3, amsgrad=True)
AdamW([dict(params=ps[::2]), dict(params=ps[1::2], lr=0.02, weight_decay=0.1)], lr=0.01, eps=1e-3)
Adamax(ps, lr=0.01, eps=1e-3)
NAdam(ps, lr=0.01, eps=1e-3)
RAdam(ps, lr=0.01, eps=1e-3)
RMSprop(ps, lr=0.01, eps=1e-3, centered=True)
Adagrad(ps, lr=0.05, eps=1e-3)
Adadelta(ps, lr=1.0, eps=1e-3)
ASGD(ps, lr=0.05, t0=3)
""".strip().split("\n")
LOSSES = """
F.mse_loss(y, t)
F.smooth_l1_loss(y, t) + 1e-3 * sum(p.square().sum() for p in ps)
F.cross_entropy(y, c, label_smoothing=0.1)
F.binary_cross_entropy_with_logits(y, t.sigmoid())
""".strip().split("\n")
BETWEEN = [
    "pass",
    "nn.utils.clip_grad_norm_(ps, 0.1)",
    "nn.utils.clip_grad_norm_(ps, 0.1, norm_type=1.0)",
    "nn.utils.clip_grad_value_(ps, 0.01)",
    "assert all(bool(f) for f in halved(ps))",
]
AFTER = [
    "pass",
    "with torch.no_grad(): [e.lerp_(p, 0.1) for e, p in zip(means, ps)]",
    "with torch.no_grad(): [e.mul_(0.9).add_(p, alpha=0.1) for e, p in zip(means, ps)]",
    "with torch.no_grad(): [p.mul_(0.99) for p in ps]",
    "schedule.step()",
]
SOURCE = """
class Recurrent(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner
    def forward(self, x):
        return self.inner(torch.stack([x, x * 0.5, -x], 1))[0][:, -1]
def halved(ps):
    with torch.no_grad():
        finite = [p.grad.isfinite().all() for p in ps]
        for p in ps:
            p.grad.mul_(0.5)
    return finite
net = nn.ModuleList([{layers}, nn.Linear({d}, 3)])
net.to(kind)
ps = list(net.parameters())
given(ps)
optimizer = torch.optim.{optimizer}
schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
means = [p.detach().clone() for p in ps]
def step(x, t, c):
    optimizer.zero_grad()
    for part in range({parts}):
        y = x
        for layer in net:
            y = layer(y){residual}
        loss = {loss}
        loss.backward()
    {between}
    optimizer.step()
    {after}
    return loss.detach()
"""


def source(seed: int) -> tuple[str, int]:
    """The text of a program, and the width of its layers."""
    r = random.Random(seed)
    d = r.choice((3, 8, 17, 264))  # of the last, threads share the weights
    layers = ", ".join(r.choice(LAYERS).format(d=d) for _ in range(r.randint(1, 3)))
    parts = {
        "between": r.choice(BETWEEN),
        "after": r.choice(AFTER),
        "parts": r.choice((1, 1, 2)),
    }
    parts |= {"optimizer": r.choice(OPTIMIZERS), "loss": r.choice(LOSSES), "d": d, "layers": layers}
    return SOURCE.format(residual=r.choice(("", ".tanh()", " * 1.5")), **parts), d


def run(
    torch: Any, seed: int, kind: str, captured: bool = False, shift: float = 0.0, steps: int = 8
) -> list[Any]:
    """What a program leaves: losses, parameters, gradients, means. shift: of all weights, by that share of them."""
    text, d = source(seed)
    numbers = np.random.default_rng(seed)

    def given(ps: Any) -> None:
        for p in ps:
            values = numbers.standard_normal(tuple(p.shape)) / max(p.shape[-1] if p.ndim else 1, 4) ** 0.5
            p.data.copy_(torch.tensor(values * (1 + shift)))

    scope = {
        "torch": torch,
        "nn": torch.nn,
        "F": torch.nn.functional,
        "kind": getattr(torch, kind),
        "given": given,
    }
    exec(text, scope)
    step = torch.compile(scope["step"]) if captured else scope["step"]
    losses, draws = [], random.Random(seed)
    for i in range(steps):
        if i % 3 == 0:
            rows = draws.choice((4, 4, 7))
            x, t = (torch.tensor(numbers.standard_normal((rows, n))).to(scope["kind"]) for n in (d, 3))
            c = torch.tensor(numbers.integers(0, 3, rows))
        losses.append(step(x, t, c))
        if draws.random() < 0.3:
            losses[-1].item()
    ps: Any = scope["ps"]
    seen = [*losses, *(p.detach() for p in ps), *(p.grad for p in ps), *scope["means"]]  # type: ignore[misc]
    return [t.numpy().copy() for t in seen]


def apart(a: list[Any], b: list[Any]) -> float:
    """The largest difference, as a share of the largest number of its tensor."""
    return max(float(np.abs(x - y).max() / (np.abs(x).max() + 1e-3)) for x, y in zip(a, b))


def check(seed: int) -> str:
    """Run a program in all ways; '' or which one differs."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.compile: ")  # a value that is read ends a capture
        return _check(seed)


def _check(seed: int) -> str:
    import flambeau

    before = flambeau.get_num_threads()
    flambeau.set_num_threads(2)
    try:
        first = run(flambeau, seed, "float32")
        ways = {
            "again": lambda: run(flambeau, seed, "float32"),
            "planned": lambda: run(flambeau, seed, "float32"),
        }
        ways["captured"] = lambda: run(flambeau, seed, "float32", captured=True)
        for name, way in ways.items():
            if any(a.tobytes() != b.tobytes() for a, b in zip(first, way())):
                return f"{name} differs from the first time"
        flambeau.set_num_threads(1)
        if any(a.tobytes() != b.tobytes() for a, b in zip(first, run(flambeau, seed, "float32"))):
            return "one thread differs from two"
    finally:
        flambeau.set_num_threads(before)
    return ""


def beside_pytorch(seed: int) -> str:
    """The same in float64 beside PyTorch, which says by itself how much a small change of the weights does."""
    import torch

    import flambeau

    theirs = run(torch, seed, "float64")
    allowed = max(1e-6, 1e4 * apart(theirs, run(torch, seed, "float64", shift=1e-13)))
    for _ in range(3):  # from units, then planned
        found = apart(theirs, run(flambeau, seed, "float64"))
        if not found <= allowed:
            return f"differs from PyTorch by {found}, {allowed} allowed"
    return ""


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    seed, end = int(sys.argv[1]), time.monotonic() + float(sys.argv[2])
    while time.monotonic() < end:
        if found := check(seed) or beside_pytorch(seed):
            print(f"seed {seed}: {found}\n{source(seed)[0]}", flush=True)
        seed += 1
    print("programs to seed", seed)
