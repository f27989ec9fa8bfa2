"""Forms derived from their kin: the same program as a traced form's, and the same numbers."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import flambeau as torch
from flambeau.device import cpython
from flambeau.ops import builtins, kin
from flambeau.ops.builtins import retiring
from flambeau.ops.registry import ENTRIES
from flambeau.stream import flush
from flambeau.stream.novelty import Novelty
from flambeau.stream.program import STATS
from flambeau.stream.value import LOCAL

CALLS = {
    "exp": lambda x, y: torch.exp(x),
    "add": lambda x, y: x + y,
    "add_number": lambda x, y: torch.add(x, y, alpha=3),
    "scaled": lambda x, y: x * 2.5,
    "where": lambda x, y: torch.where(x > y, x, y),
    "gelu": lambda x, y: torch.nn.functional.gelu(x),
    "row": lambda x, y: x * y[:1].clone(),
    "column": lambda x, y: x * y[:, :1].clone(),
    "sum": lambda x, y: x.sum(),
    "sum_rows": lambda x, y: x.sum(1),
    "sum_columns": lambda x, y: x.sum(0),
    "max": lambda x, y: x.amax(1, keepdim=True),
    "mean": lambda x, y: x.mean(),
    "var": lambda x, y: x.var(1),
    "softmax": lambda x, y: x.softmax(1),
    "softmax_columns": lambda x, y: x.softmax(0),
    "logsumexp": lambda x, y: x.logsumexp(1),
    "norm": lambda x, y: x.norm(),
    "less": lambda x, y: x < y,
    "cast": lambda x, y: x.double(),
}
SHAPES = [(3, 4), (5, 7), (6, 2), (9, 9), (1, 8), (8, 1), (40, 300), (300, 41), (2, 3), (700, 700)]


@pytest.mark.parametrize("name", CALLS)
def test_a_new_shape_gives_what_a_traced_one_gives(name, monkeypatch):
    """With and without kin, bit for bit, over shapes on both sides of what one thread does."""
    call = CALLS[name]
    builtins.install()
    rng = np.random.default_rng(0)
    data = [(rng.standard_normal(s, "f"), rng.standard_normal(s, "f")) for s in SHAPES]
    got = [call(torch.tensor(a), torch.tensor(b)).numpy().copy() for a, b in data]
    for entry in ENTRIES.values():
        entry.cache.clear()
        entry.kin.clear()
    monkeypatch.setattr(kin, "derive", lambda *call: None)
    monkeypatch.setattr(kin.Kin, "settle", lambda self: None)
    want = [call(torch.tensor(a), torch.tensor(b)).numpy().copy() for a, b in data]
    assert not any(form.kin for entry in ENTRIES.values() for form in entry.cache.values())
    for entry in ENTRIES.values():  # these are not settled
        entry.kin.clear()
    for a, b in zip(got, want):
        assert a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def test_a_third_shape_plans_nothing():
    """After two shapes that differ in every extent, others are derived."""
    for n in (11, 13, 17):
        torch.tanh(torch.ones(n, n + 1)).sum(1).tolist()
    before = STATS["planned"], STATS["kernels"]
    for n in range(20, 40):
        torch.tanh(torch.ones(n, n + 1)).sum(1).tolist()
    assert STATS["kernels"] == before[1]
    assert STATS["planned"] == before[0]


def test_what_an_extent_changes_is_not_derived():
    """The divisor of a mean is the extent: it may not come from another shape."""
    for n in (2, 3, 5, 7, 11):
        assert torch.arange(n).float().mean().item() == (n - 1) / 2
        assert torch.ones(4, n).mean(1).tolist() == [1.0] * 4


def test_a_derived_form_is_traced_when_it_is_planned_as_a_whole():
    """A loop over a new shape: the second time its sequence is planned from the graphs of its forms."""
    for n in (3, 5, 8, 8, 8):
        x = torch.full((n, n), 0.5, requires_grad=True)
        (torch.sigmoid(x) * 3).sum().backward()
        assert x.grad.shape == (n, n)
        assert x.grad.numpy() == pytest.approx(3 * 0.6224593 * 0.3775407, rel=1e-5)


def test_the_backend_may_change_between_two_shapes():
    """Programs of derived forms belong to their device."""
    from flambeau import config

    for n in (3, 5, 7):
        torch.cos(torch.ones(n)).tolist()
    try:
        config.set("backend", "python")
        on_python = torch.cos(torch.ones(9)).tolist()
    finally:
        config.set("backend", "cpu")
    assert on_python == torch.cos(torch.ones(9)).tolist()


def test_derived_forms_know_what_they_move() -> None:
    """At the end of a module's outermost call without gradients, also for shapes that were never traced."""
    module = torch.nn.ReLU()
    with torch.no_grad():
        for n in (3, 5, 7, 11, 13):
            assert torch.equal(module(torch.zeros(2, n, 3) - 1), torch.zeros(2, n, 3))
    assert any(f.kin is not None and f.weight for f in torch.relu.entry.cache.values())


native = pytest.mark.skipif(not cpython.supported(), reason="no builtins for this interpreter")


@native
@pytest.mark.parametrize("name", CALLS)
def test_the_builtin_derives_what_python_derives(name, monkeypatch):
    """The same structures and forms, field by field; and Python is not asked."""
    builtins.install()
    shapes = [(3, 4), (5, 7), (6, 2), (11, 13), (17, 19)]
    for shape in shapes:
        CALLS[name](torch.ones(shape), torch.ones(shape)).tolist()
    asked, derive = [], kin.derive
    monkeypatch.setattr(kin, "derive", lambda entry, *key: asked.append(entry.name) or derive(entry, *key))
    x, y = torch.ones(23, 29), torch.ones(23, 29)
    torch.exp2(x).tolist(), torch.exp2(y).tolist()  # they have their bytes
    known = {entry: set(entry.cache) for entry in ENTRIES.values()}
    asked.clear()
    CALLS[name](x, y).tolist()
    found = 0
    for entry, before in known.items():
        for key in set(entry.cache) - before:
            made = entry.cache[key]
            if made.kin is None or entry.name in asked:
                continue
            found += 1
            want = derive(entry, key)
            for slot in type(made).__slots__:
                if slot not in ("trace", "out_vals", "weight", "backward", "fresh", "plain_unit", "unit"):
                    assert getattr(made, slot) == getattr(want, slot), slot
            assert made.outs is want.outs or len(made.outs) > 1
            assert made.backward is None and made.plans is made.kin.first.plans and made.key is key
    # A divisor may be an extent; a number that is not its default goes by Python.
    assert bool(found) == (name not in ("mean", "var")), asked


@native
def test_a_small_shape_runs_without_a_program():
    """By the recipe of its kin; a large one, which threads share, has a program."""
    builtins.install()
    for n in (3, 5, 7, 9):
        torch.softmax(torch.ones(n, n + 1), 1).sum().tolist()
    for n, small in ((21, True), (1500, False)):
        x = torch.ones(n, n + 1)
        torch.softmax(x, 1).sum().tolist()
        (form,) = [f for f in ENTRIES["_softmax"].cache.values() if f.outs[0][0].shape == (n, n + 1)]
        assert (form.plain_unit is None) == small


@native
def test_a_new_shape_read_at_once_is_run_by_a_builtin():
    """Python neither looks the sequence up nor keeps anything of it; a second time it does."""
    builtins.install()
    w = torch.tensor(np.arange(15, dtype="f4").reshape(5, 3))
    x = torch.tensor(np.arange(500, dtype="f4").reshape(100, 5))
    calls = (lambda a: a * a, lambda a: a @ w, lambda a: a[1:].sum(1), lambda a: torch.cat([a, a[:2]]))
    for call in calls:
        for n in range(3, 16):  # what is derived is founded
            call(x[:n]).tolist()
        for n in (40, 42, 44):
            rows = x[:n]
            before = Novelty.flushes, STATS["planned"]
            runs, units = STATS["runs"], STATS["units"]
            y = call(rows)
            LOCAL.s.flush()
            assert (Novelty.flushes, STATS["planned"]) == before
            assert (STATS["runs"], STATS["units"]) == (runs + 1, units + 1)
            assert y.tolist() == call(x[:n]).tolist()
        assert Novelty.flushes > before[0]


@native
def test_a_check_that_fails_in_a_new_shape_names_it():
    builtins.install()
    for n in range(4, 24):
        torch.ones(n, 2)[torch.arange(n)].tolist()
    x = torch.ones(31, 2)
    picked = x[torch.arange(32)]
    with pytest.raises(IndexError, match="size 31"):
        picked.tolist()
    with pytest.raises(IndexError):
        (picked + 1).tolist()
    assert (x + 1).sum().item() == 124


@native
def test_the_builtin_finds_the_families_of_any_operands(monkeypatch):
    """Products, what is joined and what is picked, and strided operands too: Python works out no structure of them."""
    builtins.install()
    w, x, places = torch.randn(5, 7), torch.randn(90, 5), torch.arange(90)
    calls = {
        "product": lambda n: x[:n] @ w,
        "turned": lambda n: w.t() @ x[:n].t(),
        "joined": lambda n: torch.cat([x[:n], x[:3]]),
        "picked": lambda n: x[: n + 1][places[:n]],
        "expanded": lambda n: torch.cat([x[:1].expand(n, 5), x[:n]]),
    }
    for call in calls.values():
        for n in range(4, 24):
            call(n).tolist()
    asked, signature = [], kin.signature
    monkeypatch.setattr(kin, "signature", lambda *a: asked.append(a) or signature(*a))
    for name, call in calls.items():
        for n in range(61, 70):
            call(n).tolist()
        assert not asked, name


@native
def test_references_do_not_drift_where_shapes_are_new():
    builtins.install()
    retiring.STORAGES.clear()  # what waits since other tests would be used up
    retiring.BLOCKS.clear()

    def work(shapes):
        flush.MET.clear()  # what is known of sequences that came once
        for a, b in shapes:
            x = torch.full((a, b), 0.5)
            torch.softmax(torch.relu(x + torch.full((b,), 0.25)) * 2.0, 1).sum().item()
            torch.cat([x, x]).tolist()
        for entry in ENTRIES.values():
            entry.cache.clear()

    shapes = [(a, b) for a in range(2, 22) for b in range(30, 45)]
    work(shapes)
    work(shapes)
    watched = [None, True, False, 0, torch.float32, kin.Kin, type(next(iter(kin.SINGLE.values())))]
    watched += [torch.relu.entry.kin, *torch.relu.entry.kin.values(), *list(kin.SINGLE.values())[-50:]]
    gc.collect()
    before, alive = [sys.getrefcount(x) for x in watched], len(gc.get_objects())
    for _ in range(3):
        work(shapes)
    gc.collect()
    after = [sys.getrefcount(x) for x in watched]
    assert all(abs(b - a) < 60 for a, b in zip(before, after)), [b - a for a, b in zip(before, after)]
    assert len(gc.get_objects()) - alive < 100


@native
def test_a_block_without_its_slots_dies_in_peace():
    """An interrupt may come between the making of an object and its initialisation."""
    from flambeau.device.memory import Block

    builtins.install()
    assert type(Block.__del__).__name__ == "method_descriptor"
    Block.__new__(Block)
    builtins.remove()
    assert type(Block.__del__).__name__ == "function"
    builtins.install()


SHORT_FIRST = [(64, 3), (33, 5), (17, 2), (5, 33), (7, 64), (100, 7), (9, 100), (3, 4)]


@pytest.mark.parametrize("name", ["atan2", "fmod"])  # nothing else here has met them
@pytest.mark.parametrize(
    "shapes",
    [
        lambda r, c: ((r, 1), (r, c)),
        lambda r, c: ((r, 1), (c,)),
        lambda r, c: ((r, c), (c,)),
        lambda r, c: ((r, 1), (1, c)),
        lambda r, c: ((3, r, 1), (r, c)),
    ],
)
def test_rows_may_be_short_or_long(shapes: Callable[[int, int], Any], name: str) -> None:
    """What comes last in the loops depends on the extents: the numbers of one order are not those of another."""
    op, want = getattr(torch, name), {"atan2": np.arctan2, "fmod": np.fmod}[name]
    for r, c in [*SHORT_FIRST, *[(c, r) for r, c in SHORT_FIRST]]:
        a, b = (np.random.default_rng(r).uniform(1, 2, shape).astype("f4") for shape in shapes(r, c))
        got = op(torch.tensor(a), torch.tensor(b)).numpy()
        np.testing.assert_allclose(got, want(a, b), rtol=1e-5)


def test_short_axes_have_a_nest_of_their_own() -> None:
    """What small sizes take is found for long axes: it does not serve with the kernel of a short one."""
    for rows, columns in ((13, 17), (19, 15), (31, 8), (4, 21), (5, 22), (31, 9), (6, 7)):
        u, v = torch.arange(rows, dtype=torch.float64), torch.arange(columns, dtype=torch.float64)
        wanted = [[100 * i + j for j in range(columns)] for i in range(rows)]
        assert (u.unsqueeze(1) * 100).add(v).tolist() == wanted
