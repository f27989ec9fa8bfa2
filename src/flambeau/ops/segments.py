"""Reductions over segments, runs of neighbours along an axis: segment_reduce."""

from __future__ import annotations

from typing import Any

from ..dtypes import int32, int64
from ..errors import fail
from ..shapes import wrap_dim
from .entry import FUNCTIONS, composite
from .scatter import identity

WAYS = {"sum": "add", "mean": "add", "prod": "mul", "max": "max", "amax": "max", "min": "min", "amin": "min"}
COMBINED = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}


def _refuse(what: str, exc: type[Exception] = RuntimeError) -> None:
    fail(exc, f"segment_reduce(): {what}")


def _bounds(data: Any, given: Any, axis: int, lengths: bool, unsafe: bool) -> Any:
    """Where segments begin, and behind the last one where it ends; lengths are checked as they are read."""
    if given.dtype not in (int32, int64):
        _refuse(f"lengths and offsets must be int32 or int64, got {given.dtype.name}", NotImplementedError)
    if given.ndim != axis + 1:
        _refuse(f"Expected axis to be the last dimension of lengths but got {axis}.")
    if tuple(given.shape[:-1]) != tuple(data.shape[:axis]):
        _refuse("Expected the dimensions of lengths before axis to be those of data.")
    if not lengths:
        return given
    if not unsafe and given.numel():
        if bool((given < 0).any()):
            _refuse("lengths contains negative value!")
        if bool((given.sum(-1) != data.shape[axis]).any()):
            _refuse(
                "Expected all rows of lengths along axis to sum to data.size(lengths.dim()-1) when !unsafe."
            )
    return FUNCTIONS["pad"](given.cumsum(-1), (1, 0))


@composite(method=False)
def segment_reduce(
    data: Any,
    reduce: str,
    *,
    lengths: Any = None,
    indices: Any = None,
    offsets: Any = None,
    axis: int = 0,
    unsafe: bool = False,
    initial: Any = None,
) -> Any:
    """The sum, mean, max, min or prod of each segment along axis: runs of these lengths, or between these offsets."""
    axis = wrap_dim(axis, data.ndim, "segment_reduce")
    if not data.dtype.is_floating_point:
        _refuse(f"not implemented for {data.dtype.name}", NotImplementedError)
    if indices is not None:
        _refuse("indices based reduction is not supported yet.")
    if reduce not in WAYS:
        fail(RuntimeError, f"reduce argument must be either sum, prod, mean, amax or amin, got {reduce}")
    if lengths is None and offsets is None:
        _refuse("Either lengths or offsets must be defined.")
    bounds = _bounds(
        data, offsets if lengths is None else lengths, axis, lengths is not None, unsafe
    ).detach()
    shape, n, way = tuple(data.shape), bounds.shape[-1] - 1, WAYS[reduce]
    places = FUNCTIONS["arange"](shape[axis], device=data.device).expand(shape[: axis + 1]).contiguous()
    # what lies before the first segment is row 0 here, what lies behind the last one row n + 1
    rows = FUNCTIONS["searchsorted"](bounds, places, right=True)
    rows = rows.reshape(shape[: axis + 1] + (1,) * (len(shape) - axis - 1)).expand(shape)
    start = identity(way, data.dtype) if initial is None or way in ("max", "min") else initial
    into = FUNCTIONS["full"](
        shape[:axis] + (n + 2,) + shape[axis + 1 :], start, dtype=data.dtype, device=data.device
    )
    result = into.scatter_reduce(axis, rows, data, COMBINED[way]).narrow(axis, 1, n)
    if reduce == "mean":
        count = bounds.diff(dim=-1).reshape(shape[:axis] + (n,) + (1,) * (len(shape) - axis - 1))
        result = result / (count if initial is None else count.clamp(min=1)).to(data.dtype)
    if initial is not None and way in ("max", "min"):  # an element as large as the number has the gradient
        worse = result < initial if way == "max" else result > initial
        result = result.masked_fill(worse, initial)
    return result
