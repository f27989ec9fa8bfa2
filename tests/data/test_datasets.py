"""Data sets made of others."""

from __future__ import annotations

import pytest

import flambeau as fl

data = fl.utils.data


def test_concatenation_and_subsets():
    both = data.ConcatDataset([data.Subset(range(10), [3, 1]), data.Subset(range(100), [50, 60, 70])])
    assert len(both) == 5 and [both[i] for i in range(5)] == [3, 1, 50, 60, 70]
    assert both[-1] == 70 and both[-5] == 3
    with pytest.raises(ValueError, match="should not exceed"):
        both[-6]
    assert data.Subset(both, [4, 0]).__getitems__([0, 1]) == [70, 3]


def test_addition():
    class Numbers(data.Dataset):
        def __len__(self):
            return 2

        def __getitem__(self, i):
            return i

    class Endless(data.IterableDataset):
        def __iter__(self):
            return iter([7])

    assert (Numbers() + Numbers())[3] == 1
    assert list(Endless() + Endless()) == [7, 7]


def test_tensors_and_stacks():
    rows = data.TensorDataset(fl.arange(6).reshape(3, 2), fl.arange(3))
    assert len(rows) == 3 and [t.tolist() for t in rows[1]] == [[2, 3], 1]
    with pytest.raises(AssertionError, match="Size mismatch"):
        data.TensorDataset(fl.ones(2), fl.ones(3))
    pairs = data.StackDataset(range(3), data.Subset(range(9), [5, 6, 7]))
    assert pairs[1] == (1, 6) and pairs.__getitems__([0, 2]) == [(0, 5), (2, 7)]
    named = data.StackDataset(a=range(3), b=range(3))
    assert named[2] == {"a": 2, "b": 2} and named.__getitems__([1]) == [{"a": 1, "b": 1}]
    with pytest.raises(ValueError, match="both types"):
        data.StackDataset(range(3), a=range(3))


def test_random_split():
    parts = data.random_split(range(10), [3, 7], generator=fl.Generator().manual_seed(0))
    assert sorted(parts[0].indices + parts[1].indices) == list(range(10))
    with pytest.raises(ValueError, match="does not equal"):
        data.random_split(range(10), [3, 3])
    with pytest.warns(UserWarning, match="Length of split at index 1 is 0"):
        data.random_split(range(1), [0.9, 0.1])


def test_what_a_subclass_must_define():
    with pytest.raises(NotImplementedError, match="__getitem__"):
        data.Dataset()[0]

    class Half(data.Subset):
        def __getitem__(self, i):
            return self.dataset[i] / 2

    with pytest.raises(NotImplementedError, match="__getitems__"):
        Half(range(3), [0])


def test_rows_read_at_once_are_the_collated_samples():
    tensors = (
        fl.arange(24.0).reshape(4, 3, 2).transpose(1, 2),
        fl.tensor([True, False, True, True]),
        fl.zeros(4, 0),
    )
    whole = data.TensorDataset(*tensors)
    for dataset in (whole, data.Subset(whole, [3, 1, 0]), data.Subset(data.Subset(whole, [3, 1, 0]), [2, 1])):
        for index in ([1, 0], [-1, 1, 1], [0]):
            expected = data.default_collate([dataset[i] for i in index])
            batch = dataset.collated(index)
            assert [t.tolist() for t in batch] == [t.tolist() for t in expected]
            assert [(t.dtype, t.shape, t.stride()) for t in batch] == [
                (t.dtype, t.shape, t.stride()) for t in expected
            ]
    with pytest.raises(IndexError):
        whole.collated([4])

    class Odd(data.TensorDataset):
        def __getitem__(self, i):
            return 7

    assert Odd(*tensors).collated([0]) is None
    assert next(iter(data.DataLoader(Odd(*tensors), batch_size=2))).tolist() == [7, 7]
    assert data.TensorDataset(fl.ones(2, requires_grad=True)).collated([0]) is None
