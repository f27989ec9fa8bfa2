"""Operators without an op of their own, and methods that only tensors of another layout or device have."""

from __future__ import annotations

from typing import Any

from ..errors import fail
from .entry import FUNCTIONS, METHODS, composite


@composite(function=False)
def __rlshift__(self: Any, other: Any) -> Any:
    """other << self."""
    return FUNCTIONS["bitwise_left_shift"](FUNCTIONS["full_like"](self, other), self)


@composite(function=False)
def __rrshift__(self: Any, other: Any) -> Any:
    """other >> self."""
    return FUNCTIONS["bitwise_right_shift"](FUNCTIONS["full_like"](self, other), self)


@composite(function=False)
def __ilshift__(self: Any, other: Any) -> Any:
    """self <<= other."""
    return self.bitwise_left_shift_(other)


@composite(function=False)
def __irshift__(self: Any, other: Any) -> Any:
    """self >>= other."""
    return self.bitwise_right_shift_(other)


@composite(function=False)
def __rmatmul__(self: Any, other: Any) -> Any:
    """other @ self."""
    return FUNCTIONS["matmul"](other, self)


@composite(function=False)
def __div__(self: Any, other: Any) -> Any:
    """self / other."""
    return FUNCTIONS["div"](self, other)


@composite(function=False)
def __reversed__(self: Any) -> Any:
    """The tensor turned around along its first dimension."""
    return self if self.ndim == 0 else FUNCTIONS["flip"](self, 0)


@composite(function=False)
def __delitem__(self: Any, key: Any) -> None:
    """Refused: a tensor keeps its shape."""
    raise TypeError("Tensor does not support deleting items")


@composite(function=False)
def __array_wrap__(self: Any, array: Any, context: Any = None, return_scalar: bool = False) -> Any:
    """A tensor of what a NumPy function made of this one."""
    import numpy as np

    from_numpy = FUNCTIONS["from_numpy"]
    array = np.asarray(array)
    return from_numpy(array.astype("uint8")).bool() if array.dtype == bool else from_numpy(array)


@composite(function=False)
def __setstate__(self: Any, state: Any) -> None:
    """Take the attributes that a pickled tensor brings besides its values."""
    self.__dict__.update(state[0] if isinstance(state, tuple) else state)


def _no_cuda(t: Any) -> Any:
    raise AttributeError(
        f"Can't get __cuda_array_interface__ on non-CUDA tensor type: {t.type()}. If CUDA data is required use "
        "tensor.cuda() to copy tensor to device memory."
    )


def sparse_only(name: str) -> Any:
    """Declare a method that refuses dense tensors."""

    def method(self: Any) -> Any:
        fail(RuntimeError, f"{name}: {name} expected sparse tensor layout but got Strided", self=self)

    method.__name__, method.__doc__ = (
        name,
        "Refused: only sparse tensors have it.",
    )
    return composite(function=False)(method)


for _name in ("values", "indices", "coalesce", "is_coalesced", "crow_indices", "col_indices"):
    sparse_only(_name)
METHODS["__cuda_array_interface__"] = property(_no_cuda)  # type: ignore[assignment]


def _no_dispatch(cls: type, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
    fail(
        NotImplementedError, f"{cls.__name__}.__torch_dispatch__: it is not there yet; use __torch_function__"
    )


METHODS["__torch_dispatch__"] = classmethod(_no_dispatch)  # type: ignore[assignment]
