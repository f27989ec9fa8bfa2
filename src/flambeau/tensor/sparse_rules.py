"""What ops do with sparse tensors, the constructor, and the gradient of an embedding as rows of its table."""

from __future__ import annotations

from typing import Any

from ..dtypes import int64, promote_types, sparse_coo, sparse_csr
from ..errors import fail
from ..ops.entry import FUNCTIONS
from ..ops.registry import publish
from ..ops.rules import can_cast, scalar_name
from ..shapes import wrap_dim
from ..stream import gradient
from ..stream.value import LOCAL, NUMBERS, RELEASED, Node, Tensor
from .create import as_numpy
from .creation import tensor
from .sparse import (
    RULES,
    SparseTensor,
    coalesced,
    flat_indices,
    make,
    refuse,
    rows_of,
)

ENTRIES = 4096  # so many may stand in a small tensor before a sum coalesces them


def sparse_coo_tensor(
    indices: Any,
    values: Any = None,
    size: Any = None,
    *,
    dtype: Any = None,
    device: Any = None,
    pin_memory: bool = False,
    requires_grad: bool = False,
    check_invariants: bool | None = None,
    is_coalesced: bool | None = None,
) -> SparseTensor:
    """A sparse tensor of values (nnz, *dense) at indices (sparse_dim, nnz); values at equal indices add up.

    size: as large as the indices ask if not given; sparse_coo_tensor(size) has no values. RuntimeError for indices that
    are negative or not below size: they are always looked at.
    """
    if values is None:
        size, indices = tuple(indices), FUNCTIONS["zeros"]((len(indices), 0), dtype=int64)
        values = FUNCTIONS["zeros"](0, dtype=dtype)
    indices = (indices if isinstance(indices, Tensor) else tensor(indices)).to(int64)  # type: ignore[attr-defined]
    values = values if isinstance(values, Tensor) else tensor(values)
    if dtype is not None:
        values = values.to(dtype)  # type: ignore[attr-defined]
    values = values.reshape(1) if values.ndim == 0 else values  # type: ignore[attr-defined]
    _check_parts(indices, values)
    size = _checked_size(indices, values, size)
    t = make(indices, values, size, False)
    if is_coalesced:
        if not _in_order(t):
            raise RuntimeError(
                "cannot set is_coalesced to true if indices correspond to uncoalesced COO tensor"
            )
        t._coalesced_(True)
    return t.requires_grad_() if requires_grad else t


def _check_parts(indices: Any, values: Any) -> None:
    if indices.ndim == 1 and indices.numel():
        indices = indices.unsqueeze(1)
    if indices.ndim != 2:
        raise RuntimeError(f"indices must be sparse_dim x nnz, but got: {list(indices.shape)}")
    if indices.shape[1] != values.shape[0]:
        raise RuntimeError(
            f"indices and values must have same nnz, but got nnz from indices: {indices.shape[1]}, "
            f"nnz from values: {values.shape[0]}"
        )


def _checked_size(indices: Any, values: Any, size: Any) -> tuple[int, ...]:
    a = as_numpy(indices.detach())
    n = len(a)
    lows, highs = ([int(x) for x in f(1)] if a.shape[1] else [0] * n for f in (a.min, a.max))
    if size is None:
        size = (*[high + 1 if a.shape[1] else 0 for high in highs], *values.shape[1:])
    size = tuple(int(extent) for extent in size)
    if len(size) != n + values.ndim - 1:
        raise RuntimeError(
            "'len(size) == sparse_dim + dense_dim' is not satisfied: "
            f"len(size) = {len(size)}, sparse_dim = {n}, dense_dim = {values.ndim - 1}"
        )
    for d in range(n if a.shape[1] else 0):
        if lows[d] < 0:
            raise RuntimeError(f"found negative index {lows[d]} for dim {d}")
        if highs[d] >= size[d]:
            raise RuntimeError(
                f"size is inconsistent with indices: for dim {d}, size is {size[d]} but found index {highs[d]}"
            )
    if tuple(values.shape[1:]) != size[n:]:
        raise RuntimeError(
            f"values has incorrect size, expected {[values.shape[0], *size[n:]]}, got {list(values.shape)}"
        )
    return size


def _in_order(t: SparseTensor) -> bool:
    flat = as_numpy(flat_indices(t))
    return bool((flat[1:] > flat[:-1]).all())


def to_sparse(self: Any, sparse_dim: Any = None, *, layout: Any = None, **rest: Any) -> Any:
    """The tensor in coordinates of its first `sparse_dim` dimensions (all if not given); it is read."""
    if not isinstance(sparse_dim, (int, type(None))):
        sparse_dim, layout = None, sparse_dim
    if layout is sparse_csr and not rest:
        return self.to_sparse_csr()
    if layout not in (None, sparse_coo) or rest:
        fail(NotImplementedError, f"to_sparse: layout {layout} is not there yet", "use torch.sparse_coo")
    n = self.ndim if sparse_dim is None else sparse_dim
    if not 0 <= n <= self.ndim:
        raise RuntimeError(
            f"dense_to_sparse: sparse_dim argument must be in [0,{self.ndim}] range, but {n} is given"
        )
    if n == 0 and self.ndim:
        raise RuntimeError("dense_to_sparse: sparse_dim argument must be in >0 when self.dim()>0")
    if not self.ndim:
        return make(FUNCTIONS["zeros"]((0, 1), dtype=int64), self.reshape(1), (), True)
    here = self.detach() != 0
    kept = here if n == self.ndim else here.flatten(n).any(-1)
    places = FUNCTIONS["nonzero"](kept).t().contiguous()
    return make(places, self[tuple(places.unbind(0))], self.shape, True)


# --- ops --------------------------------------------------------------------------------------------------------------


def _with(t: SparseTensor, values: Any, is_coalesced: Any = None) -> SparseTensor:
    """Other values at the same indices."""
    p = t._parts
    return make(p.indices, values, t.shape, p.coalesced if is_coalesced is None else is_coalesced)


def add(input: Any, other: Any, *, alpha: Any = 1) -> Any:
    """sparse + sparse: both lists, one after the other; dense + sparse is dense. The gradients of a backward pass are
    added in either order."""
    if not isinstance(input, SparseTensor):
        if not isinstance(input, Tensor):
            return _no_dense_operand("add")
        d = promote_types(input.dtype, other.dtype)  # type: ignore[attr-defined]
        return _add_rows(input.to(d), other.to(d), alpha, False)  # type: ignore[attr-defined]
    if not isinstance(other, SparseTensor):
        if LOCAL.s.backward and isinstance(other, Tensor) and alpha == 1:
            return add(other, input)
        return _no_dense_operand("add")
    _same_sizes(input, other)
    d = promote_types(input.dtype, other.dtype)  # type: ignore[attr-defined]
    a, b = (x._parts for x in (input.to(d), other.to(d)))
    indices = FUNCTIONS["cat"]((a.indices, b.indices), 1)
    values = FUNCTIONS["cat"]((a.values, b.values if alpha == 1 else b.values * alpha), 0)
    t = make(indices, values, input.shape)
    if (a.coalesced and b.coalesced) or t._nnz() > max(2 * rows_of(t), ENTRIES):
        return coalesced(t)  # of two in order as in PyTorch; of many, lest they outgrow the dense tensor
    return t


def _no_dense_operand(name: str) -> Any:
    fail(RuntimeError, f"{name}(sparse, dense) is not supported. Use {name}(dense, sparse) instead.")


def _same_sizes(a: Any, b: Any) -> None:
    if tuple(a.shape) != tuple(b.shape) or a.sparse_dim() != b.sparse_dim():
        fail(
            RuntimeError,
            f"add: expected sizes of 'self' and 'other' to match, but {list(a.shape)} != {list(b.shape)}",
            self=a,
            other=b,
        )


def _add_rows(to: Any, t: SparseTensor, alpha: Any, inplace: bool) -> Any:
    """A dense tensor with the values of a sparse one added: only their rows are touched, if in place."""
    if tuple(to.shape) != tuple(t.shape):
        fail(
            RuntimeError,
            f"add: expected 'self' and 'other' to have same size, but self has size {list(to.shape)} while other has "
            f"size {list(t.shape)} (FYI: dense-sparse addition does not currently support broadcasting)",
        )
    if not can_cast(t.dtype, to.dtype):  # type: ignore[attr-defined]
        names = [scalar_name(x.dtype) for x in (t, to)]  # type: ignore[attr-defined]
        raise RuntimeError(f"Can't convert result type {names[0]} to output {names[1]} in add operation")
    values = t._parts.values.to(to.dtype)
    if t.sparse_dim() == 1:
        return FUNCTIONS["index_add_" if inplace else "index_add"](
            to, 0, flat_indices(t), values, alpha=alpha
        )
    at, scaled = tuple(t._parts.indices.unbind(0)), values if alpha == 1 else values * alpha
    if not at:
        scaled = scaled.sum(0)
        return to.add_(scaled) if inplace else to + scaled
    return (to if inplace else to.clone()).index_put_(at, scaled, accumulate=True)


def add_(self: Any, other: Any, *, alpha: Any = 1) -> Any:
    """In place: a dense tensor changes at the indices of `other` alone."""
    if not isinstance(self, SparseTensor):
        return _add_rows(self, other, alpha, True)
    total = add(self, other, alpha=alpha)
    _write(self, total)
    return self


def _write(t: SparseTensor, new: Any) -> None:
    p, q = t._parts, new._parts
    p.indices, p.values, p.coalesced = q.indices, q.values.to(p.values.dtype), q.coalesced


def sub(input: Any, other: Any, *, alpha: Any = 1) -> Any:
    """As `add` of -alpha * other."""
    return add(input, other, alpha=-alpha)


def sub_(self: Any, other: Any, *, alpha: Any = 1) -> Any:
    """As `add_` of -alpha * other."""
    return add_(self, other, alpha=-alpha)


def _factor(name: str, t: SparseTensor, other: Any) -> Any:
    if type(other) in NUMBERS or type(other) is complex:
        return other
    if isinstance(other, Tensor) and not isinstance(other, SparseTensor) and not other._meta.ndim:
        return other
    return refuse(f"{name} by more than a number", t)


def mul(input: Any, other: Any) -> Any:
    """A sparse tensor times a number."""
    t, factor = (input, other) if isinstance(input, SparseTensor) else (other, input)
    return _with(t, t._parts.values * _factor("mul", t, factor))


def div(input: Any, other: Any, *, rounding_mode: Any = None) -> Any:
    """A sparse tensor divided by a number."""
    if not isinstance(input, SparseTensor):
        return refuse("div", other)
    if rounding_mode is not None and not input.is_coalesced():
        input = coalesced(input)
    by = _factor("div", input, other)
    return _with(input, FUNCTIONS["div"](input._parts.values, by, rounding_mode=rounding_mode))


def _in_place(name: str) -> Any:
    def form(self: Any, other: Any) -> Any:
        if not isinstance(self, SparseTensor):
            return refuse(name, other)
        p, op = self._parts, name.rstrip("_")  # new values: the old ones may be somebody else's gradient
        p.values = FUNCTIONS[op](p.values, _factor(op, self, other)).to(p.values.dtype)
        return self

    return form


def zero_(self: SparseTensor) -> SparseTensor:
    """No values."""
    p = self._parts
    p.indices, p.values, p.coalesced = p.indices[:, :0].clone(), p.values.detach()[:0].clone(), True
    return self


def clone(input: Any, *, memory_format: Any = None) -> SparseTensor:
    """Copies of indices and values."""
    p = input._parts
    return make(p.indices.clone(), p.values.clone(), input.shape, p.coalesced)


def neg(input: Any) -> SparseTensor:
    """The negative."""
    return _with(input, -input._parts.values)


def _of_coalesced(name: str) -> Any:
    """An elementwise op that leaves 0 as it is."""

    def rule(input: Any, *args: Any) -> SparseTensor:
        t = input.coalesce()
        return _with(t, FUNCTIONS[name](t._parts.values, *args))

    return rule


def to(self: SparseTensor, *args: Any, **options: Any) -> SparseTensor:
    """In another dtype."""
    values = self._parts.values.to(*args, **options)
    return self if values is self._parts.values else _with(self, values)


def total(input: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
    """The sum of all elements."""
    if dim is not None:
        refuse("sum over a dimension", input)
    return input._parts.values.sum(dtype=dtype)


def kind(self: SparseTensor, dtype: Any = None, non_blocking: bool = False) -> Any:
    """The name of the type, or the tensor in another dtype."""
    if dtype is not None:
        return to(self, dtype)
    return Tensor.type(self).replace("torch.", "torch.sparse.")  # type: ignore[attr-defined]


def vector_norm(x: Any, ord: Any = 2, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
    """The norm of all elements."""
    if dim not in (None, ()) or float(ord) <= 0:
        refuse("vector_norm", x)
    return FUNCTIONS["_vector_norm"](x.coalesce()._parts.values, ord, None, False, dtype=dtype)


def norm(self: Any, p: Any = 2, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Any:
    """The norm of all elements."""
    return vector_norm(self, 2 if p in (None, "fro") else p, dim, keepdim, dtype=dtype)


def mm(input: Any, mat2: Any) -> Any:
    """The product of a sparse matrix and a dense one."""
    if not isinstance(input, SparseTensor) or isinstance(mat2, SparseTensor):
        refuse("mm of these layouts", mat2 if isinstance(mat2, SparseTensor) else input)
    if input.sparse_dim() != 2 or input.ndim != 2 or mat2.ndim != 2:
        raise RuntimeError(f"addmm: matrices expected, got {max(input.ndim, mat2.ndim)}D tensor")
    if input.shape[1] != mat2.shape[0]:
        raise RuntimeError(
            f"addmm: Argument #3 (dense): Expected dim 0 size {input.shape[1]}, got {mat2.shape[0]}"
        )
    if input.dtype is not mat2.dtype:  # type: ignore[attr-defined]
        names = [scalar_name(x.dtype) for x in (input, mat2)]  # type: ignore[attr-defined]
        raise RuntimeError(f"expected scalar type {names[0]} but found {names[1]}")
    p = input._parts
    rows, columns = p.indices.unbind(0)
    terms = p.values.unsqueeze(1) * FUNCTIONS["index_select"](mat2, 0, columns)
    table = FUNCTIONS["zeros"]((input.shape[0], mat2.shape[1]), dtype=terms.dtype)
    return FUNCTIONS["index_add"](table, 0, rows, terms)


def matmul(self: Any, other: Any) -> Any:
    """The product of a sparse matrix and a dense vector or matrix."""
    if isinstance(self, SparseTensor) and isinstance(other, Tensor) and other._meta.ndim == 1:
        return mm(self, other.unsqueeze(1)).squeeze(1)  # type: ignore[attr-defined]
    return mm(self, other)


def transpose(self: SparseTensor, dim0: int, dim1: int) -> SparseTensor:
    """Two sparse dimensions in each other's place."""
    a, b = (wrap_dim(d, self.ndim, "transpose") for d in (dim0, dim1))
    n = self.sparse_dim()
    if a == b:
        return self
    if max(a, b) >= n:
        raise RuntimeError(
            "sparse transpose: transposed dimensions must be sparse "
            f"Got sparse_dim: {n}, d0: {min(a, b)}, d1: {max(a, b)}"
        )
    order, size = list(range(n)), list(self.shape)
    order[a], order[b], size[a], size[b] = b, a, size[b], size[a]
    p = self._parts
    return make(FUNCTIONS["stack"]([p.indices[d] for d in order]), p.values, size)


def t(self: SparseTensor) -> SparseTensor:
    """A sparse matrix, transposed."""
    if self.sparse_dim() > 2 or self.dense_dim():
        raise RuntimeError(
            "t() expects a tensor with <= 2 sparse and 0 dense dimensions, but got "
            f"{self.sparse_dim()} sparse and {self.dense_dim()} dense dimensions"
        )
    return self if self.ndim < 2 else transpose(self, 0, 1)


# --- embeddings -------------------------------------------------------------------------------------------------------


class EmbeddingBackward0(Node):
    """The node of an embedding whose gradient is sparse: one row for each index, in their order."""

    __slots__ = ("by_frequency", "padding_idx", "size")
    size: tuple[int, ...]
    padding_idx: int
    by_frequency: bool

    def apply(self, grads: tuple[Any, ...]) -> tuple[Any, ...]:
        if self.saved is RELEASED or self.by_frequency:
            self._refuse()
        indices, version = self.saved
        if indices._version != version:
            from ..ops.record import raise_overwritten

            raise_overwritten(self, 0, indices._meta, indices._version, version)
        if grads[0] is None:
            return (None,)
        flat = indices.reshape(-1).to(int64)
        rows = grads[0].reshape(-1, self.size[1])
        if self.padding_idx >= 0:
            kept = FUNCTIONS["nonzero"](flat != self.padding_idx).squeeze(1)
            if kept.shape[0] != flat.shape[0]:
                flat, rows = flat.index_select(0, kept), rows.index_select(0, kept)
        return (make(flat.unsqueeze(0), rows, self.size),)

    def _refuse(self) -> None:
        if self.saved is not RELEASED:
            fail(RuntimeError, "embedding_backward: scale_grad_by_freq not supported with sparse gradients")
        from ..autograd.function import RELEASED_TEXT

        raise RuntimeError(RELEASED_TEXT)


def embedding_of_rows(weight: Any, indices: Any, padding_idx: int, by_frequency: bool) -> Any:
    """`_embedding` with a sparse gradient of the weight."""
    with_grad = LOCAL.s.grad and weight.requires_grad
    out = FUNCTIONS["_embedding"](weight.detach(), indices, padding_idx, by_frequency)
    if with_grad:
        node = EmbeddingBackward0()
        if indices._st.info is not None:  # memory that others may write before backward
            indices = indices.clone()
        node.edges, node.out, node.saved = (gradient.edge(weight),), out._meta, (indices, indices._version)
        node.size, node.padding_idx, node.by_frequency = tuple(weight.shape), padding_idx, by_frequency
        out._gf, out._nr, out._rg = node, 0, True
    return out


RULES |= {
    f.__name__: f for f in (add, add_, sub, sub_, mul, div, zero_, clone, neg, mm, matmul, transpose, t)
}
RULES |= {name: _in_place(name) for name in ("mul_", "div_")}
RULES |= {name: _of_coalesced(name) for name in ("abs", "sqrt", "sign", "sin", "tanh")}
RULES |= {"_vector_norm": vector_norm}
OVERRIDDEN = {
    "to": to,
    "sum": total,
    "norm": norm,
    "type": kind,
    "pow": _of_coalesced("pow"),
    "matmul": matmul,
}
OVERRIDDEN |= {"__matmul__": matmul, "__pow__": OVERRIDDEN["pow"], "cpu": lambda self: self}
for _name in ("double", "float", "half", "bfloat16", "int", "long", "bool"):
    OVERRIDDEN[_name] = lambda self, _name=_name: _with(self, getattr(self._parts.values, _name)())


def install() -> None:
    """Bind the constructor, the conversions and the ops of sparse tensors."""
    for name, fn in OVERRIDDEN.items():
        setattr(SparseTensor, name, fn)
    for name in ("to_sparse", "to_sparse_coo"):
        setattr(Tensor, name, to_sparse)
    Tensor.to_dense = lambda self, dtype=None, *, masked_grad=None: self if dtype is None else self.to(dtype)  # type: ignore
    FUNCTIONS["sparse_coo_tensor"] = sparse_coo_tensor
    publish("_embedding_of_rows", embedding_of_rows, {"function": False, "method": False})
