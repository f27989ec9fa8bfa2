"""Data sets: what a loader reads from, and data sets made of others."""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Generic, TypeVar

import flambeau as torch

from ..errors import fail

T_co = TypeVar("T_co", covariant=True)


class Dataset(Generic[T_co]):
    """A data set read by index: subclasses define `__getitem__` and, as a rule, `__len__`.

    `__getitems__(indices) -> list of samples`, if defined, is used to read a batch at once.
    """

    def __getitem__(self, index: Any) -> T_co:
        raise NotImplementedError("Subclasses of Dataset should implement __getitem__.")

    def __add__(self, other: Dataset[T_co]) -> ConcatDataset[T_co]:
        return ConcatDataset([self, other])


class IterableDataset(Dataset[T_co], Iterable[T_co]):
    """A data set read from beginning to end: subclasses define `__iter__`.

    In several workers each has a copy: share the work out by `get_worker_info()`.
    """

    def __add__(self, other: Dataset[T_co]) -> Any:
        return ChainDataset([self, other])


class TensorDataset(Dataset[tuple[Any, ...]]):
    """Samples are tuples of the tensors' rows."""

    def __init__(self, *tensors: Any):
        if any(tensors[0].size(0) != tensor.size(0) for tensor in tensors):
            fail(AssertionError, "TensorDataset: Size mismatch between tensors", tensors=tensors)
        self.tensors = tensors

    def __getitem__(self, index: Any) -> tuple[Any, ...]:
        return tuple(tensor[index] for tensor in self.tensors)

    def __len__(self) -> int:
        return self.tensors[0].size(0)

    def collated(self, indices: Sequence[int]) -> list[Any] | None:
        """What `default_collate` makes of the samples, read at once; None where it must be asked sample by sample."""
        from .collate import rows

        return rows(self.tensors, indices) if type(self) is TensorDataset else None


class StackDataset(Dataset[Any]):
    """Samples are tuples (or, with keywords, dicts) of the samples of several data sets of one length."""

    def __init__(self, *args: Any, **kwargs: Any):
        if args and kwargs:
            fail(
                ValueError,
                "StackDataset: Supported either ``tuple``- (via ``args``) or ``dict``- (via ``kwargs``) like "
                "input/output, but both types are given.",
            )
        if not args and not kwargs:
            fail(ValueError, "StackDataset: At least one dataset should be passed")
        self.datasets: Any = args or kwargs
        lengths = [len(dataset) for dataset in args or kwargs.values()]
        self._length = lengths[0]
        if any(length != self._length for length in lengths):
            fail(ValueError, "StackDataset: Size mismatch between datasets", lengths=lengths)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(self.datasets, dict):
            return {key: dataset[index] for key, dataset in self.datasets.items()}
        return tuple(dataset[index] for dataset in self.datasets)

    def __getitems__(self, indices: Sequence[Any]) -> list[Any]:
        named = isinstance(self.datasets, dict)
        columns = [_items(d, indices) for d in (self.datasets.values() if named else self.datasets)]
        if named:
            return [dict(zip(self.datasets, row)) for row in zip(*columns)]
        return list(zip(*columns))

    def __len__(self) -> int:
        return self._length


def _items(dataset: Any, indices: Sequence[Any]) -> list[Any]:
    if not callable(getattr(dataset, "__getitems__", None)):
        return [dataset[i] for i in indices]
    items = dataset.__getitems__(indices)
    if len(items) != len(indices):
        fail(
            ValueError,
            f"Nested dataset's output size mismatch. Expected {len(indices)}, got {len(items)}",
        )
    return items


class ConcatDataset(Dataset[T_co]):
    """One data set after another."""

    @staticmethod
    def cumsum(sequence: Iterable[Any]) -> list[int]:
        """The lengths, summed up."""
        return list(itertools.accumulate(len(e) for e in sequence))

    def __init__(self, datasets: Iterable[Any]):
        self.datasets = list(datasets)
        if not self.datasets:
            fail(AssertionError, "ConcatDataset: datasets should not be an empty iterable")
        if any(isinstance(dataset, IterableDataset) for dataset in self.datasets):
            fail(AssertionError, "ConcatDataset: ConcatDataset does not support IterableDataset")
        self.cumulative_sizes = self.cumsum(self.datasets)

    def __len__(self) -> int:
        return self.cumulative_sizes[-1]

    def __getitem__(self, idx: int) -> T_co:
        if idx < 0:
            if -idx > len(self):
                fail(ValueError, "absolute value of index should not exceed dataset length", index=idx)
            idx += len(self)
        which = bisect.bisect_right(self.cumulative_sizes, idx)
        return self.datasets[which][idx - (self.cumulative_sizes[which - 1] if which else 0)]


class ChainDataset(IterableDataset[Any]):
    """One iterable data set after another."""

    def __init__(self, datasets: Iterable[Any]):
        self.datasets = datasets

    def _each(self) -> Iterator[Any]:
        for dataset in self.datasets:
            if not isinstance(dataset, IterableDataset):
                fail(AssertionError, "ChainDataset: ChainDataset only supports IterableDataset")
            yield dataset

    def __iter__(self) -> Iterator[Any]:
        for dataset in self._each():
            yield from dataset

    def __len__(self) -> int:
        return sum(len(dataset) for dataset in self._each())


class Subset(Dataset[T_co]):
    """The samples of a data set at some indices."""

    def __init__(self, dataset: Any, indices: Sequence[int]):
        self.dataset, self.indices = dataset, indices
        kind = type(self)
        if kind.__getitem__ is not Subset.__getitem__ and kind.__getitems__ is Subset.__getitems__:
            fail(
                NotImplementedError,
                f"{kind.__name__} overrides __getitem__ but not __getitems__, which the DataLoader calls",
                "define: def __getitems__(self, indices): return [self.__getitem__(i) for i in indices]",
            )

    def __getitem__(self, idx: Any) -> Any:
        if isinstance(idx, list):
            return self.dataset[[self.indices[i] for i in idx]]
        return self.dataset[self.indices[idx]]

    def __getitems__(self, indices: Sequence[int]) -> list[Any]:
        chosen = [self.indices[i] for i in indices]
        if callable(getattr(self.dataset, "__getitems__", None)):
            return self.dataset.__getitems__(chosen)
        return [self.dataset[i] for i in chosen]

    def __len__(self) -> int:
        return len(self.indices)

    def collated(self, indices: Sequence[int]) -> list[Any] | None:
        """As `TensorDataset.collated`, of the chosen samples."""
        read = getattr(self.dataset, "collated", None)
        if read is None or type(self) is not Subset:
            return None
        return read([self.indices[i] for i in indices])


def random_split(dataset: Any, lengths: Sequence[float], generator: Any = None) -> list[Subset[Any]]:
    """Disjoint random subsets of the given lengths, or of the given fractions (which sum to 1)."""
    total = len(dataset)
    if math.isclose(sum(lengths), 1) and sum(lengths) <= 1:
        for i, share in enumerate(lengths):
            if not 0 <= share <= 1:
                fail(
                    ValueError, f"random_split: Fraction at index {i} is not between 0 and 1", fraction=share
                )
        sizes = [math.floor(total * share) for share in lengths]
        for i in range(total - sum(sizes)):
            sizes[i % len(sizes)] += 1
        for i, size in enumerate(sizes):
            if size == 0:
                import warnings

                warnings.warn(
                    f"Length of split at index {i} is 0. This might result in an empty dataset.", stacklevel=2
                )
        lengths = sizes
    if sum(lengths) != total:
        fail(
            ValueError,
            "random_split: Sum of input lengths does not equal the length of the input dataset!",
            lengths=list(lengths),
            length=total,
        )
    order = torch.randperm(total, generator=generator).tolist()
    ends = itertools.accumulate(lengths)
    return [Subset(dataset, order[int(end - n) : int(end)]) for end, n in zip(ends, lengths)]
