"""Tensors with bytes of their own: made from Python data and NumPy arrays, and seen as arrays."""

from __future__ import annotations

import ctypes
import functools
from array import array as packed
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
else:
    from ..late import np

from .. import dtypes
from ..device.memory import _lists
from ..dtypes import CPU, META, dtype
from ..errors import fail
from ..shapes import contiguous_strides, extent_bytes
from .access import pointer
from .backend import current
from .storages import BUILTINS, fresh
from .value import (
    LOCAL,
    Storage,
    StorageInfo,
    Tensor,
    absent_storage,
    absent_tensor,
    fresh_meta,
    fresh_tensor,
    intern_meta,
)


def check_device(device: Any, name: str = "tensor") -> Any:
    """The device asked for; RuntimeError for one that is not there yet."""
    if device is None:
        return CPU
    d: dtypes.device = device if isinstance(device, dtypes.device) else dtypes.device(device)
    if d.type == "cuda":
        raise AssertionError(
            "Torch not compiled with CUDA enabled: CUDA is not there yet in flambeau; use device='cpu'"
        )
    if d.type == "meta":
        return META
    if d.type != "cpu":
        fail(NotImplementedError, f"{name}: the device {d} is not there yet; use device='cpu'")
    return CPU


def new_storage(nbytes: int) -> Storage:
    """Memory of nbytes on the current device."""
    if LOCAL.s.place is not None:
        return absent_storage(nbytes)
    home = _lists.get(nbytes)
    if home is not None:
        return BUILTINS.get("fresh", fresh)(home, nbytes, nbytes)  # type: ignore[no-any-return]
    block = current().alloc(nbytes)
    return Storage(nbytes, block, block.ptr)


def from_bytes(data: np.ndarray | bytes, d: dtype, shape: Sequence[int]) -> Tensor:
    """A fresh tensor holding a copy of bytes, or of those of a C-contiguous array."""
    if LOCAL.s.place is not None:
        return absent_tensor(tuple(shape), contiguous_strides(shape), d)
    if isinstance(data, bytes):
        nbytes = len(data)
        source: bytes | int = data
    else:
        nbytes, source = data.nbytes, address(data, data.flags)
    st = new_storage(nbytes)
    if nbytes:
        ctypes.memmove(st.ptr, source, nbytes)
    return fresh_tensor(st, fresh_meta(tuple(shape), d))


def address(a: Any, flags: Any) -> int:
    """Where the elements of an array begin."""
    if flags.c_contiguous and flags.writeable and a.nbytes:
        return ctypes.addressof(ctypes.c_char.from_buffer(a))  # a quarter of the time of NumPy's own way
    found: int = a.__array_interface__["data"][0]
    return found


def infer_dtype(data: Any) -> dtype | None:
    """The dtype of Python data: that of its numbers, the highest category of all."""
    kind = -1
    todo = [data]
    while todo:
        x = todo.pop()
        if isinstance(x, (list, tuple)):
            todo.extend(x)
        elif isinstance(x, bool):
            kind = max(kind, 0)
        elif isinstance(x, int):
            kind = max(kind, 1)
        elif isinstance(x, float):
            kind = max(kind, 2)
        elif isinstance(x, complex):
            kind = 3
        else:
            return None
    return (
        None
        if kind < 0
        else (dtypes.bool_, dtypes.int64, dtypes.default_dtype(), dtypes.default_dtype().to_complex())[kind]
    )


def from_data(data: Any, d: Any = None) -> Tensor:
    """A tensor of nested lists, numbers, arrays or tensors; d: its dtype (default: that of the data)."""
    kind, plain = type(data), None
    if d is None and kind in CELLS and LOCAL.s.place is None:
        return from_number(data)
    if kind in (list, tuple):
        plain = from_numbers(data, d, (len(data),))
    elif kind in CODES:
        plain = from_numbers((data,), d, ())
    if plain is not None:
        return plain
    if isinstance(data, (np.ndarray, np.generic)):
        if LOCAL.s.place is None and (d is None or dtypes.by_numpy(data.dtype) is d):
            made = ARRAYS["foreign"](data, None, None)
            if made is not None:
                return made  # type: ignore[no-any-return]
        array = np.asarray(data)
        native = array.dtype if array.dtype.isnative else array.dtype.newbyteorder("=")
        found = dtypes.by_numpy(native)
        if found is None:
            raise TypeError(
                f"can't convert np.ndarray of type {array.dtype}. The only supported types are: "
                "float64, float32, float16, int64, int32, "
                "int16, int8, uint64, uint32, uint16, uint8, and bool."
            )
    else:
        found = infer_dtype(data)
        array = plain_array(data, found)
        found = found or (
            dtypes.default_dtype()
            if array.size == 0 and array.dtype == np.float64
            else dtypes.by_numpy(array.dtype)
        )
    d = d or found
    if d is None:
        raise RuntimeError(f"Could not infer dtype of {type(data).__name__}")
    if d.np is None and d.is_complex:
        fail(NotImplementedError, f"tensor: {d.name} is not there yet; use complex64")
    if array.dtype.kind == "c" and not d.is_complex and not isinstance(data, (np.ndarray, np.generic)):
        raise RuntimeError(f"value cannot be converted to type {d.in_c} without overflow")
    python = not isinstance(data, (np.ndarray, np.generic))
    if (
        python
        and found is dtypes.int64
        and d is not found
        and d.np is not None
        and d.np.kind in "iu"
        and array.size
    ):
        info = np.iinfo(d.np)
        if not info.min <= array.min() <= array.max() <= info.max and not (
            d.np.kind == "u" and array.min() >= info.min - info.max - 1 and array.max() <= info.max
        ):
            raise RuntimeError(f"value cannot be converted to type {d.in_c} without overflow")
    return from_bytes(encode(array, d), d, array.shape)


def from_number(x: float) -> Tensor:
    """A tensor of one Python number, in the dtype that it has by itself."""
    d = KINDS[type(x)]()
    cell = CELLS[type(x)].get(d.name)
    if cell is None or (type(x) is int and not -(1 << 63) <= x < 1 << 63):
        return from_bytes(encode(plain_array(x, d), d), d, ())
    st = new_storage(d.itemsize)
    cell.from_address(st.ptr).value = x
    return fresh_tensor(st, fresh_meta((), d))


CELLS: dict[Any, dict[str, Any]] = {
    float: {"float32": ctypes.c_float, "float64": ctypes.c_double},
    int: {"int64": ctypes.c_int64},
    bool: {"bool": ctypes.c_bool},
}
CODES: dict[Any, dict[str, str]] = {
    float: {"float32": "f", "float64": "d"},
    int: {"int64": "q", "float32": "f", "float64": "d"},
    bool: {"bool": "b"},
}
KINDS = {float: dtypes.default_dtype, int: lambda: dtypes.int64, bool: lambda: dtypes.bool_}


def from_numbers(data: Any, d: Any, shape: tuple[int, ...]) -> Tensor | None:
    """A tensor of Python numbers of one class, for which NumPy is not imported; None where it has to be."""
    kinds = set(map(type, data))
    kind: Any = kinds.pop() if len(kinds) == 1 else None
    if kind not in CODES:
        return None
    d = d or KINDS[kind]()
    code = CODES[kind].get(d.name)
    twice = kind is int and code == "f" and max(map(abs, data)) > 1 << 53  # would be rounded twice
    if code is None or twice:
        return None
    try:
        return from_bytes(packed(code, data).tobytes(), d, shape)
    except OverflowError:
        return None  # which says what is too large


def plain_array(data: Any, found: Any) -> np.ndarray:
    """A NumPy array of nested Python data; tensors inside count as numbers."""
    shape: list[int] = []
    x = data
    while isinstance(x, (list, tuple)):
        shape.append(len(x))
        if not x:
            break
        x = x[0]
    if found is None and shape and isinstance(x, (Tensor, np.ndarray, np.generic)):
        return np.asarray([plain_array(v, None) for v in data])
    if isinstance(data, Tensor):
        return data.detach().numpy()  # type: ignore[attr-defined]
    if isinstance(data, (str, bytes)) or data is None:
        if data is None:
            raise RuntimeError("Could not infer dtype of NoneType")
        raise TypeError(f"new(): invalid data type '{type(data).__name__}'")
    check_rectangular(data, shape, 0)
    wide = found.np if found is not None and found.np is not None else None
    try:
        if wide is not None and wide.kind in "fc":
            return np.array(data, np.float64 if wide.kind == "f" else np.complex128)
        return np.array(data, wide) if wide is not None else np.asarray(data)
    except OverflowError:
        raise ValueError("Overflow when unpacking long long") from None


def check_rectangular(data: Any, shape: Sequence[int], depth: int) -> None:
    """ValueError where nested lists have unequal lengths."""
    if depth == len(shape):
        if isinstance(data, (list, tuple)):
            raise TypeError(
                f"only number sequences have dimensions; got {type(data).__name__} at dim {depth}"
            )
        return
    if not isinstance(data, (list, tuple)):
        raise TypeError(
            f"expected sequence of length {shape[depth]} at dim {depth} (got {type(data).__name__})"
        )
    if len(data) != shape[depth]:
        raise ValueError(f"expected sequence of length {shape[depth]} at dim {depth} (got {len(data)})")
    if depth + 1 < len(shape) or (data and isinstance(data[0], (list, tuple))):
        for x in data:
            check_rectangular(x, shape, depth + 1)


def encode(array: np.ndarray, d: dtype) -> np.ndarray:
    """The array in the memory form of a dtype, C-contiguous."""
    if d.name == "bfloat16":
        bits = np.ascontiguousarray(array, np.float32).view(np.uint32)
        nan = np.isnan(bits.view(np.float32))
        rounded = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
        return np.where(nan, np.uint16(0x7FC0), rounded)
    if array.dtype == d.np:
        return np.ascontiguousarray(array)
    with np.errstate(all="ignore"):
        return np.ascontiguousarray(array).astype(d.np, copy=False)


def as_numpy(t: Tensor, exported: bool = False) -> np.ndarray:
    """A NumPy view of a tensor's memory (its bytes exist then); it keeps the storage alive. exported: it is counted,
    and others may write to the storage as long as it lives."""
    meta = t._meta
    d: Any = np.dtype(np.uint16) if meta.dtype.name == "bfloat16" else meta.dtype.np
    at, st = pointer(t), t._st
    if not meta.numel:
        return np.empty(meta.shape, d)
    memory = window_of((st.ptr + st.nbytes - at).bit_length(), exported).from_address(at)
    memory.st = st
    if meta.contiguous:
        a = np.ndarray(meta.shape, d, memory)
    else:
        a = np.ndarray(meta.shape, d, memory, 0, tuple([s * d.itemsize for s in meta.strides]))
    if exported:
        info = st.info = st.info or StorageInfo()
        info.exported += 1
        memory.counted = True
        if info.readonly:
            a.flags.writeable = False
    return a


_array_type: Any = type(ctypes.Array)


@functools.cache
def window_of(bits: int, exported: bool) -> Any:
    """The class of views of 2**bits bytes: NumPy and ctypes see memory through an object that keeps its storage alive
    (`st`). A view may reach beyond the storage, an array over it does not."""
    names: dict[str, Any] = {"_type_": ctypes.c_char, "_length_": 1 << bits, "counted": False}
    if exported:
        names["__del__"] = returned
    return _array_type("Window", (ctypes.Array,), names)


class Exported:
    """What keeps a storage alive for an array that a builtin made (ops/builtins/arrays.py)."""

    __slots__ = ("st",)
    st: Storage

    def __del__(self) -> None:
        self.st.info.exported -= 1


def no_builtin(*given: Any) -> None:
    """There is no builtin that makes arrays, or tensors of them."""


ARRAYS: dict[str, Any] = {"exported": no_builtin, "foreign": no_builtin}


def returned(memory: Any) -> None:
    """An exported view is gone."""
    if memory.counted:
        memory.st.info.exported -= 1


def empty_of(shape: Sequence[int], d: dtype, strides: Sequence[int] | None = None) -> Tensor:
    """Uninitialised memory."""
    if LOCAL.s.place is not None:
        return absent_tensor(tuple(shape), tuple(strides or contiguous_strides(shape)), d)
    if not strides:
        meta = fresh_meta(tuple(shape), d)
        return fresh_tensor(new_storage(meta.nbytes), meta)
    meta = intern_meta(tuple(shape), tuple(strides), d)
    return fresh_tensor(new_storage(extent_bytes(shape, strides) * d.itemsize), meta)
