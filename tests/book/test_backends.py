"""Every entry of the book of ops, with its sample inputs and its gradients, on the two tiny devices.

`python` interprets the loop IR and gives the bits of `cpu`; `null` compiles every kernel for this CPU and x86-64-v3.
A fixed eighth of the samples runs always, all of them with `-m exhaustive`.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any

import pytest

import flambeau as torch
from flambeau import config
from flambeau.ops.entry import ENTRIES, Entry
from flambeau.stream import program
from flambeau.stream.access import synchronize
from flambeau.tensor.create import as_numpy

from . import samples

FEW = [name for name in samples.ALL if zlib.crc32(name.encode()) % 8 == 0]
OTHERS = [name for name in samples.ALL if name not in FEW]
EVERY = [*FEW, *[pytest.param(name, marks=pytest.mark.exhaustive) for name in OTHERS]]


@pytest.fixture(autouse=True)
def cpu_again() -> Iterator[None]:
    torch.manual_seed(0)
    yield
    config.set("backend", "cpu")


def run(name: str, grad: bool, dtype: Any = torch.float32) -> list[Any]:
    """The results of a sample; with `grad`, also the gradients of its inputs."""
    s = samples.Inputs(grad, dtype)
    made = samples.ALL[name](s)
    made = list(made) if isinstance(made, (list, tuple)) else [made]
    outs = [t for t in made if t.requires_grad]
    if outs and s.leaves:
        seeds = [torch.arange(1.0, t.numel() + 1).reshape(t.shape).to(t.dtype) for t in outs]
        made += [g for g in torch.autograd.grad(outs, s.leaves, seeds, allow_unused=True) if g is not None]
    return [t.detach() for t in made]


def bits(name: str, backend: str, dtype: Any) -> list[tuple[Any, ...]]:
    config.set("backend", backend)
    torch.manual_seed(0)
    return [(tuple(t.shape), t.dtype, as_numpy(t).tobytes()) for t in run(name, True, dtype)]


@pytest.mark.parametrize("name", EVERY)
def test_the_interpreter_gives_the_same_bits(name: str) -> None:
    assert bits(name, "python", torch.float32) == bits(name, "cpu", torch.float32)


@pytest.mark.parametrize("name", EVERY)
def test_every_kernel_compiles_for_two_cpus(name: str) -> None:
    config.set("backend", "null")
    before = set(program.KERNELS)
    config.set("no_cache", True)
    try:
        run(name, True)
        synchronize()
    finally:
        config.set("no_cache", False)
    for key in set(program.KERNELS) - before:
        sizes = program.KERNELS[key][0]
        assert key[0] == "null" and len(sizes) == 2 and all(size > 0 for size in sizes)


def test_there_is_a_sample_for_every_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: set[str] = set()
    call = Entry.call

    def noted(entry: Any, *args: Any) -> Any:
        seen.add(entry.name)
        return call(entry, *args)

    monkeypatch.setattr(Entry, "call", noted)
    known = [(c, dict(c)) for entry in ENTRIES.values() for c in (entry.cache, entry.cache_inplace)]
    for cache, _ in known:  # wrappers hold these very tables: emptied, every body is traced again
        cache.clear()
    try:
        for name in samples.ALL:
            run(name, True)
    finally:
        for cache, forms in known:
            cache.update(forms)
    assert sorted(ENTRIES.keys() - seen) == []
