"""Numbers rounded to the levels of an integer grid, as training for quantised inference sees them: fake_quantize_*."""

from __future__ import annotations

from typing import Any

from ..dtypes import bfloat16, float16, float32, int32
from ..errors import fail
from ..stream.graph import cast, const, map_
from ..stream.value import Tensor
from .activation import above, choose, floating
from .compare import _where
from .entry import FUNCTIONS, N, T, composite, op
from .places import known


def _pass(grad: Any, self: Any, scale: Any, zero: Any, low: Any, high: Any) -> Any:
    """The gradient of elements whose level is on the grid: they count as if nothing had been rounded."""
    x = self.float() if self.dtype in (float16, bfloat16) else self
    level = (x * (1 / scale)).round() + zero
    return _where((level >= low) & (level <= high), grad, 0)


@op(method=False, function=False, node="FakeQuantizeAffineCachemaskBackward0", grad={"self": _pass})
def _fake_quantize(self: T, scale: T, zero: T, low: N, high: N) -> Any:
    """The nearest number of a grid: (level - zero) scale, low <= level <= high."""
    x = floating("fake_quantize", self)
    wide = float32 if x.dtype in (float16, bfloat16) else x.dtype
    inverse = cast(map_("div", const(1, scale.dtype), scale), wide)
    x, s, z, lowest, highest = (cast(v, wide) for v in (x, scale, zero, low, high))
    level = map_("add", map_("rint", map_("mul", x, inverse)), z)
    level = choose(above(level, lowest), map_("min", level, highest), lowest)  # NaN is at the lowest level
    return cast(map_("mul", map_("sub", level, z), s), self.dtype)


def _quantize(input: Any, scale: Any, zero: Any, low: int, high: int) -> Any:
    """Refuse an empty grid, and zero points off it as far as their values are there; then round."""
    if low > high:
        fail(RuntimeError, "`quant_min` should be less than or equal to `quant_max`.")
    values = known(zero, True)
    if values is not None and values.size and not (values.min() >= low and values.max() <= high):
        fail(RuntimeError, "`zero_point` must be between `quant_min` and `quant_max`.")
    return FUNCTIONS["_fake_quantize"](input, scale.detach(), zero.detach(), low, high)


@composite(method=False)
def fake_quantize_per_tensor_affine(
    input: Any, scale: Any, zero_point: Any, quant_min: int, quant_max: int
) -> Any:
    """Each element as the nearest of (level - zero_point) scale, quant_min <= level <= quant_max."""
    numbers = FUNCTIONS["tensor"]
    scale = scale if isinstance(scale, Tensor) else numbers(scale, dtype=float32, device=input.device)
    zero = zero_point if isinstance(zero_point, Tensor) else numbers(zero_point, device=input.device)
    return _quantize(input, scale.reshape(()), zero.reshape(()), quant_min, quant_max)


@composite(method=False)
def fake_quantize_per_channel_affine(
    input: Any, scale: Any, zero_point: Any, axis: int, quant_min: int, quant_max: int
) -> Any:
    """As fake_quantize_per_tensor_affine, each index along axis with a scale and a zero point of its own."""
    if scale.dtype not in (float32, bfloat16):
        fail(RuntimeError, f"Scale must be Float or BFloat16, found {scale.dtype.name}")
    if zero_point.dtype not in (int32, float32, float16):
        fail(RuntimeError, f"Zero-point must be Int32, Float or Half, found {zero_point.dtype.name}")
    if scale.ndim != 1 or tuple(scale.shape) != tuple(zero_point.shape):
        fail(RuntimeError, "scale and zero-point need to have the same dimensions")
    if not 0 <= axis < input.ndim:
        fail(RuntimeError, "`axis` must be between 0 and number of dimensions of input")
    if scale.shape[0] != input.shape[axis]:
        fail(RuntimeError, "dimensions of scale and zero-point are not consistent with input tensor")
    row = (-1,) + (1,) * (input.ndim - axis - 1)
    return _quantize(input, scale.reshape(row), zero_point.reshape(row), quant_min, quant_max)
