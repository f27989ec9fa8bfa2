"""torch.functional: functions of the top namespace that PyTorch composes of others."""

from typing import Any

import flambeau

_NAMES = (
    *("atleast_1d", "atleast_2d", "atleast_3d", "broadcast_shapes", "broadcast_tensors"),
    *("cartesian_prod", "block_diag", "cdist", "chain_matmul", "einsum", "istft", "lu", "norm", "meshgrid"),
    *("pca_lowrank", "split", "stft", "svd_lowrank", "tensordot", "unique", "unique_consecutive"),
    "unravel_index",
)
__all__ = list(_NAMES)


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(flambeau, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
