"""Images read between their elements (`grid_sample`): one op, whose gradients are two kernels."""

from __future__ import annotations

import itertools
from typing import Any

from ..dtypes import float32, int64
from ..errors import fail
from ..loop.recipes.grid import cubic
from ..shapes import numel
from ..stream.graph import Val, cast, contiguous, empty, opaque
from .entry import FUNCTIONS, T, op
from .gather import base_shape

Tap = tuple[Any, Any, Any]  # (whole coordinate, weight, its derivative) of an element in one dimension


def _launch(kind: str, shape: Any, out: Any, dtype: Any, how: Any, *operands: Val) -> Val:
    """The node `grid`: computed in float32 at least."""
    if not numel(out):
        return empty(out, dtype)
    wide = dtype if dtype.itemsize >= 4 else float32
    given = [contiguous(cast(x, wide)) for x in operands]
    return cast(opaque("grid", given, [(out, wide)], (kind, tuple(shape), *how))[0], dtype)


class _Composed:
    """The gradients op by op, where they must be differentiable themselves."""

    def __init__(self, grad: Any, grid: Any, shape: Any, mode: str, padding: str, align: bool):
        self.grad, self.shape = grad.flatten(2), shape
        self.mode, self.padding, self.align = mode, padding, align
        dims, places = len(shape) - 2, grid.flatten(1, -2)
        found = [self.taps(places[..., dims - 1 - d], n) for d, n in enumerate(shape[2:])]
        self.corners = list(itertools.product(*[taps for taps, _ in found]))
        self.scales = [scale for _, scale in found]

    def inside(self, at: Any, n: int) -> tuple[Any, Any]:
        """A coordinate brought into the image, and its derivative."""
        where, turn = FUNCTIONS["_where"], at.detach() * 0 + 1
        if self.padding == "zeros":
            return at, turn
        if self.padding == "reflection":
            low, span = (0.0, n - 1.0) if self.align else (-0.5, float(n))
            if not span:
                return at * 0, turn * 0
            offset = (at - low).abs()
            flips = (offset / span).floor().detach()
            even = flips % 2 == 0
            turn = where((at < low) ^ ~even, -turn, turn)
            rest = offset - flips * span
            at = where(even, rest + low, span - rest + low)
        return at.clamp(0, n - 1), where((at > 0) & (at < n - 1), turn, 0)

    def taps(self, g: Any, n: int) -> tuple[list[Tap], Any]:
        """The elements that take part in one dimension, and the derivative of the coordinate by that of the grid."""
        at = (g + 1) / 2 * (n - 1) if self.align else ((g + 1) * n - 1) / 2
        scale = (n - 1) / 2 if self.align else n / 2
        if self.mode == "bicubic":
            low = at.floor().detach()
            return [(self.inside(low + k, n)[0], w, s) for k, w, s in cubic(at - low)], scale
        at, turn = self.inside(at, n)
        one, scale = at.detach() * 0 + 1, turn * scale
        if self.mode == "nearest":
            return [(at.round().detach(), one, one * 0)], scale
        low = at.floor().detach()
        return [(low, 1 - (at - low), -one), (low + 1, at - low, one)], scale

    def place(self, corner: Any) -> tuple[Any, Any]:
        """(places in a plane, for all channels, and whether they are there)."""
        flat: Any = 0
        valid: Any = True
        for (at, _, _), n in zip(corner, self.shape[2:]):
            here = (at >= 0) & (at <= n - 1)
            flat, valid = flat * n + FUNCTIONS["_where"](here, at, 0).to(int64), here & valid
        return flat.unsqueeze(1).expand(self.grad.shape), valid.unsqueeze(1)

    def of_image(self) -> Any:
        """The gradient of the image."""
        batch, channels, *sizes = self.shape
        total = FUNCTIONS["zeros"]((batch, channels, numel(sizes)), dtype=self.grad.dtype)
        for corner in self.corners:
            at, valid = self.place(corner)
            grad = self.grad
            for _, weight, _ in corner:
                grad = grad * weight.unsqueeze(1)
            total = total.scatter_add(2, at, FUNCTIONS["_where"](valid, grad, 0))
        return total.reshape(self.shape)

    def of_grid(self, input: Any) -> Any:
        """The gradient of the grid (N, P, dims)."""
        slopes: list[Any] = [0] * len(self.scales)
        for corner in self.corners:
            at, valid = self.place(corner)
            read = FUNCTIONS["_where"](valid, input.flatten(2).gather(2, at), 0)
            seen = (read * self.grad).sum(1)
            for d in range(len(slopes)):
                part = seen
                for e, (_, weight, slope) in enumerate(corner):
                    part = part * (slope if e == d else weight)
                slopes[d] = slopes[d] + part
        return FUNCTIONS["stack"]([s * scale for s, scale in zip(slopes[::-1], self.scales[::-1])], -1)


def _image_back(grad: Any, grid: Any, mode: str, padding: str, align: bool, form: Any) -> Any:
    shape, how = base_shape(form), (mode, padding, align)
    if type(grad) is not Val:
        return _Composed(grad, grid, shape, *how).of_image()
    return _launch("image", shape, shape, grad.dtype, how, grid, grad)


def _grid_back(grad: Any, input: Any, grid: Any, mode: str, padding: str, align: bool) -> Any:
    how = (mode, padding, align)
    if mode == "nearest":
        return FUNCTIONS["zeros_like"](grid)
    if type(grad) is not Val:
        return _Composed(grad, grid, tuple(input.shape), *how).of_grid(input).reshape(grid.shape)
    return _launch("grid", input.shape, tuple(grid.shape), grid.dtype, how, input, grid, grad)


def _sampler(dims: int) -> None:
    """Declare the op for images of so many dimensions."""

    def sampled(input: T, grid: T, mode: str, padding: str, align: bool) -> Any:
        if input.dtype is not grid.dtype:
            text = "grid_sampler(): expected input and grid to have same dtype"
            fail(RuntimeError, text, input=input, grid=grid)
        shape = tuple(input.shape)
        out = (*shape[:2], *grid.shape[1:-1])
        return _launch("forward", shape, out, input.dtype, (mode, padding, align), input, grid)

    sampled.__doc__ = f"Images of {dims} dimensions at places from -1 to 1, the last dimension first."
    op(
        name=f"_grid_sampled_{dims}d",
        method=False,
        node=f"GridSampler{dims}DBackward0",
        grad={"input": _image_back, "grid": _grid_back},
    )(sampled)


_sampler(2)
_sampler(3)
