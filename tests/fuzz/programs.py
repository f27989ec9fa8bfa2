"""Random programs of ops, views, in-place writes, gradients and flush points: the oracle of the stream.

A program is a seed: each step is drawn from metadata alone (shapes, strides, requires_grad, shared memory), so
the same seed is the same program however it is run. It runs eagerly, deferred, with random flush points and on the
interpreter; all give the same bits. In float64 it also agrees with PyTorch.

    python tests/fuzz/programs.py --seconds 3600 [--first SEED] [--torch]
"""

from __future__ import annotations

import argparse
import contextlib
import random
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

SHAPES = [(4,), (3, 4), (2, 3, 4), (1, 4), (3, 1), (), (5, 3), (2, 1, 4), (17,), (4, 4), (2, 0, 4)]


class Item:
    """A tensor of the pool; root: the number of its memory."""

    def __init__(self, t: Any, root: int):
        self.t, self.root = t, root


class Machine:
    """One run of one program. flush: called after each step; overlap: writes may read what they overwrite."""

    def __init__(self, torch: Any, seed: int, dtype: str, flush: Callable[[], None], overlap: bool):
        self.torch, self.rng, self.flush, self.overlap = torch, random.Random(seed), flush, overlap
        self.dtype = getattr(torch, dtype)
        self.pool: list[Item] = []
        self.leaves: list[Any] = []
        self.log: list[Any] = []
        self.lines: list[str] = []
        self.roots, self.errors = 0, ""
        data = np.random.default_rng(seed)
        for _ in range(3):
            shape = self.rng.choice(SHAPES)
            values = data.standard_normal(shape).astype(dtype)
            t = torch.tensor(values.tolist(), dtype=self.dtype).reshape(shape)
            if self.rng.random() < 0.6:
                t.requires_grad_()
                self.leaves.append(t)
            self.add(t)

    def add(self, t: Any, root: int | None = None) -> None:
        if t.numel() > 600:
            return
        if root is None:
            root = self.roots = self.roots + 1
        self.pool.append(Item(t, root))
        if len(self.pool) > 9:
            self.pool.pop(self.rng.randrange(len(self.pool)))

    def pick(self) -> Item:
        return self.rng.choice(self.pool)

    def partner(self, t: Any) -> Any:
        """A tensor that broadcasts with t."""
        for _ in range(6):
            other = self.pick().t
            with contextlib.suppress(ValueError):
                if int(np.prod(np.broadcast_shapes(tuple(t.shape), tuple(other.shape)))) <= 600:
                    return other
        return t

    def source(self, item: Item) -> Any:
        """A tensor that broadcasts to t, to be written into it."""
        for _ in range(6):
            other = self.pick()
            with contextlib.suppress(ValueError):
                if np.broadcast_shapes(tuple(item.t.shape), tuple(other.t.shape)) == tuple(item.t.shape):
                    if other.root == item.root and other.t is not item.t and not self.overlap:
                        return other.t.clone()
                    return other.t
        return self.rng.choice([0.5, -1.5, 2.0])

    def run(self, steps: int) -> list[Any]:
        for _ in range(steps):
            kind = self.rng.choices(KINDS, WEIGHTS)[0]
            at = self.rng.random()
            try:
                with self.torch.no_grad() if at < 0.12 else contextlib.nullcontext():
                    kind(self)
            except RuntimeError as error:
                self.errors += f" {len(self.lines)}"
                self.lines.append(f"  {kind.__name__}: {str(error)[:90]}")
            self.flush()
        return self.results()

    def results(self) -> list[Any]:
        tensors = [i.t for i in self.pool] + [t.grad for t in self.leaves if t.grad is not None]
        return [self.errors, *self.log] + [t.detach().numpy().copy() for t in tensors]

    def say(self, text: str) -> None:
        self.lines.append(text)


def unary(m: Machine) -> None:
    x, torch = m.pick().t, m.torch
    name = m.rng.choice(
        ["tanh", "sigmoid", "relu", "neg", "abs", "sin", "exp", "root", "half", "shift", "flip", "clone"]
    )
    m.say(f"{name} {tuple(x.shape)}")
    made = {
        "exp": lambda: torch.exp(torch.tanh(x)),
        "root": lambda: (x * x + 1).sqrt(),
        "half": lambda: x * 0.5,
        "shift": lambda: 1.25 - x,
        "flip": lambda: x.flip(0) if x.ndim else x + 0.0,
    }
    m.add(made[name]() if name in made else getattr(x, name)())


def binary(m: Machine) -> None:
    x = m.pick().t
    y = m.partner(x)
    name = m.rng.choice(["add", "sub", "mul", "div", "maximum", "where"])
    m.say(f"{name} {tuple(x.shape)} {tuple(y.shape)}")
    if name == "div":
        m.add(x / (y * y + 1))
    elif name == "mul":
        m.add(x.tanh() * y)
    elif name == "where":
        m.add(m.torch.where(x > y, x, y * 0.5))
    else:
        m.add(getattr(m.torch, name)(x, y))


def reduce(m: Machine) -> None:
    x, rng = m.pick().t, m.rng
    name = rng.choice(["sum", "mean", "amax", "softmax", "all", "var", "cumsum"])
    m.say(f"{name} {tuple(x.shape)}")
    if name == "all" or not x.ndim or 0 in x.shape:
        m.add(x.sum())
        return
    dim, keep = rng.randrange(x.ndim), rng.random() < 0.5
    if name == "softmax":
        m.add(x.softmax(dim))
    elif name == "cumsum":
        m.add(x.tanh().cumsum(dim))
    elif name == "var":
        centred = x - x.mean(dim, keepdim=True)
        m.add((centred * centred).mean(dim, keepdim=keep))
    else:
        m.add(getattr(x, name)(dim, keepdim=keep))


def matmul(m: Machine) -> None:
    x = m.pick().t
    if x.ndim < 2:
        m.add((x.reshape(-1).tanh() * x.reshape(-1)).sum())
        return
    y = x.transpose(-1, -2) if m.rng.random() < 0.5 else x.transpose(-1, -2).sin()
    m.say(f"matmul {tuple(x.shape)}")
    m.add(x.tanh() @ y)


def view(m: Machine) -> None:
    item, rng = m.pick(), m.rng
    x = item.t
    name = rng.choice(
        [
            "transpose",
            "slice",
            "step",
            "select",
            "unsqueeze",
            "expand",
            "flat",
            "chunk",
            "diagonal",
            "squeeze",
        ]
    )
    m.say(f"view {name} {tuple(x.shape)}")
    if name == "unsqueeze":
        m.add(x.unsqueeze(rng.randrange(x.ndim + 1)), item.root)
    elif name == "expand" and x.ndim < 3:
        m.add(x.expand(2, *x.shape), item.root)
    elif name == "flat":
        same = x.is_contiguous()
        m.add(x.reshape(-1), item.root if same else None)
    elif name == "squeeze":
        m.add(x.squeeze(), item.root)
    elif x.ndim == 0 or 0 in x.shape:
        m.add(x.detach(), item.root)
    elif name == "chunk":
        m.add(x.chunk(2)[-1], item.root)
    elif name == "diagonal" and x.ndim >= 2:
        m.add(x.diagonal(dim1=0, dim2=1), item.root)
    elif name == "transpose":
        m.add(x.transpose(0, x.ndim - 1), item.root)
    else:
        n = x.shape[0]
        start = rng.randrange(n)
        if name == "select":
            m.add(x[start], item.root)
        elif name == "step":
            m.add(x[start % 2 :: 2] if n > 1 else x[:], item.root)
        else:
            m.add(x[start : rng.randrange(start, n) + 1], item.root)


def write(m: Machine) -> None:
    item, rng = m.pick(), m.rng
    x = item.t
    if any(s == 0 and n > 1 for s, n in zip(x.stride(), x.shape)):
        return
    name = rng.choice(
        ["add_", "mul_", "copy_", "fill_", "zero_", "relu_", "sub_", "tanh_", "put", "masked_fill_", "neg_"]
    )
    m.say(f"write {name} {tuple(x.shape)}")
    if name in ("zero_", "relu_", "tanh_", "neg_"):
        getattr(x, name)()
    elif name == "fill_":
        x.fill_(rng.choice([0.25, -3.0]))
    elif name == "masked_fill_":
        x.masked_fill_(x > 0.5, -0.5)
    elif name == "put" and x.ndim and x.shape[0]:
        at = rng.randrange(x.shape[0])
        x[at] = m.source(Item(x[at], item.root))
    else:
        y = m.source(item)
        if isinstance(y, float) and name == "copy_":
            y = m.torch.tensor(y, dtype=m.dtype)
        getattr(x, name if name != "put" else "copy_" if not isinstance(y, float) else "fill_")(y)


def detach(m: Machine) -> None:
    item = m.pick()
    m.say("detach")
    m.add(item.t.detach() if m.rng.random() < 0.7 else item.t.data, item.root)


def join(m: Machine) -> None:
    x, y = m.pick().t, m.pick().t
    if x.ndim and tuple(x.shape) == tuple(y.shape):
        m.say(f"cat {tuple(x.shape)}")
        m.add(m.torch.cat([x, y], m.rng.randrange(x.ndim)))
    else:
        m.add(m.torch.stack([x, x * 2]))


def gather(m: Machine) -> None:
    x = m.pick().t
    if x.ndim and x.shape[0]:
        index = m.torch.tensor([m.rng.randrange(x.shape[0]) for _ in range(3)])
        m.say(f"gather {tuple(x.shape)}")
        m.add(x[index])


def leaf(m: Machine) -> None:
    x = m.pick().t.detach().clone().requires_grad_()
    m.leaves.append(x)
    m.add(x)


def backward(m: Machine) -> None:
    x = m.pick().t
    if not x.requires_grad:
        return
    m.say(f"backward {tuple(x.shape)}")
    weight = m.rng.choice([1.0, 0.5])
    with m.torch.enable_grad():
        (x * x * weight).sum().backward(retain_graph=True)


def drop(m: Machine) -> None:
    if len(m.pool) > 3:
        m.pool.pop(m.rng.randrange(len(m.pool)))


def read(m: Machine) -> None:
    x = m.pick().t
    m.say("read")
    m.log.append(x.detach().sum().item() if m.rng.random() < 0.5 else x.detach().numpy().copy())


KINDS = [unary, binary, reduce, matmul, view, write, detach, join, gather, leaf, backward, drop, read]
WEIGHTS = [16, 16, 7, 2, 18, 22, 4, 2, 2, 2, 4, 5, 1]


# --- ways to run ------------------------------------------------------------------------------------------------------


def nothing() -> None:
    pass


@contextlib.contextmanager
def backend(name: str) -> Iterator[None]:
    """Programs run on another device inside; what was planned for the other is forgotten."""
    from flambeau import config
    from flambeau.stream.value import LOCAL

    LOCAL.s.flush()  # type: ignore[attr-defined]
    before = config.backend
    config.set("backend", name)
    try:
        yield
    finally:
        LOCAL.s.flush()  # type: ignore[attr-defined]
        config.set("backend", before)


def eagerly(seed: int, steps: int, dtype: str, overlap: bool = True) -> Machine:
    import flambeau
    from flambeau.stream.value import LOCAL

    LOCAL.s.eager = True
    try:
        return finished(Machine(flambeau, seed, dtype, nothing, overlap), steps)
    finally:
        LOCAL.s.eager = False


def deferred(seed: int, steps: int, dtype: str, overlap: bool = True) -> Machine:
    import flambeau

    return finished(Machine(flambeau, seed, dtype, nothing, overlap), steps)


def cut(seed: int, steps: int, dtype: str, overlap: bool = True) -> Machine:
    """With flush points of its own."""
    import flambeau
    from flambeau.stream.value import LOCAL

    when = random.Random(seed ^ 0x5EED)

    def flush() -> None:
        if when.random() < 0.2:
            LOCAL.s.flush()  # type: ignore[attr-defined]

    return finished(Machine(flambeau, seed, dtype, flush, overlap), steps)


def interpreted(seed: int, steps: int, dtype: str, overlap: bool = True) -> Machine:
    with backend("python"):
        return deferred(seed, steps, dtype, overlap)


def by_torch(seed: int, steps: int, dtype: str, overlap: bool = False) -> Machine:
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return finished(Machine(torch, seed, dtype, nothing, overlap), steps)


def finished(m: Machine, steps: int) -> Machine:
    m.outcome = m.run(steps)  # type: ignore[attr-defined]
    return m


# --- comparison -------------------------------------------------------------------------------------------------------


def same_bits(a: Any, b: Any) -> bool:
    if isinstance(a, str) or isinstance(b, str):
        return type(a) is type(b) and a == b
    a, b = np.asarray(a), np.asarray(b)
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    bits = f"u{a.dtype.itemsize}"
    equal = np.ascontiguousarray(a).view(bits) == np.ascontiguousarray(b).view(bits) if a.ndim else a == b
    return bool(np.all(equal | (np.isnan(a) & np.isnan(b))))


def near(a: Any, b: Any) -> bool:
    if isinstance(a, str) or isinstance(b, str):
        return type(a) is type(b) and a == b
    a, b = np.asarray(a), np.asarray(b)
    return a.shape == b.shape and bool(np.allclose(a, b, rtol=1e-6, atol=1e-8, equal_nan=True))


def difference(a: Machine, b: Machine, equal: Callable[[Any, Any], bool]) -> str:
    """What differs between two runs, or ''."""
    x, y = a.outcome, b.outcome  # type: ignore[attr-defined]
    if len(x) != len(y):
        return f"{len(x)} and {len(y)} results"
    for i, (p, q) in enumerate(zip(x, y)):
        if not equal(p, q):
            return f"result {i}:\n{p}\n{q}"
    return ""


def check(seed: int, steps: int = 40, interpreter: bool = False, reference: bool = False) -> str:
    """Run one program in every way; '' or what differs."""
    base = eagerly(seed, steps, "float32")
    ways: list[Any] = [deferred, deferred, cut] + ([interpreted] if interpreter else [])
    for way in ways:
        found = difference(base, way(seed, steps, "float32"), same_bits)
        if found:
            return f"eager and {way.__name__}: {found}"
    if reference:
        theirs, ours = by_torch(seed, steps, "float64"), deferred(seed, steps, "float64", False)
        found = difference(theirs, ours, near)
        if found and theirs.errors == ours.errors:  # what is refused, tests/autograd compares
            return f"PyTorch and deferred: {found}"
    return ""


def smallest(seed: int, steps: int, **options: Any) -> tuple[int, str]:
    """The shortest beginning of a program that still differs."""
    for n in range(1, steps + 1):
        found = check(seed, n, **options)
        if found:
            return n, found
    return steps, ""


def hunt(first: int, seconds: float, steps: int = 40, **options: Any) -> tuple[int, list[int]]:
    """Programs from seed `first` on until the time is over; how many ran, and the seeds that differ."""
    end, bad, seed = time.monotonic() + seconds, [], first
    every = options.pop("interpret_every", 10)
    while time.monotonic() < end and len(bad) < 5:
        if check(seed, steps, interpreter=bool(every) and seed % every == 0, **options):
            bad.append(seed)
        seed += 1
    return seed - first, bad


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--torch", action="store_true")
    parser.add_argument("--show", type=int, help="print one program and what differs")
    given = parser.parse_args()
    if given.show is not None:
        n, found = smallest(given.show, given.steps, reference=given.torch)
        print("\n".join(eagerly(given.show, n, "float32").lines), f"\n{n} steps", found, sep="\n")
        if found.startswith("PyTorch"):
            for way in (by_torch, deferred):
                print(f"\n{way.__name__}:", *way(given.show, n, "float64", False).lines, sep="\n")
        return
    ran, bad = hunt(given.first, given.seconds, given.steps, reference=given.torch)
    print(f"{ran} programs from seed {given.first}; differ: {bad or 'none'}")
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
