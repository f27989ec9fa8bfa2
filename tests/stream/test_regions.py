"""Plans of products from functions of regions: the numbers that planning gives, for every kind of operands."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

import pytest

from flambeau.loop.recipes import planning
from flambeau.stream import products
from flambeau.stream.backend import current

# m, n, k, batch and the strides; ~0, ~1, ~2: m, n, k, then their products.
ROWS = (~0, ~1, ~2, 1, ~3, ~2, 1, ~4, ~1, 1, ~5, ~1, 1, 1, 0, 0, 1, 0)
TURNED = (~0, ~1, ~2, 1, ~3, 1, ~0, ~4, 1, ~2, ~5, ~1, 1, 1, 0, 0, 1, 0)
BATCHED = (~0, ~1, ~2, 4, ~3, ~2, 1, ~4, ~1, 1, ~5, ~1, 1, 1, 0, 0, 1, 0)
WEIGHT = (~0, 40, 24, 1, ~1, 24, 1, 960, 1, 24, ~2, 40, 1, 1, 0, 0, 1, 0)


def varied(layout: Any, m: int, n: int, k: int) -> tuple[int, ...]:
    """The numbers that vary."""
    return (m, m * 24, m * 40) if layout is WEIGHT else (m, n, k, m * k, k * n, m * n)


@pytest.mark.parametrize(
    "layout", [ROWS, TURNED, BATCHED, WEIGHT], ids=["rows", "turned", "batched", "weight"]
)
@pytest.mark.parametrize("kind", ["f32", "f64", "bf16", "i64", "computed"])
def test_a_region_gives_what_planning_gives(kind: str, layout: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    device = SimpleNamespace(name="cpu", target=current().target, get_num_threads=lambda: 5)
    monkeypatch.setattr(products, "SEEN", {})
    monkeypatch.setattr(products, "current", lambda: device)
    dtype = "f32" if kind == "computed" else kind
    kinds = (dtype, dtype, kind != "computed", False, "a" * (kind == "computed"), None)
    regions = products.Regions(kinds, layout)
    draw, used = random.Random(0), 0
    for _ in range(300):
        m, n, k = (draw.randrange(2, 500) for _ in range(3))
        numbers = varied(layout, m, n, k)
        found = regions.plan(*numbers)
        m, n, k, batch, *steps = (numbers[~x] if x < 0 else x for x in layout)
        strides = planning.Strides(*steps)
        shared = products.shared(kinds, m, n, k, batch, strides)
        if any(shared) and len({*numbers}) == len(numbers) and regions.functions.get(shared):
            assert found == products.fitted(kinds, *shared, m, n, k, batch, strides)
            used += 1
    assert used > 50
    assert sum(region.proven for known in regions.functions.values() for region in known) >= products.PROVEN
