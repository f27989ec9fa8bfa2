"""Values out of tensors and memory into them: item, tolist, numpy, from_numpy, DLPack, pickling."""

from __future__ import annotations

import ctypes
import sys
import weakref
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
else:
    from ..late import np

from .. import dtypes
from ..dtypes import META
from ..errors import fail
from ..ops import modes
from ..ops.entry import FUNCTIONS as OPS
from ..stream.access import pointer
from ..stream.capture import outside
from ..stream.host import ARRAYS, address
from ..stream.value import (
    ABSENT,
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
from . import display
from .create import as_numpy, check_device, from_data
from .factories import CONSTRUCTORS


def item(self: Tensor) -> Any:
    """The value of a tensor of one element, as a Python number."""
    meta = self._meta
    if meta.numel != 1:
        fail(
            RuntimeError,
            f"item: a Tensor with {meta.numel} elements cannot be converted to Scalar",
            "take one element first, or use tolist()",
            self=self,
        )
    if self._st.info is ABSENT:
        raise RuntimeError("Tensor.item() cannot be called on meta tensors")
    number = NUMBERS.get(meta.dtype)
    if number is None:
        return display.readable(self).item()
    return number.from_address(pointer(self)).value


NUMBERS: dict[Any, Any] = {
    dtypes.float32: ctypes.c_float,
    dtypes.float64: ctypes.c_double,
    dtypes.int64: ctypes.c_int64,
    dtypes.int32: ctypes.c_int32,
    dtypes.int16: ctypes.c_int16,
    dtypes.int8: ctypes.c_int8,
    dtypes.uint8: ctypes.c_uint8,
    dtypes.bool_: ctypes.c_bool,
}


def one(self: Tensor) -> Any:
    """The value, for Python's own conversions."""
    if self._meta.numel != 1:
        fail(ValueError, "float: only one element tensors can be converted to Python scalars", self=self)
    return item(self)


def real_one(self: Tensor, kind: str) -> Any:
    """The value as a real number, for Python's own conversions."""
    value = one(self)
    if type(value) is complex:
        if value.imag:
            raise RuntimeError(f"value cannot be converted to type {kind} without overflow")
        return value.real
    return value


def tolist(self: Tensor) -> Any:
    """Nested lists of Python numbers."""
    meta = self._meta
    number = NUMBERS.get(meta.dtype)
    if number is None or not meta.contiguous or not 0 < meta.numel <= FEW:
        return display.readable(self).tolist()
    if not meta.ndim:
        return item(self)
    numbers = (number * meta.numel).from_address(pointer(self))[:]
    for n in reversed(meta.shape[1:]):
        numbers = [numbers[i : i + n] for i in range(0, len(numbers), n)]
    return numbers


FEW = 64  # numbers of which a list is made without NumPy


def numpy(self: Tensor, *, force: bool = False) -> np.ndarray:
    """An array over the tensor's memory: writes to one are seen by the other."""
    made = ARRAYS["exported"](self)
    if made is not None:
        return made  # type: ignore[no-any-return]
    if self._rg and not force and LOCAL.s.grad:  # as PyTorch: within no_grad it is not refused
        raise RuntimeError(
            "Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead."
        )
    if self._st.info is ABSENT:
        raise TypeError(
            "can't convert meta device type tensor to numpy. Use Tensor.cpu() to copy the tensor to host memory first."
        )
    if self._meta.dtype.name == "bfloat16":
        raise TypeError("Got unsupported ScalarType BFloat16")
    return as_numpy(self, exported=True)


def array(self: Tensor, dtype: Any = None, copy: Any = None) -> np.ndarray:
    """np.asarray(tensor)."""
    a = numpy(self)
    return a if dtype is None else a.astype(dtype, copy=False)


_references = sys.getrefcount


def _count(x: Any) -> int:
    return _references(x)


def _of_a_temporary() -> int:
    """The references that a function sees to an argument which its caller does not keep; -1: it cannot tell."""
    kept = object()
    found = _count(object())
    return found if found < _count(kept) else -1


_TEMPORARY = _of_a_temporary()


def foreign(a: np.ndarray, owner: Any, alone: bool = False) -> Tensor:
    """A tensor over memory of another owner. alone: nobody else refers to the array."""
    made = ARRAYS["foreign"](a, owner, alone)
    if made is not None:
        return made  # type: ignore[no-any-return]
    d = dtypes.by_numpy(a.dtype)
    if d is None:
        if not a.dtype.isnative and dtypes.by_numpy(a.dtype.newbyteorder("=")):
            raise ValueError(
                "given numpy array has byte order different from the native byte order. Conversion between byte orders "
                "is currently not supported."
            )
        raise TypeError(
            f"can't convert np.ndarray of type {a.dtype}. The only supported types are: float64, "
            "float32, float16, int64, "
            "int32, int16, "
            "int8, uint64, uint32, uint16, uint8, and bool."
        )
    flags, shape, item = a.flags, a.shape, a.itemsize
    if flags.c_contiguous:
        nbytes, meta = a.nbytes, fresh_meta(shape, d)
    else:
        if any(s % item for s in a.strides):
            raise ValueError(
                "given numpy array strides not a multiple of the element byte size. Copy the numpy array to "
                "reallocate the memory."
            )
        if any(s < 0 for s in a.strides):
            raise ValueError(
                "At least one stride in the given numpy array is negative, and tensors with negative strides are not "
                "currently supported. "
                "(You can probably work around this by making a copy of your array  with array.copy().)"
            )
        strides = tuple(s // item for s in a.strides)
        nbytes = item * (1 + sum((n - 1) * s for n, s in zip(shape, strides))) if a.size else 0
        meta = intern_meta(tuple(shape), strides, d) if nbytes else fresh_meta(shape, d)
    st = Storage(nbytes, owner, address(a, flags))
    ours = alone and type(a) is np.ndarray and flags.owndata and flags.writeable
    if not ours or weakref.getweakrefcount(a):  # else nobody can write there
        st.info = info = StorageInfo()
        info.owner = owner
        info.readonly = not flags.writeable
        info.resizable = False
    return fresh_tensor(st, meta)


def from_numpy(ndarray: np.ndarray) -> Tensor:
    """A tensor over the memory of a NumPy array: writes to one are seen by the other."""
    alone = _references(ndarray) == _TEMPORARY
    made = ARRAYS["foreign"](ndarray, ndarray, alone)
    if made is not None:
        return made  # type: ignore[no-any-return]
    if not isinstance(ndarray, np.ndarray):
        raise TypeError(f"from_numpy: expected np.ndarray (got {type(ndarray).__name__})")
    outside("a NumPy array is read")
    return foreign(ndarray, ndarray, alone)


def frombuffer(
    buffer: Any, *, dtype: Any, count: int = -1, offset: int = 0, requires_grad: bool = False
) -> Tensor:
    """A 1-D tensor over the memory of a buffer."""
    outside("a buffer is read")
    view = memoryview(buffer)
    if view.nbytes == 0:
        raise ValueError("both buffer length (0) and count (-1) must not be 0")
    t = foreign(np.frombuffer(view, dtype.np, count, offset), buffer)
    return t.requires_grad_() if requires_grad else t  # type: ignore[attr-defined]


def as_tensor(data: Any, dtype: Any = None, device: Any = None) -> Tensor:
    """data as a tensor, without a copy where that is possible."""
    alone = _references(data) == _TEMPORARY  # so it is not wrapped as other constructors are
    S = LOCAL.s
    if S.modes and S.trace is None:
        result = modes.offer(S, as_tensor, (data,), (data,), {"dtype": dtype, "device": device})
        if result is not modes.NOT_HANDLED:
            return result  # type: ignore[no-any-return]
    if isinstance(data, Tensor):
        return data.to(device, dtype)  # type: ignore[attr-defined,no-any-return]
    if S.place is not None or (device is not None and check_device(device, "as_tensor") is META):
        return OPS["tensor"](data, dtype=dtype, device="meta")  # type: ignore[no-any-return]
    if isinstance(data, np.ndarray):
        outside("a NumPy array is read")
        if dtype is None or dtypes.by_numpy(data.dtype) is dtype:
            return foreign(data, data, alone)
    return from_data(data, dtype)


CONSTRUCTORS.add(as_tensor)


def truth(self: Tensor) -> bool:
    """bool(t), for one element."""
    n = self._meta.numel
    if n > 1:
        fail(
            RuntimeError,
            "bool: Boolean value of Tensor with more than one value is ambiguous",
            "use .any() or .all()",
            self=self,
        )
    if n == 0:
        fail(RuntimeError, "bool: Boolean value of Tensor with no values is ambiguous", self=self)
    return bool(item(self))


def index(self: Tensor) -> int:
    """t as an index: integers of one element."""
    if self._meta.dtype.is_floating_point or self._meta.numel != 1:
        fail(
            TypeError,
            "index: only integer tensors of a single element can be converted to an index",
            self=self,
        )
    return int(item(self))


def readonly(self: Tensor) -> Tensor:
    """Protect the tensor's memory: from now on every write in place fails, also through views."""
    st = self._st
    if st.info is ABSENT:
        return self
    if st.home is not None:
        pointer(self)
    st.info = st.info or StorageInfo()
    st.info.readonly = True
    return self


def data_ptr(self: Tensor) -> int:
    """The address of the first element (its bytes exist then); 0 for an empty tensor, and on the device meta."""
    return pointer(self) if self._meta.numel and self._st.info is not ABSENT else 0


def reduce_ex(self: Tensor, protocol: int) -> Any:
    """Pickling by value, for copies and processes (files are written by flambeau.save)."""
    meta = self._meta
    if meta.device is META:
        place = type(self), tuple(meta.shape), meta.strides, meta.dtype
        return rebuild_absent, (*place, self._rg and self._gf is None, dict(self.__dict__))
    a = np.ascontiguousarray(as_numpy(self.detach()))  # type: ignore[attr-defined]
    return rebuild, (
        type(self),
        a,
        self._meta.dtype,
        tuple(self._meta.shape),
        self._rg and self._gf is None,
        dict(self.__dict__),
    )


def rebuild(
    cls: type,
    a: np.ndarray,
    d: dtypes.dtype,
    shape: tuple[int, ...],
    requires_grad: bool,
    attributes: dict[str, Any],
) -> Tensor:
    """A tensor from what pickling kept of it."""
    from .create import from_bytes

    t = from_bytes(a, d, shape)
    if cls is not Tensor:
        t.__class__ = cls
    t.__dict__.update(attributes)
    t._rg = requires_grad
    return t


def rebuild_absent(
    cls: type,
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    d: dtypes.dtype,
    requires_grad: bool,
    attributes: dict[str, Any],
) -> Tensor:
    """A tensor on the device meta from what pickling kept of it."""
    t = absent_tensor(shape, strides, d)
    t.__class__ = cls
    t.__dict__.update(attributes)
    t._rg = requires_grad
    return t


def copied_storage(self: Tensor, memo: dict[int, Any]) -> Storage:
    """A copy of the tensor's storage; tensors that shared one share its copy."""
    st = self._st
    found = memo.get(id(st))
    if found is None and st.info is ABSENT:
        found = memo[id(st)] = absent_storage(st.nbytes)
    if found is None:
        from ..stream.backend import current

        pointer(self)
        device = current()
        block = device.alloc(st.nbytes)
        if st.nbytes:
            device.copy(block.ptr, st.ptr, st.nbytes)
        found = memo[id(st)] = Storage(st.nbytes, block, block.ptr)
    return found


def deepcopy(self: Tensor, memo: dict[int, Any]) -> Tensor:
    """copy.deepcopy: leaves only, as in PyTorch."""
    if id(self) in memo:
        return memo[id(self)]
    if self._gf is not None:
        raise RuntimeError(
            "Only Tensors created explicitly by the user (graph leaves) support the deepcopy protocol at the moment.  "
            "If you were "
            "attempting to deepcopy a module, this may be because of a torch.nn.utils.weight_norm usage, see "
            "https://github.com/pytorch/pytorch/pull/103001"
        )
    t = fresh_tensor(copied_storage(self, memo), self._meta, self._off)
    t.__class__ = type(self)
    t._rg = self._rg
    import copy

    t.__dict__.update(copy.deepcopy(self.__dict__, memo))
    if self._x is not None and self._x.grad is not None:
        t.grad = copy.deepcopy(self._x.grad, memo)
    memo[id(self)] = t
    return t


def array_wrap(self: Tensor, result: Any, context: Any = None, return_scalar: bool = False) -> Tensor:
    """The result of a NumPy function on a tensor is a tensor."""
    return from_numpy(np.ascontiguousarray(result).reshape(np.shape(result)))


def contains(self: Tensor, element: Any) -> bool:
    """Whether an element equals a number, or any does those of a tensor that broadcasts."""
    if not isinstance(element, (Tensor, int, float, complex)):
        raise RuntimeError(
            f"Tensor.__contains__ only supports Tensor or scalar, but you passed in a {type(element)}."
        )
    return bool((self == element).any().item())  # type: ignore[attr-defined]


def delitem(self: Tensor, at: Any) -> None:
    """TypeError: a tensor's elements cannot be deleted."""
    raise TypeError("Tensor does not support deleting items")


def apply_(self: Tensor, function: Any) -> Tensor:
    """Put function(x) in the place of each element x, in Python."""
    return each("apply_", self, function, ())


def map_(self: Tensor, other: Tensor, function: Any) -> Tensor:
    """Put function(x, y) in the place of each element x; y is the element of other there."""
    return each("map_", self, function, (other,))


def each(name: str, self: Tensor, function: Any, others: tuple[Tensor, ...]) -> Tensor:
    """A Python function applied to each element, in place."""
    if self._rg:
        raise TypeError(
            f"Can't call {name}() on Variable that requires grad. Use var.detach().{name}() instead."
        )
    columns = [
        np.broadcast_to(display.readable(t), tuple(self._meta.shape)).ravel().tolist()
        for t in (self, *others)
    ]
    made = from_data([function(*row) for row in zip(*columns)], self._meta.dtype)
    return self.copy_(made.reshape(self._meta.shape))  # type: ignore[attr-defined]


def shallow(self: Tensor) -> Tensor:
    """copy.copy: another tensor over the same memory."""
    t = self.detach()  # type: ignore[attr-defined]
    t.__class__ = type(self)
    t._rg, t._gf, t._nr = self._rg, self._gf, self._nr
    t.__dict__.update(self.__dict__)
    return t


METHODS = {
    "item": item,
    "tolist": tolist,
    "numpy": numpy,
    "__array__": array,
    "__bool__": truth,
    "__index__": index,
    "__int__": lambda t: int(real_one(t, "int64_t")),
    "__float__": lambda t: float(real_one(t, "double")),
    "__complex__": lambda t: complex(one(t)),
    "__contains__": contains,
    "__delitem__": delitem,
    "__array_wrap__": array_wrap,
    "__copy__": shallow,
    "apply_": apply_,
    "map_": map_,
    "is_same_size": lambda t, other: t._meta.shape == other._meta.shape,
    "__repr__": lambda t, *, tensor_contents=None: display.to_text(t),
    "__format__": display.format_spec,
    "data_ptr": data_ptr,
    "readonly": readonly,
    "__reduce_ex__": reduce_ex,
    "__deepcopy__": deepcopy,
    "__array_priority__": 1000,
}
FUNCTIONS = {
    "from_numpy": from_numpy,
    "frombuffer": frombuffer,
    "as_tensor": as_tensor,
    "set_printoptions": display.set_printoptions,
}


def install() -> None:
    """Bind the methods of exchange."""
    from . import dlpack

    for name, fn in (METHODS | dlpack.METHODS).items():
        setattr(Tensor, name, fn)
    FUNCTIONS["from_dlpack"] = dlpack.from_dlpack
