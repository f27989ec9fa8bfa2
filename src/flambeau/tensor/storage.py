"""Storages as objects, and the methods that change a tensor's metadata or memory in place."""

from __future__ import annotations

from typing import Any

from ..dtypes import CPU, META, dtype, uint8
from ..errors import fail
from ..ops import record
from ..ops.entry import FUNCTIONS
from ..shapes import channels_last_strides, contiguous_strides, numel, same_order
from ..stream import gradient
from ..stream.access import pointer
from ..stream.backend import current
from ..stream.graph import Val
from ..stream.value import (
    ABSENT,
    LOCAL,
    Storage,
    StorageInfo,
    Tensor,
    check_writable,
    intern_meta,
    make_tensor,
    version_of,
)


class UntypedStorage:
    """The bytes under a tensor."""

    def __init__(self, st: Any = None, kind: dtype = uint8):
        if isinstance(st, int):
            from .create import new_storage

            st = new_storage(st)
        self._st: Storage = st if st is not None else Storage()
        self._kind = kind

    @classmethod
    def from_file(cls, filename: Any, shared: bool = False, nbytes: int = 0) -> UntypedStorage:
        """The first bytes of a file, mapped: read when they are used; writes go to the file if shared, else they are
        private. OSError if it cannot be read, ValueError if it is shorter."""
        from numpy import memmap

        mapped = memmap(filename, "uint8", "r+" if shared else "c", shape=(nbytes,))
        return cls(FUNCTIONS["from_numpy"](mapped)._st)

    def _tensor(self) -> Tensor:
        """All elements, as a vector."""
        n = self._st.nbytes // self._kind.itemsize
        return (
            make_tensor(self._st, intern_meta((n,), (1,), self._kind))
            if self._kind is uint8
            else typed(self._st, self._kind)
        )

    device = property(lambda self: META if self._st.info is ABSENT else CPU)
    is_cuda = False

    def data_ptr(self) -> int:
        """The address of the first byte."""
        if not self._st.nbytes or self._st.info is ABSENT:
            return 0
        return pointer(make_tensor(self._st, intern_meta((1,), (1,), uint8)))

    def nbytes(self) -> int:
        """Bytes in all."""
        return self._st.nbytes

    def size(self) -> int:
        """Elements in all."""
        return self._st.nbytes // self._kind.itemsize

    __len__ = size

    def element_size(self) -> int:
        """Bytes of an element."""
        return self._kind.itemsize

    def resize_(self, size: int) -> UntypedStorage:
        """Grow or shrink; bytes that fit are kept."""
        resize_storage(self._st, size * self._kind.itemsize)
        return self

    def _array(self) -> Any:
        from .create import as_numpy

        return as_numpy(self._tensor())

    def tolist(self) -> list[Any]:
        """The elements as Python numbers."""
        return self._array().tolist()

    def __getitem__(self, i: Any) -> Any:
        found = self._array()[i]
        if isinstance(i, slice) and type(self) is UntypedStorage:  # the same memory
            return UntypedStorage(FUNCTIONS["from_numpy"](found)._st)
        return found.item() if found.ndim == 0 else found.tolist()

    def __setitem__(self, i: Any, value: Any) -> None:
        self._array()[i] = value

    def __iter__(self) -> Any:
        return iter(self.tolist())

    def copy_(self, other: UntypedStorage, non_blocking: bool = False) -> UntypedStorage:
        """Take over the elements of another storage."""
        self._array()[:] = other._array()
        return self

    def fill_(self, value: Any) -> UntypedStorage:
        """Set every element."""
        self._array()[:] = value
        return self

    def clone(self) -> UntypedStorage:
        """A copy."""
        return type(self)(self._tensor().clone()._st, self._kind)  # type: ignore[attr-defined]

    def cpu(self) -> UntypedStorage:
        """The storage itself: it is on the CPU."""
        return self

    def untyped(self) -> UntypedStorage:
        """The same memory as bytes."""
        return UntypedStorage(self._st)

    def is_shared(self) -> bool:
        """Whether other processes see it: no."""
        return False

    def share_memory_(self) -> UntypedStorage:
        """The storage itself: worker processes are forked, and get tensors by pickling."""
        return self

    @property
    def _cdata(self) -> int:
        return id(self._st)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, UntypedStorage) and other._st is self._st

    def __hash__(self) -> int:
        return id(self._st)

    def __repr__(self) -> str:
        return f"[torch.storage.{type(self).__name__}(device={self.device}) of size {self.size()}]"


class TypedStorage(UntypedStorage):
    """The elements under a tensor."""

    dtype = property(lambda self: self._kind)

    def pickle_storage_type(self) -> str:
        """The name of the elements' type."""
        return self._kind.name


def typed(st: Storage, kind: dtype) -> Tensor:
    """A storage as a vector of one type."""
    return make_tensor(st, intern_meta((st.nbytes // kind.itemsize,), (1,), kind))


def resize_storage(st: Storage, nbytes: int) -> None:
    """Give a storage another size; what fits is kept."""
    if st.info is ABSENT:
        st.nbytes = nbytes
        return
    settle(st)
    if not st.resizable():
        fail(RuntimeError, "resize_: Trying to resize storage that is not resizable")
    device = current()
    block = device.alloc(nbytes)
    if min(nbytes, st.nbytes):
        device.copy(block.ptr, st.ptr, min(nbytes, st.nbytes))
    st.block, st.ptr, st.nbytes = block, block.ptr, nbytes


def settle(st: Storage) -> None:
    """Everything recorded on a storage has run."""
    pointer(make_tensor(st, intern_meta((0,), (1,), uint8)))


def resize_(input: Tensor, *args: Any, size: Any = None, memory_format: Any = None) -> Tensor:
    """Another shape, in place; memory grows if it must, and what was there stays."""
    given = args if size is None else (size,)
    one = len(given) == 1 and not isinstance(given[0], int)
    shape = tuple(given[0]) if one else tuple(int(n) for n in given)
    check_writable(input)
    if any(n < 0 for n in shape):
        fail(RuntimeError, f"resize_: requested resize to {list(shape)} with a negative extent")
    if input._rg and LOCAL.s.grad:
        raise RuntimeError("cannot resize variables that require grad")
    if tuple(input._meta.shape) == shape and memory_format is None:
        return input
    strides = (
        channels_last_strides(shape)
        if getattr(memory_format, "name", "") == "channels_last"
        else contiguous_strides(shape)
    )
    need = (input._off + numel(shape)) * input._meta.dtype.itemsize if numel(shape) else 0
    if need > input._st.nbytes:
        resize_storage(input._st, need)
    input._meta = intern_meta(shape, strides, input._meta.dtype, input._meta.device)
    return input


def resize_as_(input: Tensor, the_template: Tensor, memory_format: Any = None) -> Tensor:
    """As resize_, to the shape of another tensor."""
    return resize_(input, *the_template._meta.shape)


def set_(
    self: Tensor, source: Any = None, storage_offset: int = 0, size: Any = None, stride: Any = None
) -> Tensor:
    """The memory (and shape) of another tensor or storage, in place."""
    check_writable(self)
    gradient.check_inplace(self, False)
    if source is None:
        source = UntypedStorage()
        size = (0,)
    kind = self._meta.dtype
    if isinstance(source, Tensor) and size is None:
        if source._meta.dtype is not kind:
            fail(
                RuntimeError,
                f"set_: Could not set tensor of type {source._meta.dtype.name} to a tensor of type {kind.name}",
            )
        self._st, self._off, self._meta = source._st, source._off, source._meta
    else:
        st = source._st
        if size is None:
            size = (st.nbytes // kind.itemsize,)
        size = tuple(size) if not isinstance(size, int) else (size,)
        stride = contiguous_strides(size) if stride is None else tuple(stride)
        last = storage_offset + sum((n - 1) * s for n, s in zip(size, stride)) + 1
        if numel(size) and last * kind.itemsize > st.nbytes:
            resize_storage(st, last * kind.itemsize)
        self._st, self._off, self._meta = st, storage_offset, intern_meta(size, stride, kind)
    version_of(self).n += 1
    return self


def become(name: str) -> Any:
    """The in-place form of a view: the tensor itself gets the view's metadata, and its node."""

    def inplace(self: Tensor, *args: Any, **options: Any) -> Tensor:
        gradient.check_inplace(self, False)
        v = FUNCTIONS[name](self, *args, **options)
        if v is not self:
            self._meta, self._off = v._meta, v._off
            if v._gf is not None and LOCAL.s.grad:
                self._gf, self._nr, self._rg = v._gf, v._nr, True
        version = version_of(self)
        version.n += 1  # what was saved for a backward pass is this tensor, which has another shape now
        if self._vw is not None:
            self._vw = (*self._vw[:2], version.n)
        return self

    inplace.__name__ = name + "_"
    inplace.__doc__ = f"As {name}, in place: only the metadata changes."
    return inplace


def detach_(self: Tensor) -> Tensor:
    """Out of the graph, in place."""
    if self._vw is not None:
        raise RuntimeError("Can't detach views in-place. Use detach() instead.")
    self._gf, self._nr, self._rg = None, 0, False
    return self


def is_contiguous(self: Any, memory_format: Any = None) -> bool:
    """Whether the elements lie in row-major order (or in that of memory_format)."""
    meta = self._meta
    name = getattr(memory_format, "name", "contiguous_format")
    if name == "channels_last":
        return meta.ndim == 4 and _in_order(meta, channels_last_strides(tuple(meta.shape)))
    if name == "channels_last_3d":
        return meta.ndim == 5 and _in_order(meta, channels_last_strides(tuple(meta.shape)))
    return meta.contiguous


def _in_order(meta: Any, strides: Any) -> bool:
    return not meta.numel or same_order(meta.shape, meta.strides, strides)


def is_set_to(self: Tensor, tensor: Tensor) -> bool:
    """Whether both are the same view of the same memory."""
    return self._st is tensor._st and self._off == tensor._off and self._meta is tensor._meta


def readonly(self: Tensor) -> Tensor:
    """Every in-place write to this tensor's memory, through any view, is refused from now on."""
    if self._st.info is None:
        self._st.info = StorageInfo()
    self._st.info.readonly = True
    return self


def view_dtype(self: Any, kind: dtype) -> Any:
    """The same memory as elements of another dtype; the last dimension is scaled if their sizes differ."""
    if type(self) is Val:
        from ..stream.graph import map_

        return self if kind is self.dtype else map_("bitcast", self, out=kind)
    meta = self._meta
    if kind is meta.dtype:
        return FUNCTIONS["alias"](self)
    shape, strides, off = tuple(meta.shape), meta.strides, self._off
    a, b = meta.dtype.itemsize, kind.itemsize
    if a != b:
        if not shape:
            fail(
                RuntimeError,
                f"self.dim() cannot be 0 to view {meta.dtype} as {kind} (different element sizes)",
            )
        if strides[-1] != 1:
            fail(
                RuntimeError,
                f"self.stride(-1) must be 1 to view {meta.dtype} as {kind} (different element sizes), "
                f"but got {strides[-1]}",
            )
        if a < b:
            times = b // a
            bad = shape[-1] % times or off % times or any(s % times for s in strides[:-1])
            if bad:
                fail(
                    RuntimeError,
                    "self.size(-1), self.storage_offset() and self.stride() must be divisible by "
                    f"{times} to view {meta.dtype} as {kind} "
                    f"(different element sizes), but got {list(shape)}",
                )
            shape, strides = (*shape[:-1], shape[-1] // times), (*[s // times for s in strides[:-1]], 1)
            off //= times
        else:
            times = a // b
            shape, strides = (*shape[:-1], shape[-1] * times), (*[s * times for s in strides[:-1]], 1)
            off *= times
    t = make_tensor(shared(self._st), intern_meta(shape, strides, kind, meta.device), off)
    t._ver = version_of(self)
    t._vw = (self if self._vw is None else self._vw[0], "", t._ver.n)
    return t


def shared(st: Storage) -> Storage:
    """Another storage of the same bytes. Both then count as foreign memory: writes happen at once, reads see them."""
    settle(st)
    for s in (st, other := Storage(st.nbytes, st.block, st.ptr)):
        if s.info is None:
            s.info = StorageInfo()
        if s.info.owner is None:
            s.info.owner = st if st.block is None else st.block
        s.info.resizable = False
    return other


METHODS: dict[str, Any] = {
    "storage": lambda t: TypedStorage(t._st, t._meta.dtype),
    "untyped_storage": lambda t: UntypedStorage(t._st),
    "_typed_storage": lambda t: TypedStorage(t._st, t._meta.dtype),
    "resize_": resize_,
    "resize_as_": resize_as_,
    "set_": set_,
    "detach_": detach_,
    "is_set_to": is_set_to,
    "readonly": readonly,
    "is_shared": lambda t: False,
    "share_memory_": lambda t: t,
    "is_pinned": lambda t, device=None: False,
    "pin_memory": lambda t, device=None: t,
    **{
        n + "_": become(n)
        for n in ("squeeze", "unsqueeze", "transpose", "t", "swapaxes", "swapdims", "as_strided")
    },
}


def dim_order(self: Any, *, ambiguity_check: Any = False) -> tuple[int, ...]:
    """The dimensions from the largest stride to the smallest."""
    meta = self._meta
    return tuple(sorted(range(meta.ndim), key=lambda d: (-meta.strides[d], d)))


def install() -> None:
    """Bind the methods of storages."""
    for name, fn in METHODS.items():
        setattr(Tensor, name, fn)
    for cls in (Tensor, Val):
        cls.is_contiguous = is_contiguous  # type: ignore[attr-defined]
        cls.dim_order = dim_order  # type: ignore[attr-defined]
        cls.mH = property(lambda t: FUNCTIONS["adjoint"](t))  # type: ignore[attr-defined]
    for name in ("resize_", "resize_as_", "set_", "detach_"):
        gradient.BOOK[name] = METHODS[name]
    gradient.BOOK["view_dtype"] = view_dtype
    for name in ("detach_", "resize_as_", "as_strided_"):
        FUNCTIONS[name] = METHODS[name]


_ = record
