"""Storages and blocks whose objects are used again (ops/builtins/retiring.py); what the collector need not see."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest

import flambeau as torch
from flambeau.device import cpython
from flambeau.device.memory import free_list
from flambeau.ops import builtins, kin, record
from flambeau.ops.builtins import retiring
from flambeau.ops.registry import ENTRIES
from flambeau.stream.value import Storage

pytestmark = pytest.mark.skipif(not cpython.supported(), reason="builtins need this CPython")


@pytest.fixture(autouse=True)
def native() -> Any:
    builtins.install()
    retiring.STORAGES.clear()
    retiring.BLOCKS.clear()
    yield
    retiring.STORAGES.clear()
    retiring.BLOCKS.clear()


def chain(x: Any, n: int) -> Any:
    for _ in range(n):
        x = torch.relu(x) + 1.0
    return x


def test_what_nobody_wants_is_used_again() -> None:
    x = torch.ones(3, 5)
    for _ in range(4):
        chain(x, 20).tolist()
    waiting = [id(st) for st in retiring.STORAGES]
    assert len(set(waiting)) == len(waiting) >= 39
    for st in retiring.STORAGES:
        assert type(st) is Storage and st.block is st.home is st.info is st.pend is None
    y = chain(x, 20)
    assert len(retiring.STORAGES) == len(waiting) - 40 or not retiring.STORAGES
    assert y.tolist() == [[21.0] * 5] * 3
    assert len(retiring.STORAGES) <= retiring.MOST


def test_what_somebody_holds_is_not() -> None:
    x = torch.zeros(7)
    held = []
    for i in range(30):
        y = chain(x + float(i), 3)
        held.append((y, y._st))
        chain(y, 3).sum().item()
    waiting = {id(st) for st in retiring.STORAGES}
    assert waiting and not waiting & {id(st) for _, st in held}
    for i, (y, st) in enumerate(held):
        assert y._st is st and y.tolist() == [i + 3.0] * 7


def test_a_weak_reference_dies_with_its_tensor() -> None:
    x = torch.ones(4)
    for _ in range(3):
        y = torch.relu(x)
        ref = weakref.ref(y._st)
        z = y + 1.0
        del y
        assert z.tolist() == [2.0] * 4 and ref() is None
    assert all(not weakref.getweakrefcount(st) for st in retiring.STORAGES)


def test_memory_goes_back_at_once() -> None:
    """What waits are objects, never bytes."""
    nbytes = 4 * 1237
    x = torch.ones(1237)
    home = free_list(nbytes)
    assert home is not None
    chain(x, 8).sum().item()
    before = len(home)
    for _ in range(5):
        chain(x, 8).sum().item()
        assert len(home) == before
    assert len(set(home)) == before
    for block in retiring.BLOCKS:
        assert not any(hasattr(block, slot) for slot in ("_home", "nbytes", "ptr"))


def test_collections_are_few() -> None:
    """Recording and running thousands of instructions leaves the collector little to do."""
    runs: list[int] = []

    def note(phase: str, info: Any) -> None:
        runs.append(phase == "start")

    x = torch.ones(6, 7)
    for _ in range(3):
        chain(x, 1000).sum().item()
    gc.collect()
    gc.callbacks.append(note)
    try:
        for _ in range(3):
            chain(x, 1000).sum().item()
    finally:
        gc.callbacks.remove(note)
    assert sum(runs) <= 2  # of 18,000 objects


def test_programs_of_derived_forms_are_forgotten() -> None:
    """The collector does not know the forms themselves."""
    for a in range(3, 9):
        for b in range(30, 36):
            x = torch.full((a, b), 0.5)
            torch.exp(x).sum().item()
            torch.exp(x * 2.0).sum().item()
    forms = [f for entry in ENTRIES.values() for f in entry.cache.values() if f.kin is not None]
    assert any(not gc.is_tracked(f) for f in forms)
    for form in forms:
        kin.unit(form)
    record.forget_programs()
    assert all(f.unit is f.plain_unit is None for f in forms)
