"""Sparse matrices in compressed rows (CSR): those in coordinates, in order, which also know where each row begins.

An op takes one as the matrix in coordinates that it is; a sparse result of its size is compressed again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..dtypes import int32, int64, sparse_coo, sparse_csr
from ..errors import fail
from ..ops.entry import FUNCTIONS
from ..ops.gather import places_of
from ..stream.value import Tensor
from . import sparse_rules
from .create import as_numpy
from .creation import tensor
from .sparse import SparseTensor, of_parts

TURNING = {"t", "transpose"}  # rows become columns: in PyTorch the result is compressed by columns


class RowsTensor(SparseTensor):
    """A matrix of layout torch.sparse_csr: zero but for values (nnz), row by row, in the columns col_indices (nnz)."""

    __slots__ = ("_crow",)
    _crow: Any

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.__name__
        if name.endswith("_") and not name.endswith("__"):
            fail(NotImplementedError, f"{name}: writing to a tensor of compressed rows is not there")
        if name in ("mm", "matmul") and isinstance(args[0], RowsTensor):
            return product(*args, **(kwargs or {}))
        args = [coordinates(a) for a in args]
        kwargs = {k: coordinates(v) for k, v in (kwargs or {}).items()}
        return _again(name, SparseTensor.__torch_function__(func, types, args, kwargs), args)

    is_sparse = property(lambda t: False)
    is_sparse_csr = property(lambda t: True)
    layout = property(lambda t: sparse_csr)

    def crow_indices(self) -> Any:
        """Where each row's values begin, and how many there are at all: (rows + 1)."""
        return self._crow

    def col_indices(self) -> Any:
        """The column of each value."""
        return self._parts.indices[1]

    def values(self) -> Any:
        """The values, row by row."""
        return self._parts.values

    def _of_coordinates(self, *args: Any, **options: Any) -> Any:
        raise RuntimeError("expected sparse coordinate tensor layout but got SparseCsr")

    indices = _indices = _values = coalesce = is_coalesced = _of_coordinates

    def to_sparse(self, sparse_dim: Any = None, *, layout: Any = None, **rest: Any) -> Any:
        """The matrix in coordinates, or itself if that layout is asked for."""
        wanted = layout or (None if isinstance(sparse_dim, (int, type(None))) else sparse_dim)
        return self if wanted is sparse_csr else coordinates(self)

    to_sparse_coo = to_sparse

    def to_sparse_csr(self, dense_dim: Any = None) -> Any:
        """The tensor itself."""
        return self

    def detach(self) -> Any:
        """A tensor of the same indices and values outside of the graph."""
        return compressed(coordinates(self).detach(), self._crow)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        if id(self) not in memo:
            memo[id(self)] = compressed(coordinates(self).__deepcopy__({}), self._crow.clone())
        return memo[id(self)]

    def __copy__(self) -> Any:
        return compressed(coordinates(self), self._crow)

    def __reduce_ex__(self, protocol: Any) -> Any:
        parts = self._crow, self.col_indices(), self.values().detach()
        return sparse_csr_tensor, (*parts, tuple(self.shape))

    def _shown(self) -> tuple[tuple[str, Any], ...]:
        return (
            ("crow_indices", self._crow),
            ("col_indices", self.col_indices()),
            ("values", self.values().detach()),
        )


def coordinates(t: Any) -> Any:
    """A compressed matrix as the one in coordinates that it is; anything else as it is."""
    return of_parts(t._parts, t._meta) if isinstance(t, RowsTensor) else t


def compressed(t: SparseTensor, crow: Any = None) -> RowsTensor:
    """A coalesced matrix in coordinates with the beginnings of its rows."""
    if t.ndim != 2 or t.sparse_dim() != 2:
        fail(NotImplementedError, "to_sparse_csr: other tensors than matrices are not there yet", self=t)
    made: Any = of_parts(t._parts, t._meta, RowsTensor)
    if crow is None:
        counts = FUNCTIONS["bincount"](t._parts.indices[0], minlength=t.shape[0])
        crow = FUNCTIONS["cat"]([FUNCTIONS["zeros"](1, dtype=int64), counts.cumsum(0)])
    made._crow = crow
    return made  # type: ignore[no-any-return]


def product(input: Any, other: Any) -> Any:
    """The product with a dense matrix or vector: for each row the sum of the other's rows that it names."""
    if isinstance(other, SparseTensor) or other.ndim not in (1, 2) or other.shape[0] != input.shape[1]:
        return sparse_rules.matmul(coordinates(input), coordinates(other))
    p = input._parts
    rows, columns = p.indices.unbind(0)
    dense = other if other.ndim == 2 else other.unsqueeze(1)
    sums = FUNCTIONS["_weighted_bag_sum"](dense, columns, input._crow[:-1], p.values, rows)
    return sums if other.ndim == 2 else sums.squeeze(1)


def _again(name: str, result: Any, args: Any) -> Any:
    """The result of an op on a matrix in coordinates, compressed if it is such a matrix."""
    if type(result) is not SparseTensor or name in TURNING or result.ndim != 2:
        return result
    return compressed(result.coalesce())


def sparse_csr_tensor(
    crow_indices: Any,
    col_indices: Any,
    values: Any,
    size: Any = None,
    *,
    dtype: Any = None,
    device: Any = None,
    pin_memory: bool = False,
    requires_grad: bool = False,
    check_invariants: bool | None = None,
) -> RowsTensor:
    """A matrix in compressed rows: row i has the values crow_indices[i] to crow_indices[i + 1].

    size: as many columns as the indices ask if not given. RuntimeError for indices that are not such: they are always
    looked at, and the columns of each row must rise."""
    import numpy as np

    crow, columns = (
        (x if isinstance(x, Tensor) else tensor(x)).to(int64) for x in (crow_indices, col_indices)
    )
    if crow.ndim != 1:
        fail(NotImplementedError, "sparse_csr_tensor: batches of matrices are not there yet", crow=crow)
    starts = as_numpy(crow.detach())
    counts = np.diff(starts)
    if len(starts) < 1 or starts[0] != 0 or starts[-1] != columns.shape[0] or (counts < 0).any():
        raise RuntimeError(
            "`crow_indices` must begin with 0, not fall, and end with the number of `col_indices`: "
            f"got {starts.tolist()[:8]}... for {columns.shape[0]}"
        )
    rows = np.repeat(np.arange(len(counts)), counts)
    if size is None:
        size = (len(counts), int(as_numpy(columns).max(initial=-1)) + 1)
    if len(size) != 2 or size[0] != len(counts):
        raise RuntimeError(f"size {tuple(size)} does not fit {len(counts)} rows")
    indices = FUNCTIONS["stack"]([places_of(rows), columns])
    t = sparse_rules.sparse_coo_tensor(indices, values, size, dtype=dtype, is_coalesced=True)
    made = compressed(t, crow)
    return made.requires_grad_() if requires_grad else made


def to_sparse_csr(self: Any, dense_dim: Any = None) -> RowsTensor:
    """A matrix in compressed rows; it is read."""
    t = self if isinstance(self, SparseTensor) else sparse_rules.to_sparse(self)
    return compressed(t.coalesce())


def sampled_addmm(
    input: Any, mat1: Any, mat2: Any, *, beta: float = 1.0, alpha: float = 1.0, out: Any = None
) -> Any:
    """alpha * (mat1 @ mat2), where `input` in compressed rows has values, + beta * input."""
    if not isinstance(input, RowsTensor):
        fail(RuntimeError, "sampled_addmm: Expected self to have layout SparseCsr", input=input)
    rows, columns = input._parts.indices.unbind(0)
    left = FUNCTIONS["index_select"](mat1, 0, rows)
    right = FUNCTIONS["index_select"](mat2.t(), 0, columns)
    values = input.values() * beta + (left * right).sum(-1) * alpha
    return compressed(sparse_rules.make(input._parts.indices, values, input.shape, True), input._crow)


def _refused(name: str) -> Callable[[Any], Any]:
    def method(self: Any) -> Any:
        kind = "Sparse" if self.layout is sparse_coo else "Strided"
        raise RuntimeError(f"{name} expected sparse row compressed tensor layout but got {kind}")

    method.__name__, method.__doc__ = name, "RuntimeError: the tensor has no compressed rows."
    return method


def _kept(name: str, fn: Any) -> Any:
    """A method of matrices in coordinates for compressed ones."""
    return lambda self, *args, **options: _again(
        name, fn(coordinates(self), *map(coordinates, args), **options), args
    )


def install() -> None:
    """Bind the constructor, the conversions and the accessors."""
    for name, fn in sparse_rules.OVERRIDDEN.items():
        setattr(RowsTensor, name, _kept(name, fn))
    for name in ("matmul", "__matmul__"):
        setattr(RowsTensor, name, product)
    for method in ("crow_indices", "col_indices"):
        setattr(Tensor, method, _refused(method))
    Tensor.is_sparse_csr = property(lambda self: False)  # type: ignore[attr-defined]
    Tensor.to_sparse_csr = to_sparse_csr  # type: ignore[attr-defined]
    FUNCTIONS["sparse_csr_tensor"] = sparse_csr_tensor
    for fn in (_convert_indices_from_coo_to_csr, _convert_indices_from_csr_to_coo):
        FUNCTIONS[fn.__name__] = fn


def _convert_indices_from_coo_to_csr(input: Any, size: int, *, out_int32: bool = False) -> Any:
    """Where the entries of each of `size` rows begin, of sorted rows of entries: (size + 1)."""
    return FUNCTIONS["searchsorted"](
        input, FUNCTIONS["arange"](size + 1, dtype=input.dtype), out_int32=out_int32
    )


def _convert_indices_from_csr_to_coo(
    crow_indices: Any, col_indices: Any, *, out_int32: bool = False, transpose: bool = False
) -> Any:
    """(rows, columns) of the entries of compressed rows; the two exchanged if transpose."""
    rows = FUNCTIONS["arange"](crow_indices.numel() - 1).repeat_interleave(crow_indices.diff())
    d = int32 if out_int32 else int64
    pair = [rows.to(d), col_indices.to(d)]
    return FUNCTIONS["stack"](pair[::-1] if transpose else pair)
