"""Kernels at the speed of memory beside PyTorch eager: elementwise, reductions, scans, sorting, indexing, norms, pools.

usage: python bench/elementwise.py [-k REGEX] [--rounds 3] [--threads 2] [--busy] [--write]

Each framework runs in a process of its own, two threads each, and the two take turns; the best of the rounds' medians
is shown. Every call makes a fresh result, which is kept until one of its values has been read. GB/s counts the bytes
that an operation has to read and write, `copy` is its share of the copy bandwidth measured in the same run.
`--write` writes bench/RESULTS_kernels.md.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib
import re
import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import rarer
import rows_more
import rows_moves
from run import Side, machine, serve

HERE = Path(__file__).resolve().parent
SIZES = {"64Ki": 1 << 16, "1Mi": 1 << 20, "16Mi": 1 << 24}


class Case(NamedTuple):
    """A line: `make(torch)` gives the call, `moved` the bytes of memory that it must touch at least."""

    make: Callable[[Any], Callable[[], Any]]
    moved: int


CASES: dict[str, Case] = {}


def given(torch: Any, *shape: int, dtype: Any = np.float32, kind: str = "normal", seed: int = 0) -> Any:
    """A tensor of numbers: normal, positive ones, or whole ones below `kind`."""
    rng = np.random.default_rng(seed)
    if kind.isdigit():
        return torch.tensor(rng.integers(0, int(kind), shape).astype(dtype))
    a = rng.standard_normal(shape, np.float32)
    return torch.tensor((np.abs(a) + np.float32(0.01) if kind == "positive" else a).astype(dtype))


def case(name: str, moved: int, make: Callable[[Any], Callable[[], Any]]) -> None:
    """Register a line."""
    CASES[name] = Case(make, moved)


UNARY = {
    **dict.fromkeys(
        ("relu", "exp", "tanh", "sigmoid", "erf", "sin", "neg", "abs", "expm1", "round"), "normal"
    ),
    **dict.fromkeys(("log", "sqrt", "rsqrt", "log1p", "lgamma", "reciprocal"), "positive"),
}


def elementwise(label: str, n: int) -> None:
    """One operation for each element."""

    def unary(name: str, kind: str) -> Callable[[Any], Callable[[], Any]]:
        def make(torch: Any) -> Callable[[], Any]:
            x, f = given(torch, n, kind=kind), getattr(torch, name)
            return lambda: f(x)

        return make

    def binary(f: Callable[..., Any], kind: str = "normal") -> Callable[[Any], Callable[[], Any]]:
        def make(torch: Any) -> Callable[[], Any]:
            x, y = given(torch, n, kind=kind), given(torch, n, kind="positive", seed=1)
            return lambda: f(torch, x, y)

        return make

    for name, kind in UNARY.items():
        case(f"{name} {label}", 8 * n, unary(name, kind))
    case(f"add {label}", 12 * n, binary(lambda torch, x, y: x + y))
    case(f"mul {label}", 12 * n, binary(lambda torch, x, y: x * y))
    case(f"div {label}", 12 * n, binary(lambda torch, x, y: x / y))
    case(f"fmod {label}", 12 * n, binary(lambda torch, x, y: torch.fmod(x, y)))
    case(f"maximum {label}", 12 * n, binary(lambda torch, x, y: torch.maximum(x, y)))
    case(f"pow {label}", 12 * n, binary(lambda torch, x, y: x**y, "positive"))
    case(f"pow 2 {label}", 8 * n, binary(lambda torch, x, y: x**2))
    case(f"pow 2.5 {label}", 8 * n, binary(lambda torch, x, y: y**2.5))
    case(f"where {label}", 13 * n, binary(lambda torch, x, y: torch.where(x > 0, x, y)))
    case(f"clamp {label}", 8 * n, binary(lambda torch, x, y: x.clamp(-1, 1)))
    for name in ("gelu", "silu", "softplus", "elu", "hardswish", "leaky_relu"):
        case(f"{name} {label}", 8 * n, binary(lambda torch, x, y, k=name: getattr(torch.nn.functional, k)(x)))
    case(f"dropout {label}", 8 * n, binary(lambda torch, x, y: torch.nn.functional.dropout(x, 0.5)))

    def chain(torch: Any) -> Callable[[], Any]:
        x, r = given(torch, n), given(torch, n, seed=1)
        w, b = torch.ones(n), torch.zeros(n)
        return lambda: torch.nn.functional.gelu(x * w + b) + r

    case(f"gelu(x*w+b)+r {label}", 20 * n, chain)

    def doubles(f: Callable[..., Any]) -> Callable[[Any], Callable[[], Any]]:
        def make(torch: Any) -> Callable[[], Any]:
            x = given(torch, n, dtype=np.float64)
            y = given(torch, n, dtype=np.float64, kind="positive", seed=1)
            return lambda: f(torch, x, y)

        return make

    case(f"add f64 {label}", 24 * n, doubles(lambda torch, x, y: x + y))
    for name in ("exp", "log", "tanh", "sin", "erf", "lgamma"):
        case(f"{name} f64 {label}", 16 * n, doubles(lambda torch, x, y, k=name: getattr(torch, k)(y)))
    case(f"fmod f64 {label}", 24 * n, doubles(lambda torch, x, y: torch.fmod(x, y)))
    case(f"pow f64 {label}", 24 * n, doubles(lambda torch, x, y: y**x))

    def whole(f: Callable[..., Any], dtype: Any = np.int64) -> Callable[[Any], Callable[[], Any]]:
        def make(torch: Any) -> Callable[[], Any]:
            x = given(torch, n, dtype=dtype, kind="1000")
            return lambda: f(x)

        return make

    case(f"add i64 {label}", 16 * n, whole(lambda x: x + 3))
    case(f"floor_divide i64 {label}", 16 * n, whole(lambda x: x // 7))
    case(f"to float i64 {label}", 12 * n, whole(lambda x: x.float()))
    case(f"cast f64 {label}", 12 * n, binary(lambda torch, x, y: x.double()))
    case(f"cast bf16 {label}", 6 * n, binary(lambda torch, x, y: x.bfloat16()))


for _label, _n in SIZES.items():
    elementwise(_label, _n)


def plain(name: str, moved: int, shape: tuple[int, ...], f: Callable[..., Any], **options: Any) -> None:
    """A line: f(torch, x) of one tensor."""

    def make(torch: Any) -> Callable[[], Any]:
        x = given(torch, *shape, **options)
        return lambda: f(torch, x)

    case(name, moved, make)


def gradient(name: str, moved: int, shapes: list[tuple[int, ...]], f: Callable[..., Any]) -> None:
    """A line: the gradients of f(torch, *tensors), forward included."""

    def make(torch: Any) -> Callable[[], Any]:
        xs = [given(torch, *s, seed=i).requires_grad_() for i, s in enumerate(shapes)]
        g = given(torch, *f(torch, *xs).shape, seed=9)
        return lambda: torch.autograd.grad(f(torch, *xs), xs, g)

    case(name, moved, make)


ROWS = {"64x1024": (64, 1024), "1024x1024": (1024, 1024), "16384x1024": (16384, 1024)}


def reductions(label: str, shape: tuple[int, int]) -> None:
    """Reductions and scans of a matrix."""
    n = shape[0] * shape[1]
    for name in ("sum", "mean", "amax", "argmax", "var", "prod", "logsumexp"):
        for dim in (0, 1, None):
            if dim is None and name == "logsumexp":
                continue
            args = () if dim is None else (dim,)
            where = "all" if dim is None else f"dim {dim}"
            plain(f"{name} {where} {label}", 4 * n, shape, lambda torch, x, k=name, a=args: getattr(x, k)(*a))
    plain(f"max dim 1 {label}", 4 * n, shape, lambda torch, x: x.max(1).values)
    plain(f"norm all {label}", 4 * n, shape, lambda torch, x: x.norm())
    plain(f"sum f64 all {label}", 8 * n, shape, lambda torch, x: x.sum(), dtype=np.float64)
    plain(f"sum i64 all {label}", 8 * n, shape, lambda torch, x: x.sum(), dtype=np.int64, kind="9")
    plain(f"any {label}", 4 * n, shape, lambda torch, x: (x > 9).any())
    for dim in (0, 1):
        plain(f"cumsum dim {dim} {label}", 8 * n, shape, lambda torch, x, d=dim: x.cumsum(d))
        plain(f"cumprod dim {dim} {label}", 8 * n, shape, lambda torch, x, d=dim: x.cumprod(d))
        plain(f"cummax dim {dim} {label}", 16 * n, shape, lambda torch, x, d=dim: x.cummax(d).values)
        plain(f"softmax dim {dim} {label}", 8 * n, shape, lambda torch, x, d=dim: x.softmax(d))
        gradient(f"softmax dim {dim} backward {label}", 20 * n, [shape], lambda torch, x, d=dim: x.softmax(d))
    plain(f"log_softmax {label}", 8 * n, shape, lambda torch, x: x.log_softmax(1))
    gradient(f"log_softmax backward {label}", 20 * n, [shape], lambda torch, x: x.log_softmax(1))
    w = (shape[1],)
    norm: Callable[..., Any] = lambda torch, x, w, b: torch.nn.functional.layer_norm(x, (x.shape[1],), w, b)
    plain(
        f"layer_norm {label}",
        8 * n,
        shape,
        lambda torch, x: torch.nn.functional.layer_norm(x, (x.shape[1],)),
    )
    gradient(f"layer_norm backward {label}", 20 * n, [shape, w, w], norm)
    plain(f"rms_norm {label}", 8 * n, shape, lambda torch, x: torch.nn.functional.rms_norm(x, (x.shape[1],)))
    gradient(
        f"rms_norm backward {label}",
        20 * n,
        [shape, w],
        lambda torch, x, w: torch.nn.functional.rms_norm(x, (x.shape[1],), w),
    )

    def loss(torch: Any) -> Callable[[], Any]:
        x, t = given(torch, *shape), given(torch, shape[0], dtype=np.int64, kind=str(shape[1]))
        x.requires_grad_()
        return lambda: torch.autograd.grad(torch.nn.functional.cross_entropy(x, t), x)

    case(f"cross_entropy backward {label}", 12 * n, loss)


for _label, _shape in ROWS.items():
    reductions(_label, _shape)

for _label, _n in SIZES.items():
    plain(f"cumsum one row {_label}", 8 * _n, (_n,), lambda torch, x: x.cumsum(0))
    plain(f"cumprod one row {_label}", 8 * _n, (_n,), lambda torch, x: x.cumprod(0))
    plain(f"cummax one row {_label}", 16 * _n, (_n,), lambda torch, x: x.cummax(0).values)
    plain(
        f"cumsum i64 one row {_label}", 16 * _n, (_n,), lambda torch, x: x.cumsum(0), dtype=np.int64, kind="9"
    )


def sorts(label: str, n: int) -> None:
    """Sorting one row of n."""
    plain(f"sort {label}", 16 * n, (n,), lambda torch, x: x.sort().values)
    plain(f"sort descending {label}", 16 * n, (n,), lambda torch, x: x.sort(descending=True).values)
    plain(f"argsort {label}", 12 * n, (n,), lambda torch, x: x.argsort())
    plain(f"sort f64 {label}", 24 * n, (n,), lambda torch, x: x.sort().values, dtype=np.float64)
    plain(f"sort i64 {label}", 24 * n, (n,), lambda torch, x: x.sort().values, dtype=np.int64, kind="1000000")
    plain(f"topk 10 {label}", 4 * n, (n,), lambda torch, x: x.topk(10).values)
    plain(f"topk 1000 {label}", 4 * n, (n,), lambda torch, x: x.topk(1000).values)
    plain(f"unique i64 {label}", 8 * n, (n,), lambda torch, x: torch.unique(x), dtype=np.int64, kind="1000")
    plain(f"median {label}", 4 * n, (n,), lambda torch, x: x.median())
    plain(f"kthvalue {label}", 4 * n, (n,), lambda torch, x: x.kthvalue(n // 3).values)


for _label, _n in (("64Ki", 1 << 16), ("1Mi", 1 << 20)):
    sorts(_label, _n)
for _label, _shape in (("64x1024", (64, 1024)), ("1024x1024", (1024, 1024))):
    _n = _shape[0] * _shape[1]
    plain(f"sort rows {_label}", 16 * _n, _shape, lambda torch, x: x.sort(1).values)
    plain(f"sort columns {_label}", 16 * _n, _shape, lambda torch, x: x.sort(0).values)
    plain(f"topk 5 rows {_label}", 4 * _n, _shape, lambda torch, x: x.topk(5).values)
    plain(f"median rows {_label}", 4 * _n, _shape, lambda torch, x: x.median(1).values)


def indexing(label: str, rows: int, count: int, width: int) -> None:
    """Rows of a table by number, and their gradients."""
    n = count * width

    def of(f: Callable[..., Any]) -> Callable[[Any], Callable[[], Any]]:
        def make(torch: Any) -> Callable[[], Any]:
            table = given(torch, rows, width)
            i = given(torch, count, dtype=np.int64, kind=str(rows))
            v = given(torch, count, width, seed=2)
            return lambda: f(torch, table, i, v)

        return make

    case(f"index_select {label}", 8 * n, of(lambda torch, t, i, v: t.index_select(0, i)))
    case(f"t[i] {label}", 8 * n, of(lambda torch, t, i, v: t[i]))
    case(f"index_add {label}", 8 * n + 8 * rows * width, of(lambda torch, t, i, v: t.index_add(0, i, v)))
    case(
        f"index_put accumulate {label}",
        8 * n + 8 * rows * width,
        of(lambda torch, t, i, v: t.index_put((i,), v, accumulate=True)),
    )

    def embedding(torch: Any) -> Callable[[], Any]:
        table, i = (
            given(torch, rows, width).requires_grad_(),
            given(torch, count, dtype=np.int64, kind=str(rows)),
        )
        v = given(torch, count, width, seed=2)
        return lambda: torch.autograd.grad(torch.nn.functional.embedding(i, table), table, v)

    case(f"embedding backward {label}", 16 * n + 4 * rows * width, embedding)


indexing("1000x64, 4096", 1000, 4096, 64)
indexing("50000x128, 16384", 50000, 16384, 128)


def elements(label: str, n: int) -> None:
    """Single elements by number."""

    def of(f: Callable[..., Any]) -> Callable[[Any], Callable[[], Any]]:
        def make(torch: Any) -> Callable[[], Any]:
            x, i = given(torch, n), given(torch, n, dtype=np.int64, kind=str(n))
            return lambda: f(torch, x, i)

        return make

    case(f"gather 1-d {label}", 16 * n, of(lambda torch, x, i: x.gather(0, i)))
    case(f"take x[i] {label}", 16 * n, of(lambda torch, x, i: x[i]))
    case(f"scatter_add 1-d {label}", 20 * n, of(lambda torch, x, i: torch.zeros(n).scatter_add(0, i, x)))
    case(f"index_add 1-d {label}", 20 * n, of(lambda torch, x, i: torch.zeros(n).index_add(0, i, x)))
    case(f"bincount {label}", 8 * n, of(lambda torch, x, i: torch.bincount(i)))
    case(f"x[x > 0] {label}", 6 * n, of(lambda torch, x, i: x[x > 0]))
    case(f"nonzero {label}", 8 * n, of(lambda torch, x, i: (x > 0).nonzero()))


elements("64Ki", 1 << 16)
elements("1Mi", 1 << 20)


def planes(dim: int) -> None:
    """Elements of a matrix by number along a dim."""

    def of(f: Callable[..., Any]) -> Callable[[Any], Callable[[], Any]]:
        def make(torch: Any) -> Callable[[], Any]:
            x, i = given(torch, 1024, 1024), given(torch, 1024, 1024, dtype=np.int64, kind="1024")
            return lambda: f(torch, x, i)

        return make

    case(f"gather dim {dim} 1024x1024", 16 << 20, of(lambda torch, x, i: x.gather(dim, i)))
    case(
        f"scatter_add dim {dim} 1024x1024",
        20 << 20,
        of(lambda torch, x, i: torch.zeros(1024, 1024).scatter_add(dim, i, x)),
    )


planes(0)
planes(1)


def images(label: str, shape: tuple[int, int, int, int]) -> None:
    """Batch norm, pooling and interpolation of images."""
    n = int(np.prod(shape))
    c = (shape[1],)
    torch_nn: Callable[[Any], Any] = lambda torch: torch.nn.functional
    norm: Callable[..., Any] = lambda torch, x, w, b: torch_nn(torch).batch_norm(x, None, None, w, b, True)
    plain(
        f"batch_norm train {label}",
        12 * n,
        shape,
        lambda torch, x: torch_nn(torch).batch_norm(x, None, None, None, None, True),
    )
    gradient(f"batch_norm train backward {label}", 28 * n, [shape, c, c], norm)

    def evaluated(torch: Any) -> Callable[[], Any]:
        layer = torch.nn.BatchNorm2d(shape[1]).eval()
        x = given(torch, *shape)
        no_grad = torch.no_grad

        def call() -> Any:
            with no_grad():
                return layer(x)

        return call

    case(f"batch_norm eval {label}", 8 * n, evaluated)
    for name, moved in (("max_pool2d", 5), ("avg_pool2d", 5)):
        f: Callable[..., Any] = lambda torch, x, k=name: getattr(torch_nn(torch), k)(x, 2)
        plain(f"{name} 2 {label}", moved * n, shape, f)
        gradient(f"{name} 2 backward {label}", 11 * n, [shape], f)
        g: Callable[..., Any] = lambda torch, x, k=name: getattr(torch_nn(torch), k)(x, 3, 2, 1)
        plain(f"{name} 3 s2 {label}", moved * n, shape, g)
        gradient(f"{name} 3 s2 backward {label}", 11 * n, [shape], g)
    plain(
        f"adaptive_avg_pool2d 1 {label}",
        4 * n,
        shape,
        lambda torch, x: torch_nn(torch).adaptive_avg_pool2d(x, 1),
    )
    for mode in ("nearest", "bilinear"):
        h: Callable[..., Any] = lambda torch, x, m=mode: torch_nn(torch).interpolate(
            x, scale_factor=2, mode=m
        )
        plain(f"interpolate {mode} {label}", 20 * n, shape, h)
        gradient(f"interpolate {mode} backward {label}", 40 * n, [shape], h)


images("8x64x56x56", (8, 64, 56, 56))
images("32x16x16x16", (32, 16, 16, 16))


def moves(label: str, m: int) -> None:
    """What only moves elements, of matrices m x m."""
    n = m * m
    plain(f"cat dim 0 {label}", 16 * n, (m, m), lambda torch, x: torch.cat([x, x], 0))
    plain(f"cat dim 1 {label}", 16 * n, (m, m), lambda torch, x: torch.cat([x, x], 1))
    plain(f"stack 2 {label}", 16 * n, (m, m), lambda torch, x: torch.stack([x, x], 2))
    plain(f"pad {label}", 8 * n, (m, m), lambda torch, x: torch.nn.functional.pad(x, (1, 1, 1, 1)))
    plain(f"transpose copy {label}", 8 * n, (m, m), lambda torch, x: x.t().contiguous())
    plain(f"x + x.t() {label}", 12 * n, (m, m), lambda torch, x: x + x.t())
    plain(f"clone {label}", 8 * n, (m, m), lambda torch, x: x.clone())
    plain(f"flip {label}", 8 * n, (m, m), lambda torch, x: x.flip(1))
    plain(f"roll {label}", 8 * n, (m, m), lambda torch, x: x.roll(3, 1))
    plain(f"tril {label}", 8 * n, (m, m), lambda torch, x: x.tril())
    plain(f"repeat {label}", 12 * n, (m, m), lambda torch, x: x.repeat(2, 1))
    plain(f"x + row {label}", 8 * n, (m, m), lambda torch, x: x + x[0])
    plain(f"x * column {label}", 8 * n, (m, m), lambda torch, x: x * x[:, :1])
    case(f"zeros {label}", 4 * n, lambda torch: lambda: torch.zeros(m, m))
    case(f"arange {label}", 4 * n, lambda torch: lambda: torch.arange(0, n, dtype=torch.float32))
    case(f"rand {label}", 4 * n, lambda torch: lambda: torch.rand(m, m))
    case(f"randn {label}", 4 * n, lambda torch: lambda: torch.randn(m, m))
    case(f"randperm {label}", 8 * n, lambda torch: lambda: torch.randperm(n))


moves("256", 256)
moves("1024", 1024)
moves("4096", 4096)
rarer.register(case, plain, gradient, given)
rows_more.register(case, given)
rows_moves.register(case, given)


# --- one side -----------------------------------------------------------------------------------------------------


def first(result: Any) -> float:
    """A number out of a result."""
    result = result[0] if isinstance(result, (tuple, list)) else result
    return float(result.detach().reshape(-1)[:1].sum().item().real)


class Runner:
    """Runs cases with one framework, as told by lines of JSON."""

    def __init__(self, side: str, threads: int, busy: bool):
        self.average = min if busy else statistics.median
        self.torch = importlib.import_module(side)
        self.torch.set_num_threads(threads)
        self.wait = getattr(self.torch, "synchronize", lambda: None)
        self.call: Callable[[], Any] = lambda: None

    def open(self, name: str) -> dict[str, float]:
        self.torch.manual_seed(0)
        self.call = CASES[name].make(self.torch)
        for _ in range(4):
            result = self.call()
            self.wait()
        return {"value": first(result)}

    def round(self, seconds: float) -> dict[str, float]:
        """The median seconds of a call."""
        call, wait, clock = self.call, self.wait, time.perf_counter
        times: list[float] = []
        end = clock() + seconds
        while len(times) < 3 or clock() < end:
            begun = clock()
            result = call()
            wait()
            times.append(clock() - begun)
            first(result)
            del result
        return {"seconds": self.average(times)}

    def copy(self) -> dict[str, float]:
        """Bytes a second, read and written, of memcpy by two threads over 256 MiB."""
        size = 128 << 20
        a, b = np.ones(size, np.uint8), np.zeros(size, np.uint8)
        half = size // 2
        best = 1e9
        for _ in range(7):
            threads = [
                threading.Thread(
                    target=ctypes.memmove, args=(b.ctypes.data + k * half, a.ctypes.data + k * half, half)
                )
                for k in range(2)
            ]
            begun = time.perf_counter()
            for t in threads:
                t.start()
            for t in threads:
                t.join()
            best = min(best, time.perf_counter() - begun)
        return {"rate": 2 * size / best}


# --- the table ----------------------------------------------------------------------------------------------------


def measure(sides: dict[str, Side], name: str, rounds: int, seconds: float) -> dict[str, Any]:
    """Seconds of both sides, or why there are none."""
    opened = {s: side.ask(do="open", name=name) for s, side in sides.items()}
    best: dict[str, Any] = {"wrong": False}
    for s, answer in opened.items():
        if "error" in answer:
            best["error"] = f"{s}: {answer['error']}"
            return best
    a, b = (answer["value"] for answer in opened.values())
    best["wrong"] = abs(a - b) > 1e-3 * (abs(a) + 1) and not name.startswith(("rand", "dropout", "unique"))
    for _ in range(rounds):
        for s, side in sides.items():
            spent = side.ask(do="round", seconds=seconds)["seconds"]
            best[s] = min(best.get(s, spent), spent)
    return best


def row(name: str, found: dict[str, Any], copy: float) -> tuple[float, list[str]]:
    """The ratio, and the cells of a line."""
    if "error" in found:
        return 99.0, [name, "", "", found["error"], "", ""]
    ratio = found["flambeau"] / found["torch"]
    rate = CASES[name].moved / found["flambeau"]
    return ratio, [
        name,
        f"{found['torch'] * 1e6:,.1f}",
        f"{found['flambeau'] * 1e6:,.1f}",
        f"{ratio:.2f}" + (" WRONG" if found["wrong"] else ""),
        f"{rate / 1e9:.1f}",
        f"{100 * rate / copy:.0f}%",
    ]


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-k", default="", help="only cases whose name matches")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.03, help="of each round of a case")
    parser.add_argument("--worst", type=float, default=0.0, help="print only ratios above this at the end")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--busy", action="store_true", help="compare the least times: the machine is not quiet"
    )
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    if options.serve:
        serve(Runner(options.serve, options.threads, options.busy))
        return
    flags = ["--threads", str(options.threads), *(["--busy"] if options.busy else [])]
    script = str(Path(__file__).resolve())
    sides = {s: Side(s, script=[script, "--serve", s, *flags]) for s in ("torch", "flambeau")}
    copy = sides["torch"].ask(do="copy")["rate"]
    head = ["what", "PyTorch us", "flambeau us", "ratio", "GB/s", "copy"]
    rows = []
    for name in CASES:
        if re.search(options.k, name):
            rows.append(row(name, measure(sides, name, options.rounds, options.seconds), copy))
            if not options.worst or rows[-1][0] > options.worst:
                print("{:40} {:>12} {:>12} {:>6} {:>7} {:>6}".format(*rows[-1][1]), flush=True)
    for side in sides.values():
        side.close()
    ratios = [r for r, _ in rows if r < 99]
    mean = float(np.exp(np.mean(np.log(ratios)))) if ratios else 0.0
    summary = (
        f"{len(ratios)} cases, geometric mean {mean:.2f}, {sum(r > 1 for r in ratios)} slower than PyTorch; "
        f"memcpy by two threads moves {copy / 1e9:.1f} GB/s (read and written)."
    )
    print(summary)
    if options.write:
        lines = [
            "# Kernels at the speed of memory",
            "",
            f"Written by `python bench/elementwise.py --write`: {machine()}.",
        ]
        lines += [
            f"Two threads each, best of {options.rounds} medians. {summary}",
            "",
            "| " + " | ".join(head) + " |",
        ]
        lines += ["|---|---:|---:|---:|---:|---:|", *("| " + " | ".join(cells) + " |" for _, cells in rows)]
        (HERE / "RESULTS_kernels.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
