"""Operands of products that are computed where they are packed: the bits of operands that were stored before."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from tests.stream.conftest import bits, flush, launches

import flambeau as torch
import flambeau.nn.functional as F
from flambeau import config
from flambeau.autograd import gradcheck, gradgradcheck
from flambeau.device import threads
from flambeau.stream import products, program
from flambeau.stream.backend import current
from flambeau.stream.flush import Novelty

Ways = Callable[[Callable[[], Any]], list[Any]]
SPECIAL = (float("nan"), float("inf"), -float("inf"), -0.0, 1e-45, 3e38)


@pytest.fixture(autouse=True)
def two_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(products, "SEEN", {})  # few sizes: kernels are fitted to them
    before = threads.get_num_threads()
    threads.set_num_threads(2)
    yield
    threads.set_num_threads(before)


def data(*shape: int, seed: int = 0, special: bool = False) -> Any:
    x = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    if special:
        x.reshape(-1)[: len(SPECIAL)] = SPECIAL[: x.size]
    return torch.tensor(x)


def choices(fn: Callable[[], Any]) -> list[str]:
    """How the products of a function are computed."""
    return [k.choice for k in torch.explain(fn).kernels if k.choice]


def computed(fn: Callable[[], Any]) -> list[str]:
    """The operands that the products of a function compute, as "A", "B", "A and B" or ""."""
    found = []
    for text in choices(fn):
        parts = [p for p in text.split(", ") if p.endswith(" computed on the way")]
        found.append(parts[0].removesuffix(" computed on the way") if parts else "")
    return found


def same(found: list[Any]) -> None:
    assert all(f == found[0] for f in found[1:])


x, y, w, v = data(70, 90), data(70, 90, seed=1), data(90, 50, seed=2), data(50, 90, seed=3)
row, column, flags = data(90, seed=4), data(70, 1, seed=5), data(70, 90, seed=6) > 0
whole = (data(70, 90, seed=6) * 40).to(torch.int8)
v2 = data(50, 90, seed=12)
many = data(600, 90, seed=20)  # threads share its rows, not those of the other operand
b1, b2 = data(5, 33, 40, seed=7), data(5, 40, 21, seed=8)

A: dict[str, Callable[[], Any]] = {
    "relu": lambda: torch.relu(x) @ w,
    "scale": lambda: (x * 0.3) @ w,
    "row": lambda: (x * row) @ w,
    "column": lambda: (x * column) @ w,
    "mask": lambda: (x * flags) @ w,
    "gradient of relu": lambda: torch.where(y > 0, x, 0.0) @ w,
    "chain": lambda: ((x + 1).abs() * row - column) @ w,
    "normalised": lambda: F.layer_norm(x, (90,), row, row) @ w,
    "transposed": lambda: (y * 2).t() @ x[:, :40],
    "of a transposed": lambda: (w.t() * 2) @ row,
    "linear": lambda: F.linear(torch.relu(x), v, None),
    "linear and what follows": lambda: F.relu(F.linear(torch.relu(x), v) + 1),
    "three dimensions": lambda: F.linear(torch.relu(x.view(7, 10, 90)), v),
    "stack": lambda: torch.bmm(b1 * 0.5, b2),
    "stack and a factor for each": lambda: torch.bmm(b1 * data(5, 1, 1, seed=9), b2),
    "stack by one": lambda: torch.matmul(torch.relu(b1), b2[0]),
    "strided": lambda: (data(140, 180)[::2, ::2].contiguous() * 2) @ w,
    "einsum": lambda: torch.einsum("ij,jk->ik", x * 3, w),
    "tensordot": lambda: torch.tensordot(torch.relu(x), w, dims=1),
    "from integers": lambda: (whole.float() * column) @ w,
    "float64": lambda: (x.double() * 2) @ w.double(),
}
B: dict[str, Callable[[], Any]] = {
    "second": lambda: x @ (w * 0.7),
    "second, transposed": lambda: F.linear(x, torch.relu(v)),
    "second of a stack": lambda: torch.bmm(b1, torch.relu(b2)),
    "second for all": lambda: torch.matmul(b1, (b2[0] * 2).contiguous()),
    "few rows": lambda: F.linear(x[:3], v * 2),
    "one row": lambda: x[0] @ (w * 2),
    "long rows": lambda: data(1, 300) @ (data(300, 400, seed=1) * 2),
    "masked weights": lambda: F.linear(x, v * (data(50, 90, seed=6) > 0)),
}


UNPACKED = ("second for all", "of a transposed", "one row")  # a small B by few rows is read where it lies


@pytest.mark.parametrize("name", [*A, *B])
def test_bits(each_way: Ways, name: str) -> None:
    fn = A.get(name) or B[name]
    threads.set_num_threads(1)
    assert any(computed(fn)) or "stack" in name or name in UNPACKED
    same(each_way(fn))


LEFT: dict[str, Callable[[], Any]] = {
    "somebody holds it": lambda: (lambda h: (h, h @ w))(x * 2),
    "two products read it": lambda: (lambda h: (h @ w, h @ w[:, :7]))(x * 2),
    "a sum reads it": lambda: (lambda h: (h @ w, h.sum()))(F.gelu(x)),
    "a part of it": lambda: (x * 2)[1:] @ w,
    "each element several times": lambda: (data(1, 40) * 2).expand(33, 40) @ b2[0],
    "a function, by both threads": lambda: F.gelu(x) @ many.t(),
    "the end of another product": lambda: torch.relu(x @ w) @ v[:, :9],
    "few rows by what is not packed": lambda: x[:16] @ torch.relu(w),
    "many operations, by both threads": lambda: F.layer_norm(x, (90,), row, row) @ many.t(),
    "two streams for each column": lambda: F.linear(x[:1], v * v2),
    "a small stack": lambda: torch.bmm(b1 * 0.5, b2),
    "a sum's function": lambda: x.softmax(-1) @ w,
    "read across": lambda: (x[:, :70] * y[:, :70].t()) @ x,
    "a product of single elements": lambda: (x[:, :1] * 2) @ row[None],
}


@pytest.mark.parametrize("name", LEFT)
def test_what_is_stored_as_before(each_way: Ways, name: str) -> None:
    assert not any(computed(LEFT[name]))
    same(each_way(LEFT[name]))


def test_both_operands(each_way: Ways) -> None:
    def square() -> Any:
        h = torch.relu(y[:, :70])
        return h @ h

    for fn in (lambda: (x * 2) @ (w * 3), square, lambda: (y * 2).t() @ torch.relu(x)):
        threads.set_num_threads(2)
        assert "A and B" in computed(fn)
        same(each_way(fn))


def test_a_function_is_computed_once_for_each_element(each_way: Ways) -> None:
    threads.set_num_threads(1)
    for fn in (lambda: F.gelu(x) @ w, lambda: F.linear(x[:3], torch.tanh(v)), lambda: x @ torch.exp(w)):
        assert any(computed(fn))
        same(each_way(fn))
        threads.set_num_threads(1)


@pytest.mark.parametrize("layout", ["nn", "nt", "tn", "tt"])
def test_sizes(layout: str) -> None:
    """All kernels and edges; also numbers that are none, and sums in several blocks."""
    rng = np.random.default_rng(3)
    sizes = [(1, 1, 2), (1, 40, 700), (2, 300, 90), (5, 16, 16), (13, 1, 40), (15, 31, 17), (33, 70, 1200)]
    sizes += [(0, 3, 4), (3, 0, 4), (3, 4, 0), (29, 47, 3), (300, 33, 65), (40, 400, 391), (700, 2, 65)]
    for m, n, k in sizes:
        a = data(*((m, k) if layout[0] == "n" else (k, m)), seed=m, special=True)
        b = data(*((k, n) if layout[1] == "n" else (n, k)), seed=n)
        c, f = data(k, seed=k), data(m, 1, seed=7)
        a, b = (v if how == "n" else v.t() for v, how in zip((a, b), layout))
        scale = float(rng.standard_normal())

        def run() -> Any:
            return (torch.relu(a * scale - 1) @ b, a @ (b * c[:, None]), (a * f) @ b.abs(), a.abs() @ b)

        stored = [
            torch.relu(a * scale - 1).contiguous(),
            (b * c[:, None]).contiguous(),
            a * f,
            b.abs(),
            a.abs(),
        ]
        flush()
        p, q, s, t, u = stored
        want = bits((p @ b, a @ q, s @ t, u @ b))
        for count in (1, 2, 3):
            threads.set_num_threads(count)
            for _ in range(2):
                flush()
                Novelty.level = 0.0
                assert bits(run()) == want, (layout, m, n, k, count)


@pytest.mark.parametrize("dtype", ["float64", "bfloat16", "float16", "int32", "int64"])
def test_dtypes(each_way: Ways, dtype: str) -> None:
    d = getattr(torch, dtype)
    wide = d if dtype in ("int32", "int64") else torch.float64
    for layout in ("nn", "nt", "tn", "tt"):
        a, b = ((data(*shape, seed=3) * 5).to(d) for shape in ((34, 48), (48, 50)))
        a = a.t().contiguous().t() if layout[0] == "t" else a
        b = b.t().contiguous().t() if layout[1] == "t" else b
        c, f = a[:1].contiguous(), b[:, :1].contiguous()

        def run(a: Any = a, b: Any = b, c: Any = c, f: Any = f) -> Any:
            made = (a * 3 + 1) @ b, a @ (b - f), (a > 0).to(b.dtype) @ b, (a * c) @ b, (a + a[:, :1]) @ b
            return [t.to(wide) for t in made]

        same(each_way(run))


@pytest.mark.skipif(not current().target().bf16, reason="the processor has no products of pairs")
def test_pairs(each_way: Ways) -> None:
    """bfloat16 by pairs: neighbours along k are read together, whatever lies there; numbers too small are seen."""
    q, m = data(34, 48), data(34, 48, seed=1) > 0
    a, b, small = q.bfloat16(), data(48, 50).bfloat16(), (data(34, 48) * 1e-30).bfloat16()
    turned = b.t().contiguous()
    fns: list[Callable[[], Any]] = [
        lambda: torch.relu(a) @ b,
        lambda: (a * m) @ b,
        lambda: (q * 2).bfloat16() @ b,
        lambda: a @ (b * 3),
        lambda: F.linear(a, turned * 3),
        lambda: (a * 2).t() @ a[:, :40],
        lambda: (small * 1e-4) @ b,
        lambda: F.linear(a[:33], turned * 1e-38),
    ]
    for fn in fns:
        assert any("pairs" in c and "computed" in c for c in choices(fn))
        same(each_way(lambda fn=fn: fn().float()))
    odd = data(34, 51).bfloat16()[:, 1:49]  # neighbours of a row are no words
    assert not any("computed" in c for c in choices(lambda: (odd * 2) @ b))
    same(each_way(lambda: ((odd * 2) @ b).float()))


def test_numbers_are_arguments() -> None:
    fn = lambda s: (x * s + s) @ w
    launches(lambda: fn(0.5))
    before = program.STATS["kernels"]
    got = [fn(s) for s in (0.25, -3.0, 1e-3)]
    want = [(x * s + s).contiguous() for s in (0.25, -3.0, 1e-3)]
    flush()
    assert program.STATS["kernels"] - before <= 1
    same([bits(got), bits([h @ w for h in want])])


@pytest.mark.parametrize("when", ["before", "after", "after what follows"])
def test_an_operand_is_written_in_place(each_way: Ways, when: str) -> None:
    """What is read later is what was there when the expression was recorded."""

    def run() -> Any:
        a = data(70, 90) + 0
        flush()
        h = a * 2
        if when == "before":
            a.add_(1)
            return h @ w, a
        z = h @ w
        del h
        if when == "after":
            a.mul_(3)
            return torch.relu(z), a
        z = z * 2 + 1
        a[3:].copy_(a[:-3] + 1)
        return z, a

    same(each_way(run))


def test_a_result_is_written_before_the_product_reads_it(each_way: Ways) -> None:
    """What the node made is not what is there."""

    def run() -> Any:
        h = data(33, 1) @ data(1, 40)
        h.mul_(1.5)
        z = torch.tanh(h) @ h.t()
        h.add_(1)
        return z

    threads.set_num_threads(1)
    same(each_way(run))


def test_views_of_what_is_read(each_way: Ways) -> None:
    """The operand is a view of memory that is written through another view; views that died do not count."""

    def run() -> Any:
        a = data(90, 90) + 0
        flush()
        part, other = a[5:75], a[::2]
        h = torch.relu(part)
        gone = h[1:3].t()
        del gone
        z = h @ w
        del h
        other.zero_()
        return z, a.sum()

    same(each_way(run))


def test_gradients() -> None:
    def fn(a: Any, b: Any, s: Any) -> Any:
        return (torch.sin(a) * s) @ (b * b) + F.linear(torch.relu(a) * 2, (b * 3).t())

    inputs = [data(*shape).double().requires_grad_() for shape in ((4, 5), (5, 3), (1, 5))]
    assert gradcheck(fn, inputs) and gradgradcheck(fn, inputs)


def test_gradients_have_the_same_bits(each_way: Ways) -> None:
    def step() -> Any:
        a, b, c = (t.clone().requires_grad_() for t in (x, w, b2[0, :50]))
        h = torch.dropout(torch.relu(a) * 2, 0.0, True) @ b
        loss = (torch.sigmoid(h[:, :40]) @ c[:40] * column).sum()
        loss.backward()
        return loss, a.grad, b.grad, c.grad

    same(each_way(step))


INTERPRETED = [A[n] for n in ("relu", "row", "transposed", "stack", "mask")]
INTERPRETED += [B[n] for n in ("second", "few rows", "one row", "long rows")]


def test_other_backends() -> None:
    """The interpreter gives the same bits; for another processor the kernels can be compiled."""
    want = [bits(fn()) for fn in INTERPRETED]
    before = set(program.KERNELS)
    try:
        config.set("backend", "python")
        for fn, known in zip(INTERPRETED, want):
            for _ in range(3):
                flush()
                Novelty.level = 0.0
                assert bits(fn()) == known
        config.set("backend", "null")
        config.set("no_cache", True)
        for fn in INTERPRETED:
            launches(fn)
    finally:
        config.set("no_cache", False)
        config.set("backend", "cpu")
    made = [key for key in set(program.KERNELS) - before if "Head(" in repr(key[1])]
    assert {key[0] for key in made} == {"python", "null"}
    assert all(size > 0 for key in made if key[0] == "null" for size in program.KERNELS[key][0])


def test_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """The operand takes none; two operands that may die are not kept for the sake of one."""
    sizes: list[int] = []
    original = program.place_memory

    def place(p: Any, *rest: Any) -> None:
        original(p, *rest)
        sizes.append(p.arena + sum(n for n, _, _ in p.blocks))

    monkeypatch.setattr(program, "place_memory", place)
    a, b = data(512, 512), data(512, 8)
    plain = torch.relu(a)
    for fn in (lambda: plain @ b, lambda: torch.relu(a) @ b):
        launches(fn)
    assert sizes[-1] < sizes[0] + (256 << 10) < sizes[0] + 4 * 512 * 512
