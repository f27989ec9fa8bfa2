"""Public names of the package that are not ops: modes, defaults, predicates."""

from __future__ import annotations

from typing import Any

from .. import dtypes
from ..ops.entry import ENTRIES
from ..stream.value import Tensor

NAMES = ["is_tensor", "get_default_dtype", "set_default_dtype", "is_floating_point", "is_complex", "numel", "typename", "variable"]


def is_tensor(obj: Any) -> bool:
    """Whether obj is a tensor."""
    return isinstance(obj, Tensor)


def get_default_dtype() -> dtypes.dtype:
    """The dtype of new floating-point tensors."""
    return dtypes.default_dtype()


def set_default_dtype(d: dtypes.dtype) -> None:
    """Set the dtype of new floating-point tensors."""
    dtypes.set_default_dtype(d)
    for entry in ENTRIES.values():  # what was traced under another default does not hold
        entry.cache.clear()
        entry.cache_inplace.clear()


def is_floating_point(input: Tensor) -> bool:
    """Whether the dtype is a floating-point type."""
    return input._meta.dtype.is_floating_point


def is_complex(input: Tensor) -> bool:
    """Whether the dtype is complex."""
    return input._meta.dtype.is_complex


def numel(input: Tensor) -> int:
    """The number of elements."""
    return input._meta.numel


def typename(obj: Any) -> str:
    """The qualified name of obj's type."""
    if isinstance(obj, Tensor):
        return obj.type()  # type: ignore[attr-defined]
    kind = type(obj)
    return f"{kind.__module__}.{kind.__qualname__}" if kind.__module__ != "builtins" else kind.__qualname__


def variable(data: Any, requires_grad: bool = True) -> Tensor:
    """The tensor itself as a variable of the graph; floating-point leaves begin to require a gradient."""
    t = data if isinstance(data, Tensor) else _tensor(data)
    if requires_grad and t._meta.dtype.is_floating_point and t._gf is None:
        t._rg = True
    return t


def _tensor(data: Any) -> Tensor:
    from .create import tensor

    return tensor(data)
