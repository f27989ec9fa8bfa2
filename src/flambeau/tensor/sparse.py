"""Sparse tensors in coordinates (COO): a Tensor whose elements are two others, indices and values.

Indices (sparse_dim, nnz) and values (nnz, *dense) are ordinary tensors, so that all work on them is recorded as any
other, and the history of a sparse tensor is that of its values. Ops meet it at the one interception point:
`__torch_function__` knows those of sparse_rules.py and refuses all others. Its storage raises when it is read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..dtypes import bool_, int64, sparse_coo
from ..errors import fail
from ..ops.entry import FUNCTIONS
from ..ops.gather import places_of
from ..shapes import numel
from ..stream.capture import outside
from ..stream.value import Storage, StorageInfo, Tensor, intern_meta, new_object
from . import display
from .create import as_numpy

DENSE = "use to_dense()"
RULES: dict[str, Callable[..., Any]] = {}  # what ops do with sparse operands, by the op's name
NOWHERE = Storage()  # the storage of every sparse tensor
NOWHERE.info = StorageInfo()
NOWHERE.info.resizable = False
NOWHERE.info.poison = NotImplementedError(
    f"a sparse tensor has no dense storage, and this operation is not there for sparse tensors; {DENSE}"
)


class Parts:
    """What a sparse tensor is at present; coalesced: indices are in order and no two are equal."""

    __slots__ = ("coalesced", "indices", "values")

    def __init__(self, indices: Any, values: Any, coalesced: bool):
        self.indices, self.values, self.coalesced = indices, values, coalesced


class SparseTensor(Tensor):
    """A tensor of layout torch.sparse_coo: zero but for values (nnz, *dense) at indices (sparse_dim, nnz)."""

    __slots__ = ("_parts",)
    _parts: Parts

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        rule = RULES.get(func.__name__)
        if rule is None:
            found = next(a for a in _flat((*args, *(kwargs or {}).values())) if isinstance(a, SparseTensor))
            refuse(func.__name__, found)
        return rule(*args, **(kwargs or {}))

    is_sparse = property(lambda t: True)
    layout = property(lambda t: sparse_coo)
    requires_grad = property(
        lambda t: t._parts.values.requires_grad, lambda t, wanted: t.requires_grad_(wanted)
    )
    grad_fn = property(lambda t: t._parts.values.grad_fn)
    is_leaf = property(lambda t: t._parts.values.grad_fn is None)
    data = property(lambda t: t.detach(), lambda t, other: refuse("data", t))
    nbytes = property(lambda t: refuse("nbytes", t, RuntimeError))
    _version = property(lambda t: t._parts.values._version)

    def _indices(self) -> Any:
        """The indices as they are, coalesced or not."""
        return self._parts.indices

    def _values(self) -> Any:
        """The values as they are, coalesced or not."""
        return self._parts.values

    def indices(self) -> Any:
        """The indices (sparse_dim, nnz) of a coalesced tensor."""
        return _coalesced(self, "indices").indices

    def values(self) -> Any:
        """The values (nnz, *dense) of a coalesced tensor."""
        return _coalesced(self, "values").values

    def _nnz(self) -> int:
        """How many indices are kept."""
        return self._parts.indices.shape[1]

    def sparse_dim(self) -> int:
        """The number of dimensions that are indexed."""
        return self._parts.indices.shape[0]

    def dense_dim(self) -> int:
        """The number of dimensions of each value."""
        return self._parts.values.ndim - 1

    def is_coalesced(self) -> bool:
        """Whether the indices are in order and no two are equal."""
        return self._parts.coalesced

    def _coalesced_(self, coalesced: bool) -> Any:
        self._parts.coalesced = coalesced
        return self

    def coalesce(self) -> Any:
        """The same tensor with each index once, in order; the values of equal ones are added. Reads the indices."""
        return self if self._parts.coalesced else coalesced(self)

    def to_dense(self, dtype: Any = None, *, masked_grad: bool | None = None) -> Any:
        """The tensor with all its zeros."""
        t = dense(self)
        return t if dtype is None else t.to(dtype)

    def to_sparse(self, sparse_dim: Any = None, *, layout: Any = None, **rest: Any) -> Any:
        """The tensor itself."""
        wanted = sparse_dim if isinstance(sparse_dim, int) else self.sparse_dim()
        if wanted != self.sparse_dim() or layout not in (None, sparse_coo) or rest:
            fail(
                RuntimeError,
                "to_sparse: conversion from Sparse to Sparse with sparse_dim argument !=self.sparse_dim() is not "
                "supported",
            )
        return self

    to_sparse_coo = to_sparse

    def detach(self) -> Any:
        """A tensor of the same indices and values outside of the graph."""
        p = self._parts
        return of_parts(Parts(p.indices, p.values.detach(), p.coalesced), self._meta)

    def detach_(self) -> Any:
        """Leave the graph."""
        self._parts.values = self._parts.values.detach()
        return self

    def requires_grad_(self, requires_grad: bool = True) -> Any:
        """False: leave the graph. True is refused: gradients are asked for by the values."""
        if requires_grad and not self.requires_grad:
            fail(
                NotImplementedError,
                "requires_grad_: a sparse tensor as a leaf of the graph is not there yet",
                "let the values require a gradient",
                self=self,
            )
        return self if requires_grad else self.detach_()

    def numpy(self, *, force: bool = False) -> Any:
        """TypeError: there is no memory to share."""
        raise TypeError("can't convert Sparse layout tensor to numpy. Use Tensor.to_dense() first.")

    __array__ = numpy

    def is_contiguous(self, memory_format: Any = None) -> bool:
        """False: there are no strides."""
        return False

    def contiguous(self, memory_format: Any = None) -> Any:
        """Refused: there are no strides."""
        refuse("contiguous", self)

    def storage(self) -> Any:
        """Refused: there is none."""
        refuse("storage", self)

    untyped_storage = storage
    _typed_storage = storage

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        if id(self) not in memo:
            p = self._parts
            memo[id(self)] = make(p.indices.clone(), p.values.detach().clone(), self.shape, p.coalesced)
        return memo[id(self)]

    def __copy__(self) -> Any:
        p = self._parts
        return of_parts(Parts(p.indices, p.values, p.coalesced), self._meta)

    def __reduce_ex__(self, protocol: Any) -> Any:
        p = self._parts
        return make, (p.indices, p.values.detach(), tuple(self.shape), p.coalesced)

    def _shown(self) -> tuple[tuple[str, Any], ...]:
        return ("indices", self._indices().detach()), ("values", self._values().detach())

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        return text(self)


def refuse(name: str, t: Any, kind: type[Exception] = NotImplementedError) -> Any:
    """The error of an op that does not take sparse tensors."""
    fail(kind, f"{name.lstrip('_')}: it is not there for sparse tensors", DENSE, self=t)


def _flat(values: Any) -> Any:
    for v in values:
        yield from v if isinstance(v, (list, tuple)) else (v,)


def _coalesced(t: SparseTensor, name: str) -> Parts:
    if not t._parts.coalesced:
        fail(
            RuntimeError,
            f"{name}: Cannot get {name} on an uncoalesced tensor, please call .coalesce() first",
            self=t,
        )
    return t._parts


def make(indices: Any, values: Any, size: Any, coalesced: bool = False) -> SparseTensor:
    """A sparse tensor of parts that are known to be right."""
    outside("a sparse tensor is made")
    meta = intern_meta(tuple(size), (0,) * len(size), values.dtype, values.device)
    return of_parts(Parts(indices, values, coalesced), meta)


def of_parts(parts: Parts, meta: Any, kind: type = SparseTensor) -> SparseTensor:
    """A sparse tensor of these parts and metadata."""
    t: Any = new_object(kind)
    t._st, t._off, t._meta, t._rg, t._gf, t._nr, t._ver, t._vw, t._x = (
        NOWHERE, 0, meta, False, None, 0, None, None, None,
    )  # fmt: skip
    t._parts = parts
    return t


def flat_indices(t: SparseTensor) -> Any:
    """The indices (nnz) of the values in a table of prod(size[:sparse_dim]) rows."""
    indices, extents = t._parts.indices, t.shape[: t.sparse_dim()]
    if len(extents) == 1:
        return indices.reshape(-1)
    return joined(FUNCTIONS["zeros"](indices.shape[1], dtype=int64), indices.unbind(0), extents)


def joined(flat: Any, rows: Any, extents: Any) -> Any:
    """One index for several, in tensors or arrays; flat: zeros to begin with."""
    for row, extent in zip(rows, extents):
        flat = flat * extent + row
    return flat


def rows_of(t: SparseTensor) -> int:
    """The number of rows of that table."""
    return numel(t.shape[: t.sparse_dim()])


def dense(t: SparseTensor) -> Any:
    """The tensor with all its zeros; values of equal indices are added."""
    return summed(rows_of(t), flat_indices(t), t._parts.values).reshape(tuple(t.shape))


def summed(count: int, places: Any, values: Any) -> Any:
    """A table of so many rows: zeros, to which values are added at their places, in their order."""
    d = values.dtype
    if d is bool_:
        values = values.to(int64)
    table = FUNCTIONS["zeros"]((count, *values.shape[1:]), dtype=values.dtype)
    return FUNCTIONS["index_add"](table, 0, places, values).to(d)


def coalesced(t: SparseTensor) -> SparseTensor:
    """`t.coalesce()`: the indices are read, the values are added by the stream in the order in which they stand."""
    import numpy as np

    p = t._parts
    outside("the indices of a sparse tensor are read")
    columns = as_numpy(p.indices.detach())
    flat = columns[0] if len(columns) == 1 else joined(np.zeros(columns.shape[1], np.int64), columns, t.shape)
    _, first, places = np.unique(flat, return_index=True, return_inverse=True)
    if len(first) == len(flat):  # nothing to add: the values in order
        values = FUNCTIONS["index_select"](p.values, 0, places_of(first))
    else:
        values = summed(len(first), places_of(places.reshape(-1)), p.values)
    return make(places_of(columns[:, first]), values, t.shape, True)


def text(t: SparseTensor) -> str:
    """repr of a sparse tensor, as PyTorch's."""
    indent = len("tensor(")
    parts = []
    for name, part in t._shown():
        prefix = f"{name}=tensor("
        body = display.contents(part, indent + len(prefix))
        parts.append(f"{prefix}{body}" + (f", size={tuple(part.shape)}" if not part.numel() else "") + ")")
    suffixes = [f"size={tuple(t.shape)}", f"nnz={t._nnz()}"]
    if not display.is_usual(t.dtype):
        suffixes.append(f"dtype={t.dtype}")
    suffixes.append(f"layout={t.layout}")
    if t.grad_fn is not None:
        suffixes.append(f"grad_fn=<{t.grad_fn.name()}>")
    elif t.requires_grad:
        suffixes.append("requires_grad=True")
    body = "tensor(" + (",\n" + " " * indent).join(parts)
    return display.with_suffixes(body, suffixes, indent, break_first=t.is_sparse)
