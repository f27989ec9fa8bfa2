"""Forms derived from their kin: the same program as a traced form's, and the same numbers."""

from __future__ import annotations

import numpy as np
import pytest

import flambeau as torch
from flambeau.ops import kin
from flambeau.ops.registry import ENTRIES
from flambeau.stream.program import STATS

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
    rng = np.random.default_rng(0)
    data = [(rng.standard_normal(s, "f"), rng.standard_normal(s, "f")) for s in SHAPES]
    got = [call(torch.tensor(a), torch.tensor(b)).numpy().copy() for a, b in data]
    for entry in ENTRIES.values():
        entry.cache.clear()
        entry.kin.clear()
    monkeypatch.setattr(kin, "derive", lambda *call: None)
    want = [call(torch.tensor(a), torch.tensor(b)).numpy().copy() for a, b in data]
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
