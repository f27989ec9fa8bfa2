"""torch.utils.data.dataloader."""

from ...data import DataLoader, default_collate, default_convert, get_worker_info
from ...data.loader import _BaseDataLoaderIter, _DatasetKind, _SingleProcessDataLoaderIter

__all__ = [
    "DataLoader",
    "_BaseDataLoaderIter",
    "_DatasetKind",
    "_SingleProcessDataLoaderIter",
    "default_collate",
    "default_convert",
    "get_worker_info",
]


def __getattr__(name: str) -> object:
    if name == "_MultiProcessingDataLoaderIter":
        from ...data.parallel import _MultiProcessingDataLoaderIter

        return _MultiProcessingDataLoaderIter
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
