"""The steps that random programs are made of: see programs.py.

A step is drawn from metadata alone (shapes, strides, requires_grad, shared memory). Extents, numbers, offsets and data
are drawn apart, so that programs of one structure differ in what the stream takes as arguments.
"""

from __future__ import annotations

import contextlib
import random
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import wide_steps

SHAPES = [(4,), (3, 4), (2, 3, 4), (1, 4), (3, 1), (), (5, 3), (2, 1, 4), (17,), (4, 4), (2, 0, 4)]
OTHER_EXTENTS = [  # short axes become longer than a vector and the other way round: the order of loops may change
    {0: 0, 1: 1, 2: 5, 3: 2, 4: 7, 5: 3, 17: 33},
    {0: 0, 1: 1, 2: 3, 3: 33, 4: 5, 5: 2, 17: 4},
    {0: 0, 1: 1, 2: 19, 3: 4, 4: 2, 5: 9, 17: 5},
    {0: 0, 1: 1, 2: 4, 3: 5, 4: 16, 5: 40, 17: 2},
]
LARGE_EXTENTS = [  # what threads share: chunks of full sums, rows, columns, products in blocks
    {0: 0, 1: 1, 2: 6, 3: 300, 4: 700, 5: 260, 17: 70001},
    {0: 0, 1: 1, 2: 3, 3: 20, 4: 1100, 5: 2000, 17: 200003},
    {0: 0, 1: 1, 2: 40, 3: 130, 4: 64, 5: 33, 17: 131072},
    {0: 0, 1: 1, 2: 70, 3: 3, 4: 520, 5: 9000, 17: 65537},
]
LARGEST, LARGE = 900, 1 << 22  # elements of a tensor of the pool, and where extents are large


class Item:
    """A tensor of the pool; root: the number of its memory."""

    def __init__(self, t: Any, root: int):
        self.t, self.root = t, root


class Machine:
    """One run of one program. flush: called after each step; reference: what PyTorch leaves undefined is left out;
    other_sizes: the same structure over other extents; large: over such as threads share; draw: which numbers, offsets
    and data."""

    def __init__(
        self,
        torch: Any,
        seed: int,
        dtype: str,
        flush: Callable[[], None],
        reference: bool = False,
        other_sizes: bool = False,
        draw: int = 0,
        large: bool = False,
    ):
        self.torch, self.flush, self.reference = torch, flush, reference
        known = OTHER_EXTENTS if other_sizes else LARGE_EXTENTS if large else [None]
        self.extents, self.largest = known[seed % len(known)], LARGE if large else LARGEST
        chances = wide_steps.chances(CHANCES) if large else CHANCES
        self.kinds = list(chances), list(chances.values())
        self.rng, self.loose = random.Random(seed), random.Random(seed * 7 + draw)
        self.data = np.random.default_rng((seed, draw))
        self.kind, self.dtype = dtype, getattr(torch, dtype)
        self.pool: list[Item] = []
        self.leaves: list[Any] = []
        self.arrays: list[Any] = []
        self.optimizers: list[Any] = []
        self.log: list[Any] = []
        self.lines: list[str] = []
        self.roots, self.errors = 0, ""
        torch.manual_seed(seed)
        for _ in range(3):
            t = self.made(self.shape())
            if self.rng.random() < 0.6:
                t.requires_grad_()
                self.leaves.append(t)
            self.add(t)

    def shape(self) -> tuple[int, ...]:
        shape = self.rng.choice(SHAPES)
        return tuple([self.extents[n] for n in shape]) if self.extents else shape

    def made(self, shape: tuple[int, ...]) -> Any:
        values = self.data.standard_normal(shape).astype(self.kind)
        return self.torch.tensor(values, dtype=self.dtype).clone()

    def number(self) -> float:
        return round(self.loose.uniform(-2, 2), 3)

    def below(self, n: int) -> int:
        """A number from 0 to n - 1 that is an argument, no part of the structure."""
        return int(self.loose.random() * n)

    def share(self, n: int) -> int:
        """A number from 0 to n - 1 that grows with n: always one draw."""
        return int(self.rng.random() * n)

    def add(self, t: Any, root: int | None = None) -> None:
        if t.numel() > self.largest:
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
                if int(np.prod(np.broadcast_shapes(tuple(t.shape), tuple(other.shape)))) <= self.largest:
                    return other
        return t

    def source(self, item: Item) -> Any:
        """A tensor that broadcasts to t, to be written into it."""
        for _ in range(6):
            other = self.pick()
            with contextlib.suppress(ValueError):
                if np.broadcast_shapes(tuple(item.t.shape), tuple(other.t.shape)) == tuple(item.t.shape):
                    if other.root == item.root and other.t is not item.t and self.reference:
                        return other.t.clone()
                    return other.t
        return self.number()

    def run(self, steps: int) -> list[Any]:
        for _ in range(steps):
            kind = self.rng.choices(*self.kinds)[0]
            at = self.rng.random()
            try:
                with self.torch.no_grad() if at < 0.12 else contextlib.nullcontext():
                    kind(self)
            except RuntimeError as error:
                self.errors += f" {len(self.lines)}"
                self.lines.append(f"  {kind.__name__}: {str(error)[:90]}")
                if self.reference and kind is backward:  # how far it came is nobody's promise
                    for t in self.leaves:
                        t.grad = None
                if self.reference and kind is draw:  # PyTorch may have drawn before it refuses
                    self.torch.manual_seed(len(self.lines))
            self.flush()
        return self.results()

    def results(self) -> list[Any]:
        """What can be seen at the end: errors, what was read, tensors, gradients, the generator."""
        tensors = [i.t for i in self.pool] + [t.grad for t in self.leaves if t.grad is not None]
        seen = [t.detach().numpy().copy() for t in tensors]
        return [self.errors, *self.log, *seen, *[a.copy() for a in self.arrays], self.torch.rand(2).numpy()]

    def say(self, text: str) -> None:
        self.lines.append(text)


def unary(m: Machine) -> None:
    x, torch = m.pick().t, m.torch
    name = m.rng.choice(
        [
            "tanh",
            "sigmoid",
            "relu",
            "neg",
            "abs",
            "sin",
            "exp",
            "root",
            "scale",
            "shift",
            "flip",
            "clone",
            "cast",
        ]
    )
    m.say(f"{name} {tuple(x.shape)}")
    number = m.number()
    made = {
        "exp": lambda: torch.exp(torch.tanh(x)),
        "root": lambda: (x * x + 1).sqrt(),
        "scale": lambda: x * number,
        "shift": lambda: number - x,
        "flip": lambda: x.flip(0) if x.ndim else x + 0.0,
        "cast": lambda: x + (x > number).to(m.dtype) * (x.tanh() * 3).to(torch.int64),
    }
    m.add(made[name]() if name in made else getattr(x, name)())


def binary(m: Machine) -> None:
    x = m.pick().t
    y = m.partner(x)
    name = m.rng.choice(["add", "sub", "mul", "div", "maximum", "where", "same"])
    m.say(f"{name} {tuple(x.shape)} {tuple(y.shape)}")
    if name == "div":
        m.add(x / (y * y + 1))
    elif name == "mul":
        m.add(x.tanh() * y)
    elif name == "where":
        m.add(m.torch.where(x > y, x, y * 0.5))
    elif name == "same":  # equal expressions, one of them written to
        p, q = x.sin() + y, x.sin() + y
        if not p.requires_grad:
            p.mul_(m.number())
        m.add(p - q.cos())
        m.add(q)
    else:
        m.add(getattr(m.torch, name)(x, y))


def reduce(m: Machine) -> None:
    x, rng = m.pick().t, m.rng
    name = rng.choice(["sum", "mean", "amax", "softmax", "all", "var", "cumsum", "norm"])
    m.say(f"{name} {tuple(x.shape)}")
    if name == "all" or not x.ndim or 0 in x.shape:
        m.add(x.sum())
        return
    dim, keep = rng.randrange(x.ndim), rng.random() < 0.5
    if name == "softmax":
        m.add(x.softmax(dim))
    elif name == "cumsum":
        m.add(x.tanh().cumsum(dim))
    elif name == "norm":
        m.add(m.torch.nn.functional.layer_norm(x, tuple(x.shape)[-1:]) if x.shape[-1] > 1 else x * 2)
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


def loop(m: Machine) -> None:
    """A body that comes again: a fragment of sequences that never repeat."""
    x, rng = m.made((2, 4)), m.rng
    h, kept = x, rng.random() < 0.5
    times = rng.randrange(2, 6)
    m.say(f"loop {times}")
    for i in range(times):
        gate = (h * 0.5 + x).sigmoid()
        h = (gate * h - x).tanh()
        h = h * gate
        if kept and i % 2:
            m.add(h)
    m.add(h)


def convolve(m: Machine) -> None:
    x, functional = m.pick().t, m.torch.nn.functional
    if x.numel() == 0:
        return
    which = m.rng.choice(["conv", "conv", "pool"])
    m.say(f"{which} {tuple(x.shape)}")
    if which == "pool":
        flat = x.tanh().reshape(1, 1, -1)
        pooled = functional.avg_pool1d(flat, 2) if x.numel() > 1 else flat
        m.add(pooled.clone() if m.reference else pooled)  # PyTorch's is a view, of what nobody else sees
        return
    shape = (2, x.shape[0], 3, 3) if x.ndim == 3 else (2, 1, 3)
    weight = m.made(shape)
    if m.rng.random() < 0.5:
        m.leaves.append(weight.requires_grad_())
    if m.reference:
        weight = weight * 1  # PyTorch looks at the version of the weight also where its value is not needed
    if x.ndim == 3:
        m.add(functional.conv2d(x.tanh().unsqueeze(0), weight, padding=1)[0])
    else:
        m.add(functional.conv1d(x.tanh().reshape(1, 1, -1), weight, padding=1)[0, 1])


def draw(m: Machine) -> None:
    x, torch = m.pick().t, m.torch
    name = m.rng.choice(["dropout", "rand", "randn", "unused", "uniform_", "two"])
    m.say(f"draw {name} {tuple(x.shape)}")
    if name == "dropout":
        m.add(torch.nn.functional.dropout(x, 0.4))
    elif name == "two":
        m.add(torch.rand(tuple(x.shape), dtype=m.dtype) - torch.rand(tuple(x.shape), dtype=m.dtype))
    elif name == "unused":
        torch.rand(3) + 1
    elif name == "uniform_":
        m.add(torch.empty(tuple(x.shape), dtype=m.dtype).uniform_(-1, 1))
    else:
        m.add(getattr(torch, name)(tuple(x.shape), dtype=m.dtype))


VIEWS = [
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


def view(m: Machine) -> None:
    item, rng = m.pick(), m.rng
    x = item.t
    name = rng.choice(VIEWS)
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
        length = m.share(n) + 1
        if name == "select":
            m.add(x[m.below(n)], item.root)
        elif name == "step":
            m.add(x[m.below(2) :: 2] if n > 1 else x[:], item.root)
        else:
            start = m.below(n - length + 1)
            m.add(x[start : start + length], item.root)


def rows(m: Machine) -> None:
    """A row is written, another is read: with other offsets they are the same one."""
    item = m.pick()
    x = item.t
    if not x.ndim or not x.shape[0] or x.requires_grad or overlaps_itself(x):
        return
    m.say(f"rows {tuple(x.shape)}")
    i, j = m.below(x.shape[0]), m.below(x.shape[0])
    before = x[j] * 2
    x[i].mul_(m.number())
    m.add(before - x[j])


def overlaps_itself(x: Any) -> bool:
    return bool(x.numel()) and any(s == 0 and n > 1 for s, n in zip(x.stride(), x.shape))


WRITES = ["add_", "mul_", "copy_", "fill_", "zero_", "relu_", "sub_", "tanh_", "put", "masked_fill_", "neg_"]


def write(m: Machine) -> None:
    item, rng = m.pick(), m.rng
    x = item.t
    if overlaps_itself(x):
        return
    name = rng.choice(WRITES)
    if m.reference:
        x.grad_fn  # noqa: B018  PyTorch takes a view for a leaf once its base was written, until somebody looks
    m.say(f"write {name} {tuple(x.shape)}")
    if name in ("zero_", "relu_", "tanh_", "neg_"):
        getattr(x, name)()
    elif name == "fill_":
        x.fill_(m.number())
    elif name == "masked_fill_":
        x.masked_fill_(x > 0.5, m.number())
    elif name == "put" and x.ndim and x.shape[0]:
        at = m.below(x.shape[0])
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
        index = m.torch.tensor([m.below(x.shape[0]) for _ in range(3)])
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
    weight = m.number()
    with m.torch.enable_grad():
        (x * x * weight).sum().backward(retain_graph=True)


def second(m: Machine) -> None:
    """The gradient of a gradient."""
    x = m.pick().t
    if not x.requires_grad or not m.leaves:
        return
    target = m.rng.choice(m.leaves)
    m.say(f"second {tuple(x.shape)}")
    with m.torch.enable_grad():
        y = x.tanh().sum()
        (g,) = m.torch.autograd.grad(y, [target], create_graph=True, allow_unused=True)
        if g is not None:
            m.add(g.tanh() * m.number())


def optimise(m: Machine) -> None:
    """A step of an optimiser: list-instructions, and the end of a step."""
    which = m.rng.choice(["SGD", "Adam", "old", "old"])
    if which != "old" and m.leaves:
        some = {"SGD": {"momentum": 0.5}, "Adam": {"eps": 0.1}}[which]
        m.optimizers.append(getattr(m.torch.optim, which)(m.leaves[-3:], lr=0.1, **some))
    if not m.optimizers:
        return
    m.say(f"step {which}")
    optimizer = m.rng.choice(m.optimizers[-2:])
    optimizer.param_groups[0]["lr"] = abs(m.number()) / 10
    optimizer.step()
    if m.rng.random() < 0.5:
        optimizer.zero_grad(set_to_none=m.rng.random() < 0.5)


def foreign(m: Machine) -> None:
    """Memory that NumPy owns, or sees from now on."""
    item = m.pick()
    exported = m.rng.random() < 0.4
    shape = m.shape()
    array = m.data.standard_normal(shape).astype(m.kind)
    m.say(f"foreign {'numpy' if exported else 'from_numpy'}")
    if exported and not item.t.requires_grad and not overlaps_itself(item.t):
        array = item.t.numpy()
    else:
        m.add(m.torch.from_numpy(array))
    m.arrays = [*m.arrays[-2:], array]


def outside(m: Machine) -> None:
    """NumPy writes. PyTorch's saved tensors see it, ours do not: with leaves there is no reference."""
    if not m.arrays:
        return
    array = m.rng.choice(m.arrays)
    number = m.number()
    if m.reference and m.leaves:
        return
    m.say(f"outside {array.shape}")
    if array.ndim and array.shape[0]:
        array[m.below(array.shape[0])] = number
    else:
        array[...] = number


def drop(m: Machine) -> None:
    if len(m.pool) > 3:
        m.pool.pop(m.rng.randrange(len(m.pool)))


def read(m: Machine) -> None:
    x = m.pick().t
    m.say("read")
    how = m.rng.random()
    if how < 0.3:  # a value that was read is a number of later instructions
        m.add(m.pick().t * float(np.tanh(x.detach().sum().item())))
        return
    m.log.append(x.detach().sum().item() if how < 0.6 else x.detach().numpy().copy())


CHANCES = {
    unary: 16,
    binary: 16,
    reduce: 7,
    matmul: 2,
    loop: 4,
    convolve: 2,
    draw: 4,
    view: 18,
    write: 20,
    rows: 3,
    detach: 4,
    join: 2,
    gather: 2,
    leaf: 2,
    backward: 4,
    second: 1,
    optimise: 2,
    foreign: 2,
    outside: 2,
    drop: 5,
    read: 2,
}


def finished(m: Machine, steps: int) -> Machine:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        m.outcome = m.run(steps)  # type: ignore[attr-defined]
    return m
