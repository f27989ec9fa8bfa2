"""Random programs, captured beside plain: calls between which numbers, flags, parameters and gradients change.

More of them: python -m tests.replay.test_programs SEED SECONDS"""

from __future__ import annotations

import random
import sys
import time
import warnings
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest

import flambeau as torch

SOURCES = """
v.append({a} {o} {b})
v.append({a} {o} n)
v.append({a} {o} held.rate)
v.append({a} * table["scale"] + numbers[0])
v.append(torch.relu({a}).softmax(-1))
v.append({a}[:, 1:].tanh().sum(1, keepdim=True))
v.append(m({a}))
v.append(torch.nn.functional.dropout({a}, 0.5, m.training))
v.append({a} * torch.rand(3, 4))
v.append(torch.randn(3, 4, generator=generator) * {a})
v.append(x[torch.randperm(len(x))])
x.mul_(0.5)
x[1:].add_(1.0)
held.buffer.mul_(0.9).add_({a}.detach().mean())
t = {a}.clone(); t[0] = 2.0; v.append(t)
v.append(torch.zeros_like({a}).add_({b}))
v.append({a} * 3 if n > 1 else {a} - 1)
v.append({a} if held.flag else {b})
v.append({a} * p)
({a} * p).sum().backward()
m({a}.detach()).square().mean().backward(); optimizer.step(); optimizer.zero_grad()
optimizer.zero_grad(set_to_none=False)
schedule.step()
v.append(torch.autograd.grad(({a} * p).sin().sum(), p, retain_graph=True)[0])
v.append(inner({a}, n))
v.append(torch.where({a} > held.rate, {a}, {b}))
v.append(held.buffer)
v.append(x[:2])
v.append({a} * len(numbers))
v.append(torch.full((4,), held.rate) + {a})
""".strip().split("\n")
RESULTS = ("v[-1]", "(v[-1], v[len(v) // 2])", "[v[-1], x]", "{'a': v[-1], 'n': n}", "x", "v[-1].detach()")
CHANGES = """
held.rate = {f}
held.rate = -0.0
held.rate = 0.0
held.flag = not held.flag
table["scale"] = {f}
numbers.append(1.0)
m.train()
m.eval()
optimizer.param_groups[0]["lr"] = {f}
m[0].weight.data.mul_(0.9)
m[0].bias = torch.nn.Parameter(torch.ones(4) * {f})
held.buffer = torch.ones(4) * {f}
optimizer.zero_grad()
generator.manual_seed(3)
p.grad = None
p.requires_grad_(not p.requires_grad)
""".strip().split("\n")


class Held:
    rate, flag = 1.25, True


class World:
    """What a program sees: a model, an optimizer, values that it closes over."""

    def __init__(self, source: str, seed: int, captured: bool):
        torch.manual_seed(seed)
        nn, rng = torch.nn, np.random.default_rng(seed)
        m = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.3))
        held, p = Held(), torch.tensor(rng.standard_normal(4), dtype=torch.float32, requires_grad=True)
        held.buffer = torch.ones(4)  # type: ignore[attr-defined]
        optimizer = (torch.optim.SGD, torch.optim.Adam)[seed % 2]([*m.parameters(), p], lr=0.01)
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, 2, 0.5)
        self.scope: dict[str, Any] = {
            "torch": torch, "m": m, "held": held, "p": p, "optimizer": optimizer, "schedule": schedule,
            "table": {"scale": 1.5}, "numbers": [0.5, 1.5], "generator": torch.Generator().manual_seed(5),
        }  # fmt: skip
        exec(source, self.scope)
        self.step = torch.compile(self.scope["step"]) if captured else self.scope["step"]
        self.state, self.base = torch.get_rng_state(), torch.ones(6, 8)

    def given(self, kind: str, seed: int, leaf: bool) -> tuple[Any, Any]:
        rng = np.random.default_rng(seed)
        x, y = (torch.tensor(rng.standard_normal((3, 4)), dtype=torch.float32) for _ in range(2))
        if kind == "same":
            y = x
        if kind == "turned":
            x = torch.tensor(rng.standard_normal((4, 3)), dtype=torch.float32).t()
        if kind == "views":
            x, y = self.base[:3, :4], self.base[1:4, :4]
        if kind == "empty":
            x, y = x[:0], y[:0]
        if kind == "double":
            x = x.double()
        return (x.detach().clone().requires_grad_() if leaf else x), y

    def call(self, kind: str, seed: int, leaf: bool, n: Any, mode: Any) -> list[Any]:
        torch.set_rng_state(self.state)
        x, y = self.given(kind, seed, leaf)
        try:
            with mode():
                result = self.step(x, y, n)
        except (RuntimeError, IndexError, ValueError) as error:
            result = [type(error).__name__]
        self.state = torch.get_rng_state()
        scope = self.scope
        p, held, optimizer = scope["p"], scope["held"], scope["optimizer"]
        tensors = [x, y, p, p.grad, x.grad if x.is_leaf else None, held.buffer, self.base, self.state]
        tensors += [scope["generator"].get_state(), *scope["m"].state_dict(keep_vars=True).values()]
        tensors += [t for s in optimizer.state.values() for t in s.values()]
        return [*self.plain(result), *self.plain(tensors), optimizer.param_groups[0]["lr"]]

    def plain(self, result: Any) -> list[Any]:
        """What can be compared."""
        if isinstance(result, dict):
            result = list(result.values())
        if isinstance(result, (list, tuple)):
            return [part for r in result for part in self.plain(r)]
        if not isinstance(result, torch.Tensor):
            return [result]
        facts = (result.stride(), result.dtype, result.requires_grad, type(result.grad_fn))
        return [facts, result.shape, result.detach().contiguous().numpy().tobytes()]


def program(seed: int) -> None:
    """One program and its calls, both ways."""
    r = random.Random(seed)
    lines = ["v = [x, y * 1]"]
    for _ in range(r.randint(1, 8)):
        a, b = (f"v[{r.randrange(12)} % len(v)]" for _ in range(2))
        lines.append(r.choice(SOURCES).format(a=a, b=b, o=r.choice("+-*")))
    source = "def inner(a, n):\n return a * 2 + held.rate * n\ndef step(x, y, n):\n"
    source += "".join(f" {line}\n" for line in lines) + f" return {r.choice(RESULTS)}\n"
    plain, captured = (World(source, seed, way) for way in (False, True))
    usual, n = r.choice(("fresh", "fresh", "same", "turned", "views")), r.choice((1.0, 0.7, 2))
    leaf = r.random() < 0.3
    for i in range(r.randint(6, 12)):
        kind = (
            usual if r.random() < 0.8 else r.choice(("fresh", "same", "turned", "views", "empty", "double"))
        )
        number = n if r.random() < 0.8 else r.choice((0.73, True, -0.0, 0.0, float("inf")))
        mode = nullcontext if r.random() < 0.9 else r.choice((torch.no_grad, torch.inference_mode))
        given = (kind, 100 * seed + i, leaf, number, mode)
        change = r.choice(CHANGES).format(f=round(r.uniform(0.1, 2), 2)) if r.random() < 0.4 else "pass"
        assert captured.call(*given) == plain.call(*given), (seed, i, source, given)
        for world in (plain, captured):
            exec(change, world.scope)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", [*range(8), 39])
def test_captured_programs_leave_what_plain_ones_do(seed: int) -> None:
    program(seed)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    first, end, seed = int(sys.argv[1]), time.monotonic() + float(sys.argv[2]), int(sys.argv[1])
    while time.monotonic() < end:
        program(seed)
        seed += 1
    print(f"{seed - first} programs")
