"""`DataLoader`: batches of a data set, read in this process or by workers."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

import flambeau as torch

from ..errors import fail
from .collate import default_collate, default_convert
from .dataset import IterableDataset
from .fetch import fetcher
from .sampler import BatchSampler, RandomSampler, Sampler, SequentialSampler

T_co = TypeVar("T_co", covariant=True)
_FIXED = ("batch_size", "batch_sampler", "sampler", "drop_last", "dataset", "persistent_workers")


class _Endless(Sampler[None]):
    """The sampler of iterable data sets: None for ever."""

    def __iter__(self) -> Iterator[None]:
        while True:
            yield None


class _DatasetKind:
    """How a data set is read: by index or from an iterator."""

    Map = 0
    Iterable = 1


class DataLoader(Generic[T_co]):
    """Iterates over `dataset` in batches of batch_size, in order or shuffled.

    sampler or batch_sampler: another order; collate_fn: makes a batch of a list of samples (batch_size=None: of one).
    num_workers: processes that read ahead, prefetch_factor batches each; they are forked on Linux unless
    multiprocessing_context says otherwise, kept between passes (persistent_workers), and an exception in one is raised
    here with its traceback. timeout: seconds to wait for a batch; worker_init_fn(id) runs first in each. The order,
    the seeds and the random numbers in workers are PyTorch's for the same seed.
    """

    _iterator: Any = None
    _sealed = False

    def __init__(
        self, dataset: Any, batch_size: int | None = 1, shuffle: bool | None = None, sampler: Any = None,
        batch_sampler: Any = None, num_workers: int = 0, collate_fn: Callable[[Any], Any] | None = None,
        pin_memory: bool = False, drop_last: bool = False, timeout: float = 0,
        worker_init_fn: Callable[[int], Any] | None = None, multiprocessing_context: Any = None,
        generator: Any = None, *, prefetch_factor: int | None = None, persistent_workers: bool = False,
        pin_memory_device: str = "", in_order: bool = True,
    ):  # fmt: skip
        self.prefetch_factor = _check_workers(num_workers, timeout, prefetch_factor, persistent_workers)
        self.dataset, self.num_workers = dataset, num_workers
        self.pin_memory, self.pin_memory_device = pin_memory, pin_memory_device
        self.timeout, self.worker_init_fn = timeout, worker_init_fn
        self.multiprocessing_context = multiprocessing_context
        self.in_order = in_order
        iterable = isinstance(dataset, IterableDataset)
        self._dataset_kind = _DatasetKind.Iterable if iterable else _DatasetKind.Map
        _check_sampling(iterable, batch_size, shuffle, sampler, batch_sampler, drop_last)
        if sampler is None:
            if iterable:
                sampler = _Endless()
            else:
                sampler = (
                    RandomSampler(dataset, generator=generator) if shuffle else SequentialSampler(dataset)
                )
        if batch_sampler is not None:
            batch_size = None
        elif batch_size is not None:
            batch_sampler = BatchSampler(sampler, batch_size, drop_last)
        self.batch_size, self.drop_last = batch_size, drop_last
        self.sampler, self.batch_sampler, self.generator = sampler, batch_sampler, generator
        self.collate_fn = collate_fn or (default_collate if self._auto_collation else default_convert)
        self.persistent_workers = persistent_workers
        self._IterableDataset_len_called: int | None = None
        self._sealed = True
        self.check_worker_number_rationality()

    def __setattr__(self, name: str, value: Any) -> None:
        if self._sealed and name in _FIXED:
            fail(
                ValueError,
                f"{name} attribute should not be set after {type(self).__name__} is initialized",
            )
        super().__setattr__(name, value)

    @property
    def multiprocessing_context(self) -> Any:
        """The context that workers are started in (None: fork on Linux, else the default)."""
        return self._context

    @multiprocessing_context.setter
    def multiprocessing_context(self, context: Any) -> None:
        if context is not None:
            context = _checked_context(context, self.num_workers)
        self._context = context

    @property
    def _auto_collation(self) -> bool:
        return self.batch_sampler is not None

    @property
    def _index_sampler(self) -> Any:
        return self.batch_sampler if self._auto_collation else self.sampler

    def _get_iterator(self) -> Any:
        if self.num_workers == 0:
            return _SingleProcessDataLoaderIter(self)
        from .parallel import _MultiProcessingDataLoaderIter

        self.check_worker_number_rationality()
        return _MultiProcessingDataLoaderIter(self)

    def __iter__(self) -> Any:
        if not self.persistent_workers:
            return self._get_iterator()
        if self._iterator is None:
            self._iterator = self._get_iterator()
        else:
            self._iterator._reset(self)
        return self._iterator

    def __len__(self) -> int:
        if self._dataset_kind == _DatasetKind.Map:
            return len(self._index_sampler)
        length = self._IterableDataset_len_called = len(self.dataset)
        if self.batch_size is None:
            return length
        return length // self.batch_size if self.drop_last else -(-length // self.batch_size)

    def check_worker_number_rationality(self) -> None:
        """Warn of more workers than processors."""
        cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        if self.num_workers > cpus:
            import warnings

            warnings.warn(
                f"This DataLoader will create {self.num_workers} worker processes in total. Our suggested max number "
                f"of worker in current system is {cpus}, which is smaller than what this DataLoader is going to "
                "create. Please be aware that excessive worker creation might get DataLoader running slow or even "
                "freeze, lower the worker number to avoid potential slowness/freeze if necessary.",
                stacklevel=3,
            )


def _check_workers(num_workers: int, timeout: float, prefetch: int | None, persistent: bool) -> int | None:
    if num_workers < 0:
        fail(
            ValueError,
            "num_workers option should be non-negative; use num_workers=0 to disable multiprocessing.",
        )
    if timeout < 0:
        fail(ValueError, "timeout option should be non-negative", timeout=timeout)
    if num_workers == 0 and prefetch is not None:
        fail(
            ValueError,
            "prefetch_factor option could only be specified in multiprocessing. let num_workers > 0 to enable "
            "multiprocessing, otherwise set prefetch_factor to None.",
        )
    if prefetch is not None and prefetch < 0:
        fail(ValueError, "prefetch_factor option should be non-negative", prefetch_factor=prefetch)
    if persistent and num_workers == 0:
        fail(ValueError, "persistent_workers option needs num_workers > 0")
    return 2 if num_workers > 0 and prefetch is None else prefetch


def _check_sampling(
    iterable: bool, batch_size: Any, shuffle: Any, sampler: Any, batch_sampler: Any, drop_last: bool
) -> None:
    if iterable:
        for name, value in (("shuffle", shuffle), ("sampler", sampler), ("batch_sampler", batch_sampler)):
            if value is not None and not (name == "shuffle" and value is False):
                fail(
                    ValueError,
                    f"DataLoader with IterableDataset: expected unspecified {name} option, but got {name}={value}",
                )
    if sampler is not None and shuffle:
        fail(ValueError, "sampler option is mutually exclusive with shuffle")
    if batch_sampler is not None and (batch_size != 1 or shuffle or sampler is not None or drop_last):
        fail(
            ValueError,
            "batch_sampler option is mutually exclusive with batch_size, shuffle, sampler, and drop_last",
        )
    if batch_size is None and drop_last:
        fail(
            ValueError,
            "batch_size=None option disables auto-batching and is mutually exclusive with drop_last",
        )


def _checked_context(context: Any, num_workers: int) -> Any:
    import multiprocessing
    from multiprocessing.context import BaseContext

    if num_workers == 0:
        fail(
            ValueError,
            "multiprocessing_context can only be used with multi-process loading (num_workers > 0), but got "
            "num_workers=0",
        )
    if isinstance(context, str):
        methods = multiprocessing.get_all_start_methods()
        if context not in methods:
            fail(
                ValueError,
                f"multiprocessing_context option should specify a valid start method in {methods!r}, but got "
                f"multiprocessing_context={context!r}",
            )
        context = multiprocessing.get_context(context)
    if not isinstance(context, BaseContext):
        fail(
            TypeError,
            "multiprocessing_context option should be a valid context object or a string specifying the start "
            f"method, but got multiprocessing_context={context}",
        )
    return context


class _BaseDataLoaderIter:
    """One pass over a loader."""

    def __init__(self, loader: DataLoader[Any]):
        self._dataset, self._drop_last = loader.dataset, loader.drop_last
        self._iterable = loader._dataset_kind == _DatasetKind.Iterable
        self._auto_collation, self._collate_fn = loader._auto_collation, loader.collate_fn
        self._index_sampler: Iterable[Any] = loader._index_sampler
        self._num_workers, self._timeout = loader.num_workers, loader.timeout
        if loader.pin_memory:
            import warnings

            warnings.warn(
                "'pin_memory' argument is set as true but no accelerator is found, then device pinned memory won't "
                "be used.",
                stacklevel=3,
            )
        self._begin(loader)
        seed = torch.empty((), dtype=torch.int64).random_(generator=loader.generator)
        self._base_seed = int(seed.item())

    def _begin(self, loader: DataLoader[Any]) -> None:
        self._sampler_iter = iter(self._index_sampler)
        self._num_yielded = 0
        self._promised = loader._IterableDataset_len_called

    def __iter__(self) -> Any:
        return self

    def __len__(self) -> int:
        return len(self._index_sampler)  # type: ignore[arg-type]

    def _next_data(self) -> Any:
        raise NotImplementedError

    def __next__(self) -> Any:
        data = self._next_data()
        self._num_yielded += 1
        if self._iterable and self._promised is not None and self._num_yielded > self._promised:
            import warnings

            warnings.warn(
                f"Length of IterableDataset {self._dataset} was reported to be {self._promised} (when accessing "
                f"len(dataloader)), but {self._num_yielded} samples have been fetched."
                + (
                    " With workers, each has a copy of the data set: see get_worker_info."
                    * (self._num_workers > 0)
                ),
                stacklevel=2,
            )
        return data

    def __getstate__(self) -> Any:
        fail(NotImplementedError, f"{type(self).__name__} cannot be pickled")


class _SingleProcessDataLoaderIter(_BaseDataLoaderIter):
    """A pass that reads in this process."""

    def __init__(self, loader: DataLoader[Any]):
        super().__init__(loader)
        if self._timeout != 0:
            fail(AssertionError, "DataLoader: timeout needs num_workers > 0", timeout=self._timeout)
        self._fetcher = fetcher(
            self._iterable, self._dataset, self._auto_collation, self._collate_fn, self._drop_last
        )

    def _next_data(self) -> Any:
        return self._fetcher.fetch(next(self._sampler_iter))


def default_context() -> Any:
    """What workers are started in: the method the program has set, else fork on Linux, else the platform's."""
    import multiprocessing

    method = multiprocessing.get_start_method(allow_none=True)
    if method is None and sys.platform.startswith("linux"):
        method = "fork"
    return multiprocessing.get_context(method)
