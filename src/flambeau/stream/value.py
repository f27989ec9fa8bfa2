"""What a tensor is made of: metadata, storage, version, the Tensor class and the base of gradient nodes.

Everything here is data. Ops fill it (ops/entry.py), the stream gives storages their bytes (stream/flush.py).
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .. import config
from ..dtypes import CPU, META, device, dtype
from ..errors import fail
from ..shapes import Shape, Size, contiguous_strides, extent_bytes, is_channels_last, is_contiguous, numel
from ..symbols import Real, Whole


class Meta:
    """Shape, strides, dtype and device as one interned object: equal metadata is the same object."""

    __slots__ = (
        "contiguous",
        "device",
        "dtype",
        "nbytes",
        "ndim",
        "numel",
        "outs",
        "plain",
        "shape",
        "strides",
    )

    shape: Size
    strides: Shape
    dtype: dtype
    device: device
    numel: int
    ndim: int
    nbytes: int
    contiguous: bool
    plain: bool  # row-major, also along extents of 1, and not what may as well have its channels innermost
    outs: Any  # None, or the `outs` of forms whose one result is such a new tensor (ops/kin.py)

    def __repr__(self) -> str:
        return f"{tuple(self.shape)} {self.dtype.name}"

    def __reduce__(self) -> Any:
        return (intern_meta, (tuple(self.shape), self.strides, self.dtype, self.device))


_metas: dict[Any, Meta] = {}  # by shape, strides, dtype, and a device other than the processor
_fresh: dict[tuple[Shape, dtype], Meta] = {}  # those of `fresh_meta` on the processor


KEPT = [1 << 14]  # metadata that there are before those that nobody uses go


def held(objects: list[Any]) -> list[int]:
    """The reference counts of list elements."""
    count = sys.getrefcount
    return [count(x) for x in objects]


SPARE = held([object()])[0]  # the references that are the list's and those of `held`


_forgetting = threading.Lock()


def forget_metadata() -> None:
    """Metadata that only these tables refer to go; if most are used, there may be twice as many."""
    if _forgetting.acquire(blocking=False):  # else another thread is at it
        try:
            _forget()
        finally:
            _forgetting.release()


def _forget() -> None:
    items = list(_metas.items())
    keys, metas = [key for key, _ in items], [meta for _, meta in items]
    items.clear()
    outs = [meta.outs for meta in metas]
    for key, meta, n, made, m in zip(keys, metas, held(metas), outs, held(outs)):
        fresh = _fresh.get((key[0], key[2])) is meta
        if n - SPARE == 1 + fresh + (made is not None) and (made is None or m - SPARE == 1):
            del _metas[key]
            meta.outs = None  # it refers to itself there
            if fresh:
                del _fresh[key[0], key[2]]
    KEPT[0] = max(KEPT[0], 2 * len(_metas))


def intern_meta(shape: Shape, strides: Shape, d: dtype, where: device = CPU) -> Meta:
    """The one object of this shape, strides, dtype and device."""
    key = (shape, strides, d) if where is CPU or where == CPU else (shape, strides, d, where)
    found = _metas.get(key)
    if found is None:
        if len(_metas) > KEPT[0]:
            forget_metadata()
        key = (tuple(shape), tuple(strides), *key[2:])
        found = _metas.setdefault(key, new_meta(*key[:3], where, numel(shape), is_contiguous(shape, strides)))
    return found


def new_meta(shape: Shape, strides: Shape, d: dtype, where: device, count: int, contiguous: bool) -> Meta:
    """Metadata that are not interned yet."""
    if d.short == d.name:
        fail(NotImplementedError, f"{d!r}: tensors of this dtype are not there yet")
    made = Meta()
    made.shape, made.strides, made.dtype, made.device = Size(shape), strides, d, where
    made.numel, made.ndim, made.nbytes, made.contiguous = count, len(shape), count * d.itemsize, contiguous
    made.plain = contiguous and strides == contiguous_strides(shape) and not is_channels_last(shape, strides)
    made.outs = None
    return made


def fresh_meta(shape: Shape, d: dtype, where: device = CPU) -> Meta:
    """The metadata of a new row-major tensor."""
    if where is not CPU:
        return intern_meta(tuple(shape), contiguous_strides(shape), d, where)
    found = _fresh.get((shape, d))
    if found is None:
        if len(_metas) > KEPT[0]:
            forget_metadata()
        shape = tuple(shape)
        strides, count = contiguous_strides(shape), numel(shape)
        key = (shape, strides, d)
        found = _metas.get(key) or _metas.setdefault(key, new_meta(*key, CPU, count, True))
        _fresh[shape, d] = found
    return found


def _complex_number() -> Meta:
    from ..dtypes import complex128

    meta = Meta()
    interned = intern_meta((), (), complex128)
    for name in Meta.__slots__:
        setattr(meta, name, getattr(interned, name))
    return meta


COMPLEX_NUMBER = (
    _complex_number()
)  # the metadata of a Python number that is complex: it gives way as numbers do


class Version:
    """Counts the in-place writes to a storage as its views and detached aliases see it."""

    __slots__ = ("n", "where")

    def __init__(self) -> None:
        self.n = 0
        self.where: Any = None


class InferenceVersion(Version):
    """Takes the place of the counter of every tensor made in inference mode: writes are not counted.

    n is -1, so that whoever compares counters looks closer; writing outside of inference mode is an error."""

    __slots__ = ()

    @property
    def n(self) -> int:  # type: ignore[override]
        """The number of writes that stands for none being counted."""
        return -1

    @n.setter
    def n(self, value: int) -> None:
        if not LOCAL.s.inference:
            raise RuntimeError(UPDATED_OUTSIDE)


UPDATED_OUTSIDE = (
    "Inplace update to inference tensor outside InferenceMode is not allowed.You can make a clone to get a normal "
    "tensor before doing inplace update.See https://github.com/pytorch/rfcs/pull/17 for more details."
)
INFERENCE = object.__new__(InferenceVersion)
vars(Version)["n"].__set__(INFERENCE, -1)  # where builtins read it


def check_writable(t: Tensor) -> None:
    """The error of writing to an inference tensor outside of inference mode."""
    if t._ver is INFERENCE and not LOCAL.s.inference:
        raise RuntimeError(UPDATED_OUTSIDE)


class Storage:
    """A linear buffer. `pend` is the stream that promised its bytes, None once they exist (`ptr` is their address).

    home/sid: the name table of the stream that knows it at present, and its number there (see stream/record.py).
    info: None, or what is unusual about it (foreign owner, read-only, poisoned by a failed flush).
    """

    __slots__ = ("__weakref__", "block", "home", "info", "nbytes", "pend", "ptr", "sid")

    pend: Any  # a Stream
    home: Any
    info: Any  # a StorageInfo

    def __init__(self, nbytes: int = 0, block: Any = None, ptr: int = 0):
        self.nbytes, self.block, self.ptr = nbytes, block, ptr
        self.pend = self.home = self.info = None
        self.sid = -1

    def resizable(self) -> bool:
        """Whether its size may change: neither is it another's memory, taken over or not, nor do others see it."""
        info = self.info
        if info is not None and not (info.resizable and info.owner is None and not info.exported):
            return False
        return self.block is None or hasattr(self.block, "ptr")


class StorageInfo:
    """What is unusual about a storage."""

    __slots__ = ("exported", "owner", "poison", "readonly", "resizable")

    def __init__(self) -> None:
        self.owner: Any = None  # the foreign object that owns the memory
        self.exported = 0  # live NumPy/DLPack views of it
        self.readonly = False
        self.poison: BaseException | None = None
        self.resizable = True

    def plain(self) -> bool:
        """Whether nothing is unusual any more."""
        return (
            not self.exported and self.owner is self.poison is None and not self.readonly and self.resizable
        )


class _Absent(StorageInfo):
    """What is unusual about the storages of tensors on the device meta: they have a size, and never bytes."""

    __slots__ = ()

    def plain(self) -> bool:
        """They never get bytes."""
        return False


ABSENT = _Absent()
NO_DATA = "Cannot copy out of meta tensor; no data!"


def absent_storage(nbytes: int) -> Storage:
    """A storage on the device meta."""
    st = Storage(nbytes)
    st.info = ABSENT
    return st


def absent_tensor(shape: Shape, strides: Shape, d: dtype, off: int = 0, nbytes: int | None = None) -> Tensor:
    """A tensor on the device meta; off, nbytes: where it begins in its storage, and the size of that."""
    meta = intern_meta(tuple(shape), tuple(strides), d, META)
    if nbytes is None:
        nbytes = extent_bytes(shape, strides, off) * d.itemsize
    return fresh_tensor(absent_storage(nbytes), meta, off)


class Extras:
    """What few tensors have: .grad, hooks, the leaf's AccumulateGrad node."""

    __slots__ = ("acc", "grad", "hooks", "name", "post_hooks", "retains")

    def __init__(self) -> None:
        self.grad: Tensor | None = None
        self.acc: Any = None  # weak reference to the AccumulateGrad node
        self.hooks: dict[int, Any] | None = None
        self.post_hooks: dict[int, Any] | None = None
        self.retains = False
        self.name: str | None = None


class Tensor:
    """A multi-dimensional array of one dtype. The methods are bound from the book of ops (flambeau.ops).

    _st, _off, _meta: storage, offset in elements, metadata. _rg: requires_grad (also true of every result of a node).
    _gf, _nr: the node it is output number _nr of. _ver: version counter, None while it is zero and unshared
    (INFERENCE: made in inference mode).
    _vw: None, or of a view (base, mode, version at which _gf was last right);
    mode: "", "no_grad", "inference" or "multi".
    """

    __slots__ = ("__dict__", "__weakref__", "_gf", "_meta", "_nr", "_off", "_rg", "_st", "_ver", "_vw", "_x")

    _st: Storage
    _off: int
    _meta: Meta
    _rg: bool
    _gf: Any
    _nr: int
    _ver: Version | None
    _vw: tuple[Tensor, str, int] | None
    _x: Extras | None

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """Methods and operators are bound when the book of ops is loaded."""

        def __ne__(self, other: object) -> Any: ...


new_object = object.__new__


def make_tensor(st: Storage, meta: Meta, off: int = 0, cls: type = Tensor) -> Tensor:
    """A tensor over a storage, without history."""
    t: Any = new_object(cls)
    t._st = st
    t._off = off
    t._meta = meta
    t._rg = False
    t._gf = None
    t._nr = 0
    t._ver = None
    t._vw = None
    t._x = None
    return t


def fresh_tensor(st: Storage, meta: Meta, off: int = 0) -> Tensor:
    """A tensor over new memory: in inference mode, one of those that count no writes."""
    t = make_tensor(st, meta, off)
    t._ver = LOCAL.s.fresh
    return t


def extras(t: Tensor) -> Extras:
    """What few tensors have, made on first need."""
    x = t._x
    if x is None:
        x = t._x = Extras()
    return x


def version_of(t: Tensor) -> Version:
    """The counter of t, made on first need and then known to the node whose result t is."""
    v = t._ver
    if v is None:
        v = t._ver = Version()
        if t._gf is not None:
            t._gf.result_version = v
    return v


class Node:
    """One public op in the graph of gradients.

    edges: one entry for each differentiable input, (node, output number) or None.
    saved: what the entry's gradient names, in its order; versions: their version numbers when saved (None: all 0).
    """

    __slots__ = (
        "__weakref__",
        "edges",
        "form",
        "hooks",
        "metadata_",
        "needs",
        "out",
        "result_version",
        "saved",
        "versions",
    )

    edges: tuple[tuple[Node, int] | None, ...]
    title = "Node"

    def __init__(self) -> None:
        self.edges = ()
        self.saved: Any = None
        self.versions: Any = None
        self.form: Any = None
        self.needs = 0
        self.out: Any = None  # Meta of the output, or a tuple of them
        self.hooks: Any = None
        self.result_version: Any = None
        self.metadata_: Any = None

    def name(self) -> str:
        """The class's name, as in PyTorch."""
        return type(self).__name__

    @property
    def metadata(self) -> dict[str, Any]:
        """A dict for the user's and anomaly detection's notes."""
        if self.metadata_ is None:
            self.metadata_ = {}
        return self.metadata_

    @property
    def next_functions(self) -> tuple[tuple[Node | None, int], ...]:
        """(node, output number) for each input; (None, 0) where none is needed."""
        return tuple((None, 0) if e is None else e for e in self.edges)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} object at {id(self):#x}>"

    def apply(self, grads: tuple[Tensor | None, ...]) -> tuple[Tensor | None, ...]:
        """The gradients of the inputs from those of the outputs, aligned with `edges`."""
        raise NotImplementedError

    def release(self) -> None:
        """Forget what was saved: the graph has been walked for the last time."""
        if self.saved:
            self.saved = RELEASED


class _Released:
    __slots__ = ()


RELEASED = _Released()


class Stream:
    """The instructions of one thread since its last flush, and the thread's modes.

    slots: the name table: storages, and the numbers and offsets that instructions use; code: the instructions, flat:
    a Form followed by one slot number for each operand and output (~n: a slot number, then that of the offset).
    fresh: the version counter of new tensors: None, INFERENCE in inference mode.
    depth: > 0 when a mode (torch_function, vmap, capture, tracing, ...) must see every call.
    """

    __slots__ = (
        *(
            "__dict__",
            "backward",
            "bound",
            "busy",
            "byte_bound",
            "capture",
            "code",
            "depth",
            "eager",
            "flush_after",
            "fresh",
            "grad",
            "ids",
        ),
        *(
            "inference",
            "lock",
            "looked",
            "modes",
            "pending_bytes",
            "place",
            "progress",
            "running",
            "sites",
            "slots",
            "snapshots",
            "thread",
        ),
        *("trace", "written"),
    )

    def __init__(self) -> None:
        self.slots: list[Any] = []
        self.code: list[Any] = []
        self.ids: dict[int, int] = {}
        self.pending_bytes = 0
        self.depth = 0
        self.grad = True
        self.inference: Any = False  # True; "grad": enable_grad was entered in it
        self.fresh: Any = None
        self.backward = 0  # depth of backward passes under way
        self.modes: list[Any] = []
        self.place: Any = None  # META while a constructor makes a tensor there
        self.lock = threading.RLock()
        self.busy = False  # it is being flushed by the definition in Python, under the lock
        self.thread = threading.current_thread()
        self.running: Any = None  # the name table of the flush under way
        self.progress: Any = None  # how far it came, where a builtin runs it
        self.capture: Any = None  # the call under capture (stream/capture.py)
        self.looked: Any = None  # how much of `code` was weighed (stream/boundary.py)
        self.bound = (
            6 * config.max_instructions
        )  # length of code, and bytes promised, at which a flush is forced
        self.byte_bound = config.max_pending_bytes
        self.eager = config.eager
        self.flush_after = False  # the instruction being recorded reads foreign memory: run it now
        self.written: set[int] = set()  # slots written in place
        self.snapshots: dict[
            int, Storage
        ] = {}  # copies of foreign memory that were read, by the id of its storage
        self.sites: list[Any] = []  # where the recorded instructions with checks were called
        self.trace: Any = None  # the trace that prims are emitted to while an op's body runs

    # The three ways to run what is recorded; stream/flush.py, loaded by the first call, takes their place.

    def flush(self) -> None:
        """Run everything recorded."""
        _load_flush()
        self.flush()

    def flush_at_bound(self) -> None:
        """A bound was passed while recording."""
        _load_flush()
        self.flush_at_bound()

    def flush_for_other(self) -> None:
        """Another thread needs what this stream promised."""
        _load_flush()
        self.flush_for_other()


def _load_flush() -> None:
    from . import flush  # noqa: F401  (gives Stream its methods)


STREAMS: list[Stream] = []  # of all threads, and of those that ended with something recorded
ENTERING = threading.Lock()  # held while a storage moves to the name table of another stream


class _Local(threading.local):
    def __init__(self) -> None:
        self.s = Stream()
        for other in STREAMS[:]:
            if not other.code and other.running is None and not other.thread.is_alive():
                with contextlib.suppress(ValueError):  # another thread that begins removed it just now
                    STREAMS.remove(other)
        STREAMS.append(self.s)


LOCAL = _Local()
AT_FLUSH: list[Callable[[], None]] = []  # what other threads have prepared for the next flush
AT_FIRST_KERNEL: list[Callable[[], None]] = []  # what is to be done once there is machine code
NUMBERS = frozenset((int, float, bool, Whole, Real))
PLAIN: set[type] = {Tensor}  # Parameter joins it
