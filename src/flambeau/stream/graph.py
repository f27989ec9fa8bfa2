"""The graph a traced op becomes: values (`Val`: views of buffers), the nodes that make them, and the prims.

An op's body runs once for each combination of metadata and static arguments, with `Val` operands. Every prim it reaches
appends one `GNode` to the trace. All extents are concrete here; kernels take them as arguments later.

Prims: map (one scalar operation of the loop IR for each element), index (the coordinate along a dimension), const,
reduce, take (indexed read), store (write into a view) and opaque (a recipe of its own: contraction, convolution, sort,
scatter, random numbers, an external routine).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..dtypes import BY_SHORT, CPU, dtype, float32, int64, result_type
from ..errors import fail
from ..loop.spec import OPS
from ..shapes import (
    Shape,
    Size,
    broadcast,
    contiguous_strides,
    dense_strides_like,
    expand_strides,
    image_strides,
    is_contiguous,
    numel,
)
from ..symbols import Real, Whole
from .value import COMPLEX_NUMBER, LOCAL, Meta, intern_meta

LOOKING = ("scatter", "bags", "cholesky", "lu", "ctc")  # opaque nodes that check indices or what they compute


class Buffer:
    """Memory of the graph: an operand of the op (src = its number) or the result of a node (src = the node).

    parts: None, or what a buffer of complex numbers stands for, since nodes know real numbers only (see pairs.py): the
    real buffer of the interleaved parts, or two values, which have no memory in common."""

    __slots__ = ("dtype", "parts", "shape", "src", "strides")

    def __init__(self, src: Any, shape: Shape, strides: Shape, d: dtype, parts: Any = None):
        self.src, self.shape, self.strides, self.dtype, self.parts = src, shape, strides, d, parts


class GNode:
    """kind: map, index, const, reduce, take, store, empty, opaque. `op`: the scalar operation or the recipe's name."""

    __slots__ = ("attrs", "ins", "kind", "op", "outs")

    def __init__(self, kind: str, op: str, ins: tuple[Val, ...], attrs: Any):
        self.kind, self.op, self.ins, self.attrs = kind, op, ins, attrs
        self.outs: list[Buffer] = []


class Val:
    """A view of a graph buffer; inside an op's body it has all the methods of a tensor. level: see result_type."""

    __slots__ = ("buf", "dtype", "level", "off", "shape", "strides")

    def __init__(self, buf: Buffer, shape: Shape, strides: Shape, off: int, level: int = 2):
        self.buf, self.shape, self.strides, self.off = buf, Size(shape), strides, off
        self.dtype, self.level = buf.dtype, level

    requires_grad, device, is_leaf, is_sparse, layout = False, CPU, True, False, None

    if TYPE_CHECKING:  # bound when the book of ops is loaded

        def __getattr__(self, name: str) -> Any: ...

        def __mul__(self, other: Any) -> Any: ...

        def __or__(self, other: Any) -> Any: ...

        def __floordiv__(self, other: Any) -> Any: ...

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return len(self.shape)

    @property
    def meta(self) -> Meta:
        """Shape, strides and dtype as one interned object; of symbols (symbols.py) their values."""
        return intern_meta(tuple(map(int, self.shape)), tuple(map(int, self.strides)), self.dtype)

    def view_as(self, shape: Shape, strides: Shape, off: int) -> Val:
        """Another view of the same buffer."""
        return Val(self.buf, shape, strides, off, 2 if shape else self.level)

    def __repr__(self) -> str:
        return f"Val({tuple(self.shape)}, {self.dtype.name})"

    def __bool__(self) -> bool:
        raise TypeError("the value of a tensor is not known while an op is traced")


class Trace:
    """The nodes of one op, and its operands as buffers. each: it holds several ops, of which each rounds its result.

    given: of these, the numbers that the op under way was called with.
    rows: of an instruction over lists, for each row what it is, traced once for rows that are alike, and its operands.
    """

    each = False
    like: Trace | None = None  # of a row: another one that differs in its extents alone
    given: Any = frozenset()
    rows: Sequence[tuple[Trace, tuple[int, ...]]] = ()

    def __init__(self) -> None:
        self.nodes: list[GNode] = []
        self.operands: list[Buffer] = []
        self.numbers: set[int] = set()  # which operands are Python numbers

    def operand(self, meta: Meta) -> Val:
        """The next operand, a tensor of this metadata."""
        buf = Buffer(len(self.operands), meta.shape, meta.strides, meta.dtype)
        if meta.dtype.is_complex:
            buf.parts = interleaved(buf)
        self.operands.append(buf)
        return Val(buf, meta.shape, meta.strides, 0, 2 if meta.ndim else 0 if meta is COMPLEX_NUMBER else 1)

    def number(self, kind: type) -> Val:
        """A Python number as an operand: its value is an argument, its kind takes part in promotion."""
        from ..dtypes import bool_, float64

        d = float64 if kind is float else int64 if kind is int else bool_
        buf = Buffer(len(self.operands), (), (), d)
        self.numbers.add(len(self.operands))
        self.operands.append(buf)
        return Val(buf, (), (), 0, 0)


def interleaved(buf: Buffer) -> Buffer:
    """The memory of a buffer of complex numbers, as that of their real and imaginary parts in turn."""
    strides = tuple([2 * s for s in buf.strides])
    return Buffer(buf.src, (*buf.shape, 2), (*strides, 1), buf.dtype.part)


COMPLEX: dict[
    str, Any
] = {}  # the prims of complex values (pairs.py), which are composed of those of real ones


def emit(
    kind: str, op: str, ins: tuple[Val, ...], attrs: Any, outs: Sequence[tuple[Shape, Shape, dtype]]
) -> list[Val]:
    """Append a node to the trace under way; its results as values."""
    node = GNode(kind, op, ins, attrs)
    vals = []
    for shape, strides, d in outs:
        buf = Buffer(node, tuple(shape), strides, d)
        node.outs.append(buf)
        vals.append(Val(buf, shape, strides, 0, 2 if shape else 1))
    LOCAL.s.trace.nodes.append(node)  # type: ignore[attr-defined]
    return vals


def const(value: Any, d: dtype) -> Val:
    """A number that is part of the op's definition: baked into the kernel."""
    if d.is_complex:
        return COMPLEX["const"](value, d)
    if type(value) is Whole or type(value) is Real:
        value = value * 1.0 if d.is_floating_point else value
    else:
        value = bool(value) if d.short == "b1" else float(value) if d.is_floating_point else int(value)
    return emit("const", "const", (), (value,), [((), (), d)])[0]


KINDS: dict[type, type] = {Whole: int, Real: float}  # what symbols are for promotion


def as_val(x: Any, like: dtype | None = None) -> Val:
    """A traced value as it is; a number as a constant of promotion level 0."""
    if type(x) is Val:
        return x
    from ..dtypes import number_dtype

    val = const(x, like or number_dtype(KINDS.get(type(x), type(x))))
    val.level = 0
    return val


def cast(x: Val, d: dtype) -> Val:
    """x in another dtype; of complex numbers the real part, if it is a real one."""
    if x.dtype is d:
        return x
    if x.dtype.is_complex or d.is_complex:
        return COMPLEX["cast"](x, d)
    node = x.buf.src
    if type(node) is GNode and node.kind == "const":
        return const(node.attrs[0], d).view_as(x.shape, x.strides, 0) if x.shape else const(node.attrs[0], d)
    out = map_("cast", x, out=d)
    out.level = x.level
    return out


def promote(*operands: Val) -> dtype:
    """The common dtype of operands under PyTorch's promotion (numbers and 0-dim tensors give way)."""
    from ..dtypes import default_dtype

    pairs = []
    numbers_only = max(v.level for v in operands) == 0  # arithmetic of numbers alone is Python's: float64
    for v in operands:
        d = v.dtype
        if v.level == 0 and not numbers_only and d.is_inexact:
            d = default_dtype().to_complex() if d.is_complex else default_dtype()
        pairs.append((d, v.level))
    return result_type(pairs)


def expand(x: Val, shape: Shape) -> Val:
    """x broadcast to a shape. RuntimeError where it does not fit."""
    if tuple(x.shape) == tuple(shape):
        return x
    lead = len(shape) - len(x.shape)
    for d, (n, want) in enumerate(zip(x.shape, shape[lead:] if lead >= 0 else ())):
        if n not in (1, want):
            fail(
                RuntimeError,
                f"expand: The expanded size of the tensor ({want}) must match the existing size ({n}) at non-singleton "
                f"dimension {d + lead}. Target sizes: {list(shape)}. Tensor sizes: {list(x.shape)}",
            )
    if lead < 0:
        fail(
            RuntimeError,
            f"expand: the number of sizes provided ({len(shape)}) must be greater or equal to the "
            "number of dimensions in "
            f"the tensor ({len(x.shape)}). Target sizes: {list(shape)}. Tensor sizes: {list(x.shape)}",
        )
    return Val(x.buf, shape, expand_strides(x.shape, x.strides, shape), x.off, x.level)


class NoSuchOperation(NotImplementedError):
    """An operation is traced for elements of a dtype that it is not defined for."""

    def __init__(self, op: str, d: dtype):
        super().__init__(f"no operation {op} on {d.name}")
        self.dtype = d


def defined(op: str, d: dtype) -> None:
    """NoSuchOperation if the loop IR has no such operation on elements of this dtype (complex numbers are pairs)."""
    rule = OPS.get(op)
    if rule is not None and not d.is_complex and d.short not in rule.types:
        raise NoSuchOperation(op, d)


def map_(op: str, *operands: Any, out: dtype | None = None, name: str = "") -> Val:
    """One scalar operation of the loop IR for each element of the broadcast operands.

    Operands must have the types the operation wants; `out` is the result's dtype (default: that of the last operand).
    """
    vals = [as_val(v) for v in operands]
    if any(v.dtype.is_complex for v in vals):
        return COMPLEX["map"](op, vals, name)
    if op == "mul":  # x * 1 is x, to the last bit
        for x, one in ((vals[0], vals[1]), (vals[1], vals[0])):
            src = one.buf.src
            if (
                type(src) is GNode
                and src.kind == "const"
                and src.attrs[0] == 1
                and not one.shape
                and x.level >= one.level
            ):
                return x
    defined(op, vals[0].dtype)
    shape = vals[0].shape
    for v in vals[1:]:
        if v.shape != shape:
            shape = Size(broadcast(name or op, *(w.shape for w in vals)))
            break
    ins = tuple(expand(v, shape) for v in vals)
    strides = None
    for v in ins:
        if v.strides != contiguous_strides(shape) and v.buf.shape and numel(v.shape) == numel(v.buf.shape):
            strides = dense_strides_like(shape, v.strides)
            break
        if v.level and tuple(v.shape) == tuple(shape) and 0 not in v.strides:
            break
    made = (shape, strides or contiguous_strides(shape), out or vals[-1].dtype)
    result = emit("map", op, ins, (), [made])[0]
    result.level = max(v.level for v in vals)
    if result.level == 2 and not shape:
        result.level = 1
    return result


def index_(shape: Shape, dim: int) -> Val:
    """The int64 coordinate along `dim` for every element of `shape`."""
    return emit("index", "index", (), (dim,), [(shape, contiguous_strides(shape), int64)])[0]


def reduce_(kind: str, x: Val, dims: Shape, out: dtype | None = None) -> Val:
    """Combine over `dims` (which disappear): add, mul, min, max, and, or, argmax, argmin.

    min/max: a NaN wins. argmax/argmin give the first position, as int64, in the row-major order of `dims`.
    """
    if x.dtype.is_complex:
        return COMPLEX["reduce"](kind, x, dims)
    shape = tuple(n for d, n in enumerate(x.shape) if d not in dims)
    arg = kind in ("argmax", "argmin")
    d = int64 if arg else out or x.dtype
    defined(kind, d)
    if 0 in x.shape:
        return expand(const(_IDENTITY[kind], d), shape)
    ones = [e for e in dims if x.shape[e] == 1]
    if ones:
        left = [e for e in range(len(x.shape)) if e not in ones]
        x = Val(x.buf, tuple(x.shape[e] for e in left), tuple(x.strides[e] for e in left), x.off, x.level)
        dims = tuple(left.index(e) for e in dims if e not in ones)
    if not dims:
        return expand(const(0, int64), x.shape) if arg else map_("copy", cast(x, d))
    return emit("reduce", kind, (x,), tuple(sorted(dims)), [(shape, contiguous_strides(shape), d)])[0]


_IDENTITY = {"add": 0, "mul": 1, "or": 0, "and": 1, "min": 0, "max": 0, "argmax": 0, "argmin": 0}


def take(
    src: Val, index: dict[int, Val], shape: Shape, dims: Sequence[int | None], label: str = "index"
) -> Val:
    """src read at computed positions: dimension d of src is indexed by index[d] (int64, broadcastable to `shape`) or
    by the result's own coordinate along dims[d]. Negative indices count from the end. Out of range is an IndexError
    that names `label`, the value and its position."""
    if src.dtype.is_complex:
        return COMPLEX["take"](src, index, shape, dims, label)
    at = sorted(index)
    ins = (src, *(expand(cast(index[d], int64), shape) for d in at))
    attrs = (tuple(at), tuple(dims), label)
    return emit("take", label, ins, attrs, [(shape, contiguous_strides(shape), src.dtype)])[0]


def once(dest: Val, value: Val) -> tuple[Val, Val]:
    """A write without its repetitions: where one value goes to one place again and again, once will do."""
    if value is dest or tuple(value.shape) != tuple(dest.shape) or 0 not in dest.strides:
        return dest, value
    kept = [1 if a == b == 0 < n else n for a, b, n in zip(dest.strides, value.strides, dest.shape)]
    shape = tuple(kept)
    return dest.view_as(shape, dest.strides, dest.off), value.view_as(shape, value.strides, value.off)


def store(dest: Val, value: Val) -> None:
    """Write value into a view of an operand (or of another buffer); shapes broadcast to dest's."""
    if value.dtype is not dest.dtype:
        value = cast(value, dest.dtype)
    if dest.dtype.is_complex:
        return COMPLEX["store"](dest, value)
    emit("store", "store", (dest, expand(value, dest.shape)), (), [])


def empty(shape: Shape, d: dtype, strides: Shape | None = None) -> Val:
    """Uninitialised memory, to be filled by `store`."""
    if d.is_complex:
        return COMPLEX["empty"](shape, d, strides or contiguous_strides(shape))
    return emit("empty", "empty", (), (), [(shape, strides or contiguous_strides(shape), d)])[0]


def blank(shape: Shape, d: dtype, strides: Shape | None = None) -> Val:
    """Zeros to be written into."""
    out = empty(shape, d, strides)
    if numel(shape):
        store(out, expand(const(0, d), shape))
    return out


def permuted(x: Val, order: Sequence[int]) -> Val:
    """The view whose dimension k is dimension order[k] of x."""
    return x.view_as(tuple([x.shape[d] for d in order]), tuple([x.strides[d] for d in order]), x.off)


def turned(x: Val) -> Val:
    """The view of a stack of matrices with each of them transposed."""
    return permuted(x, (*range(x.ndim - 2), x.ndim - 1, x.ndim - 2))


def opaque(name: str, ins: Sequence[Val], outs: Sequence[tuple[Shape, dtype]], attrs: Any = ()) -> list[Val]:
    """A node with a recipe of its own; outputs are contiguous. attrs must be hashable."""
    if any(v.dtype.is_complex for v in ins) or any(d.is_complex for _, d in outs):
        return COMPLEX["opaque"](name, ins, outs, attrs)
    triples = [(s, contiguous_strides(s), d) for s, d in outs]
    return emit("opaque", name, tuple(ins), attrs, triples)


def contiguous(x: Val) -> Val:
    """x itself if its elements lie in row-major order from the start of its buffer, else a copy."""
    if x.off == 0 and is_contiguous(x.shape, x.strides) and numel(x.shape) == numel(x.buf.shape):
        return x
    out = empty(tuple(x.shape), x.dtype)
    store(out, x)
    return out


def ordered(x: Val, last: bool) -> Val:
    """Fresh images in row-major order or with the channels innermost, as which they are copied if they are not."""
    strides = image_strides(x.shape, last)
    if x.strides == strides and numel(x.shape) == numel(x.buf.shape):
        return x
    out = empty(tuple(x.shape), x.dtype, strides)
    if numel(x.shape):
        store(out, x)
    return out


def laid_out(x: Val, strides: Shape) -> Val:
    """A fresh value in the memory order that strides say: written so where it was about to be row-major."""
    if x.strides == strides or not numel(x.shape):
        return x
    out = empty(tuple(x.shape), x.dtype, strides)
    store(out, x)
    return out


def short(v: Val) -> str:
    """The short name of a value's dtype, as "f32"."""
    return v.dtype.short


def from_short(name: str) -> dtype:
    """The dtype of a short name."""
    return BY_SHORT[name]


FLOAT = float32
