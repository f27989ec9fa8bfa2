"""`torch.sparse`: products and sums of sparse tensors, in coordinates (sparse_coo_tensor) or compressed rows."""

from __future__ import annotations

from typing import Any

from .absent import classes, functions
from .ops.contraction import mm as _mm
from .tensor.sparse_csr import sampled_addmm

__all__ = ["mm", "sampled_addmm", "sum"]


def mm(sparse: Any, dense: Any) -> Any:
    """The product of a sparse matrix (n, m) and a dense one (m, p)."""
    return _mm(sparse, dense)


def sum(input: Any, dim: Any = None, dtype: Any = None) -> Any:
    """The sum of all elements of a sparse tensor."""
    return input.sum(dim, dtype=dtype)


globals().update(functions("sparse", "this function of sparse tensors", "addmm", "softmax", "log_softmax"))
globals().update(
    classes(
        "sparse",
        "making sparse tensors by type (use sparse_coo_tensor)",
        *(f"{kind}Tensor" for kind in ("Byte", "Char", "Double", "Float", "Half", "Int", "Long", "Short")),
    )
)
