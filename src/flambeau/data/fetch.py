"""Reading one batch of a data set."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .collate import default_collate


class MapFetcher:
    """Reads samples by index; `batched`: the index is a list, and the samples are collated."""

    def __init__(self, dataset: Any, batched: bool, collate_fn: Callable[[Any], Any], drop_last: bool):
        self.dataset, self.batched, self.collate_fn = dataset, batched, collate_fn
        self.collated = getattr(dataset, "collated", None) if collate_fn is default_collate else None

    def fetch(self, index: Any) -> Any:
        """One batch (or one sample)."""
        if not self.batched:
            return self.collate_fn(self.dataset[index])
        if self.collated is not None and (batch := self.collated(index)) is not None:
            return batch
        if getattr(self.dataset, "__getitems__", None):
            return self.collate_fn(self.dataset.__getitems__(index))
        return self.collate_fn([self.dataset[i] for i in index])


class IterableFetcher:
    """Reads samples from an iterator, as many as the index has entries; StopIteration at the end."""

    def __init__(self, dataset: Any, batched: bool, collate_fn: Callable[[Any], Any], drop_last: bool):
        self.batched, self.collate_fn, self.drop_last = batched, collate_fn, drop_last
        self.iterator = iter(dataset)
        self.ended = False

    def fetch(self, index: Any) -> Any:
        """The next batch (or sample)."""
        if self.ended:
            raise StopIteration
        if not self.batched:
            return self.collate_fn(next(self.iterator))
        data = []
        for _ in index:
            try:
                data.append(next(self.iterator))
            except StopIteration:
                self.ended = True
                break
        if not data or (self.drop_last and len(data) < len(index)):
            raise StopIteration
        return self.collate_fn(data)


def fetcher(
    iterable: bool, dataset: Any, batched: bool, collate_fn: Callable[[Any], Any], drop_last: bool
) -> MapFetcher | IterableFetcher:
    """The fetcher for a kind of data set."""
    return (IterableFetcher if iterable else MapFetcher)(dataset, batched, collate_fn, drop_last)
