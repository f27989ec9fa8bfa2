"""Conversions of dtype and device: `to`, `float`, `long`, ..."""

from __future__ import annotations

import warnings
from typing import Any

from .. import dtypes
from ..dtypes import channels_last, channels_last_3d, contiguous_format, preserve_format
from ..dtypes import device as device_type
from ..dtypes import dtype as dtype_type
from ..dtypes import memory_format as format_type
from ..shapes import is_channels_last
from .absent import on
from .elementwise import _to_copy, clone
from .entry import composite


def _is_tensor(x: Any) -> bool:
    return hasattr(x, "_meta") or type(x).__name__ == "Val"


@composite(function=False)
def to(input: Any, *args: Any, **options: Any) -> Any:
    """The tensor in another dtype or on another device; itself if nothing changes and copy is false."""
    dtype, where, copy, order = None, None, False, None
    flags = []
    for a in args:
        if isinstance(a, dtype_type):
            dtype = a
        elif isinstance(a, (device_type, str)) or (isinstance(a, int) and not isinstance(a, bool)):
            where = a
        elif isinstance(a, bool):
            flags.append(a)
        elif _is_tensor(a):
            dtype, where = a.dtype, a.device
        elif isinstance(a, format_type):
            order = a
        elif a is not None:
            raise TypeError(f"to() received an invalid combination of arguments - got ({type(a).__name__})")
    if len(flags) > 1:
        copy = flags[1]
    dtype = options.get("dtype") or dtype
    where = options.get("device") or where
    order = options.get("memory_format") or order
    copy = options.get("copy", copy)
    other = options.get("other")
    if other is not None:
        dtype, where = other.dtype, other.device
    if where is not None:
        where = check(where)
    if dtype is not None and dtype is not input.dtype:
        input, copy = converted(input, dtype), False
    if where is not None and hasattr(input, "_st") and where is not input._meta.device:
        return on(input, where)
    if copy:
        return clone(input, memory_format=order)
    meta = input._meta
    now = contiguous_format
    if is_channels_last(meta.shape, meta.strides):
        now = channels_last if meta.ndim == 4 else channels_last_3d
    return input if order in (None, preserve_format, now) else clone(input, memory_format=order)


def converted(self: Any, target: dtype_type) -> Any:
    """A copy in another dtype; a warning where imaginary parts are lost."""
    if self.dtype.is_complex and not target.is_complex and target.name != "bool" and hasattr(self, "_st"):
        warnings.warn("Casting complex values to real discards the imaginary part", UserWarning, stacklevel=3)
    return _to_copy(self, target)


def check(where: Any) -> Any:
    """The device; RuntimeError for one that is not there yet."""
    from ..stream.host import check_device

    return check_device(where, "to")


def conversion(name: str, target: dtypes.dtype) -> None:
    """Publish the method that casts to one dtype."""

    def convert(self: Any, memory_format: Any = None) -> Any:
        return self if self.dtype is target else converted(self, target)

    convert.__name__, convert.__doc__ = name, f"The tensor as {target.name}; itself if it is."
    composite(function=False)(convert)


for _name, _target in {
    "float": dtypes.float32,
    "double": dtypes.float64,
    "half": dtypes.float16,
    "bfloat16": dtypes.bfloat16,
    "int": dtypes.int32,
    "long": dtypes.int64,
    "short": dtypes.int16,
    "char": dtypes.int8,
    "byte": dtypes.uint8,
    "bool": dtypes.bool_,
    "cfloat": dtypes.complex64,
    "cdouble": dtypes.complex128,
}.items():
    conversion(_name, _target)


@composite(function=False)
def type_as(input: Any, other: Any) -> Any:
    """The tensor in the dtype of another."""
    return to(input, other.dtype)


@composite(function=False)
def cpu(input: Any, memory_format: Any = None) -> Any:
    """The tensor on the CPU: itself if it is there."""
    return to(input, "cpu")


@composite(function=False)
def cuda(input: Any, device: Any = None, non_blocking: bool = False, memory_format: Any = None) -> Any:
    """CUDA is not there yet: an error that says so."""
    check("cuda")
