"""Batches are PyTorch's: types, shapes, containers, errors."""

from __future__ import annotations

import collections

import numpy as np
import pytest

import flambeau as fl

torch = pytest.importorskip("torch")
Pair = collections.namedtuple("Pair", "x y")


def batches(lib):
    return [
        [lib.ones(2, 3), lib.zeros(2, 3)],
        [1, 2],
        [1.5, 2],
        [True, False],
        ["a", "b"],
        [b"a", b"b"],
        [np.ones(3), np.zeros(3)],
        [np.float32(1), np.float32(2)],
        [np.int16(1), np.int16(2)],
        [np.bool_(True), np.bool_(False)],
        [np.array(3), np.array(4)],
        [{"a": 1, "b": lib.ones(1)}, {"a": 2, "b": lib.zeros(1)}],
        [(1, 2.0), (3, 4.0)],
        [[1, "a"], [2, "b"]],
        [Pair(1, 2), Pair(3, 4)],
        [lib.ones(0)] * 2,
        [lib.tensor(1.0)] * 3,
        [lib.arange(6).reshape(2, 3).t()] * 2,
        [collections.OrderedDict(a=1)] * 2,
        [lib.ones(2, dtype=lib.float64)] * 2,
    ]


def plain(value):
    """The same structure with tensors as (dtype, list)."""
    if hasattr(value, "detach"):
        return str(value.dtype), tuple(value.shape), value.detach().numpy().tolist()
    if isinstance(value, np.ndarray):
        return "ndarray", value.tolist()
    if isinstance(value, dict):
        return type(value).__name__, {key: plain(v) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value).__name__, [plain(v) for v in value]
    return value


@pytest.mark.parametrize("i", range(20))
def test_batches_are_pytorchs(i):
    theirs, ours = batches(torch)[i], batches(fl)[i]
    collated = fl.utils.data.default_collate(ours)
    assert plain(collated) == plain(torch.utils.data.default_collate(theirs))
    converted = [fl.utils.data.default_convert(sample) for sample in ours]
    assert plain(converted) == plain([torch.utils.data.default_convert(sample) for sample in theirs])


def test_a_batch_is_a_copy():
    samples = [fl.zeros(3), fl.zeros(3)]
    batch = fl.utils.data.default_collate(samples)
    batch += 1
    assert samples[0].tolist() == [0.0, 0.0, 0.0] and batch.tolist() == [[1.0] * 3] * 2


def test_samples_that_need_a_gradient_keep_it():
    x = fl.ones(2, requires_grad=True)
    fl.utils.data.default_collate([x * 2, x * 3]).sum().backward()
    assert x.grad.tolist() == [5.0, 5.0]


@pytest.mark.parametrize(
    ("kind", "make"),
    [
        (RuntimeError, lambda lib: [lib.ones(2), lib.ones(3)]),
        (RuntimeError, lambda lib: [[1, 2], [1]]),
        (TypeError, lambda lib: [object()]),
        (TypeError, lambda lib: [np.array(["a"])]),
        (TypeError, lambda lib: [None]),
    ],
)
def test_what_cannot_be_collated(kind, make):
    for lib in (torch, fl):
        with pytest.raises(kind):
            lib.utils.data.default_collate(make(lib))
