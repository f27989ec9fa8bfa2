"""torch.testing: comparing tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from .stream.value import Tensor
from .tensor.create import from_data
from .tensor.display import readable

__all__ = ["assert_close", "make_tensor"]

TOLERANCE = {
    "float16": (1e-3, 1e-5),
    "bfloat16": (1.6e-2, 1e-5),
    "float32": (1.3e-6, 1e-5),
    "float64": (1e-7, 1e-7),
}


def assert_close(
    actual: Any,
    expected: Any,
    *,
    allow_subclasses: bool = True,
    rtol: float | None = None,
    atol: float | None = None,
    equal_nan: bool = False,
    check_device: bool = True,
    check_dtype: bool = True,
    check_layout: bool = True,
    check_stride: bool = False,
    msg: str | Callable[[str], str] | None = None,
) -> None:
    """AssertionError unless |actual - expected| <= atol + rtol * |expected| everywhere.

    Tensors, numbers and arrays; sequences and mappings of such, item by item. Default tolerances follow the dtype.
    """
    if (rtol is None) != (atol is None):
        raise ValueError(
            "assert_close: rtol and atol must both be specified or both be unspecified; got one of them"
        )
    rules = (rtol, atol, equal_nan, check_dtype, check_stride)
    found = _difference(actual, expected, rules, "")
    if found:
        raise AssertionError(msg(found) if callable(msg) else msg or found)


def _difference(a: Any, b: Any, rules: tuple[Any, ...], place: str) -> str:
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        if a.keys() != b.keys():
            return f"The keys of the mappings do not match{place}: {list(a)} and {list(b)}"
        pairs = [(k, a[k], b[k]) for k in a]
    elif isinstance(a, Sequence) and isinstance(b, Sequence) and not isinstance(a, str):
        if len(a) != len(b):
            return f"The length of the sequences mismatch{place}: {len(a)} != {len(b)}"
        pairs = [(i, x, y) for i, (x, y) in enumerate(zip(a, b))]
    else:
        return _tensors(_as_tensor(a), _as_tensor(b), rules, place)
    for k, x, y in pairs:
        text = _difference(x, y, rules, f"{place} at [{k!r}]")
        if text:
            return text
    return ""


def _as_tensor(x: Any) -> Tensor:
    return x.detach() if isinstance(x, Tensor) else from_data(x)  # type: ignore[attr-defined]


def _tensors(a: Tensor, b: Tensor, rules: tuple[Any, ...], place: str) -> str:
    rtol, atol, equal_nan, check_dtype, check_stride = rules
    if tuple(a._meta.shape) != tuple(b._meta.shape):
        return f"The values for attribute 'shape' do not match{place}: {a._meta.shape} != {b._meta.shape}."
    if check_dtype and a._meta.dtype is not b._meta.dtype:
        return f"The values for attribute 'dtype' do not match{place}: {a._meta.dtype} != {b._meta.dtype}."
    if check_stride and a._meta.strides != b._meta.strides:
        return f"The values for attribute 'stride()' do not match{place}: {a._meta.strides} != {b._meta.strides}."
    if rtol is None:
        found = [TOLERANCE.get(t._meta.dtype.name, (0.0, 0.0)) for t in (a, b)]
        rtol, atol = max(f[0] for f in found), max(f[1] for f in found)
    x, y = readable(a).astype(np.float64), readable(b).astype(np.float64)
    with np.errstate(all="ignore"):
        gap = np.abs(x - y)
        close = (x == y) | (gap <= atol + rtol * np.abs(y)) & np.isfinite(y)
    if equal_nan:
        close |= np.isnan(x) & np.isnan(y)
    if close.all():
        return ""
    count, total = int((~close).sum()), close.size
    worst = np.unravel_index(np.argmax(np.where(close, -1, np.where(np.isnan(gap), np.inf, gap))), gap.shape)
    kind = "Scalars" if not gap.ndim else "Tensor-likes"
    where = f" at index {tuple(int(i) for i in worst)}" if gap.ndim else ""
    return (
        f"{kind} are not {'close' if rtol or atol else 'equal'}{place}!\n\nMismatched elements: {count} / {total} "
        f"({100 * count / total:.1f}%)\nGreatest absolute difference: {gap[worst]}{where} (up to {atol} allowed)\n"
        f"Relative tolerance: {rtol}"
    )


def make_tensor(
    *shape: Any, dtype: Any, device: Any = None, low: Any = None, high: Any = None, **options: Any
) -> Tensor:
    """A tensor of random numbers in [low, high)."""
    from .tensor import random

    size = tuple(shape[0]) if len(shape) == 1 and not isinstance(shape[0], int) else shape
    low, high = -9 if low is None else low, 9 if high is None else high
    if dtype.is_floating_point:
        t = random.rand(size, dtype=dtype) * (high - low) + low  # type: ignore[operator]
    else:
        t = random.randint(int(max(low, 0)), int(max(high, 1)), size).to(dtype)  # type: ignore[attr-defined]
    return t.requires_grad_() if options.get("requires_grad") else t
