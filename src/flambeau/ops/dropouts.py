"""The dropout family: of whole channels, and with the mean and variance of selu's outputs kept."""

from __future__ import annotations

import math
from typing import Any

from ..dtypes import bool_
from ..errors import fail
from ..shapes import numel
from ..stream.graph import cast, const, map_
from ..stream.value import LOCAL
from .activation import SELU_ALPHA, SELU_SCALE
from .entry import FUNCTIONS, N, T, composite, op
from .random import drawn, drawn_in_memory_order, scaled, state_of

Size = tuple[int, ...]


def _channels(input: Any) -> Size:
    if input.ndim < 2:
        fail(
            RuntimeError,
            f"feature_dropout: Feature dropout requires at least 2 dimensions in the input; got {input.ndim}",
        )
    return (*input.shape[:2], *(1,) * (input.ndim - 2))


@op(
    method=False,
    function=False,
    node="MulBackward0",
    results=("result", "mask"),
    constant=("mask",),
    grad={"self": lambda grads, mask, keep: grads[0] * (mask / keep)},
)
def _feature_dropout(self: T, state: T, shape: Size, keep: N) -> Any:
    mask = drawn("bernoulli", state, shape, self.dtype, keep)
    return map_("mul", self, map_("div", mask, cast(keep, self.dtype))), mask


@op(
    method=False,
    function=False,
    node="AddBackward0",
    results=("result", "mask"),
    constant=("mask",),
    grad={"self": lambda grads, mask, scale: grads[0] * (mask * scale)},
)
def _alpha_dropout(self: T, state: T, channels: Any, keep: N, scale: N, low: N, shift: N) -> Any:
    """self * mask * scale + (mask - 1) low + shift; channels: the mask's shape (None: one number for each element)."""
    d = self.dtype
    if channels is None:
        mask = drawn_in_memory_order("bernoulli", state, self, d, keep)
    else:
        mask = drawn("bernoulli", state, channels, d, keep)
    base = map_("add", map_("mul", map_("sub", mask, const(1, d)), cast(low, d)), cast(shift, d))
    return map_("add", map_("mul", self, map_("mul", mask, cast(scale, d))), base), mask


def _plain(input: Any, p: float, train: bool) -> Any:
    """The result where nothing is drawn, or None."""
    if not 0 <= p <= 1:
        fail(RuntimeError, f"dropout: dropout probability has to be between 0 and 1, but got {p}")
    if not train or p == 0 or not numel(input.shape):
        return input
    if p == 1:
        return input * 0
    scaled(input)
    return None


def _alpha(input: Any, p: float, channels: Size | None) -> Any:
    low = SELU_ALPHA * SELU_SCALE
    scale = 1.0 / math.sqrt((low * low * p + 1) * (1 - p))
    return _alpha_dropout(input, state_of(None), channels, 1.0 - p, scale, low * scale, low * scale * p)[0]


@composite(method=False)
def feature_dropout(input: Any, p: float = 0.5, train: bool = True) -> Any:
    """Whole channels zeroed with probability p, the others divided by 1 - p."""
    plain = _plain(input, p, train)
    return _feature_dropout(input, state_of(None), _channels(input), 1.0 - p)[0] if plain is None else plain


@composite(method=False)
def alpha_dropout(input: Any, p: float = 0.5, train: bool = False) -> Any:
    """Dropped elements become selu's lower bound, then all are moved and scaled back to mean 0 and variance 1."""
    plain = _plain(input, p, train)
    return _alpha(input, p, None) if plain is None else plain


@composite(method=False)
def feature_alpha_dropout(input: Any, p: float = 0.5, train: bool = False) -> Any:
    """`alpha_dropout` of whole channels."""
    plain = _plain(input, p, train)
    return _alpha(input, p, _channels(input)) if plain is None else plain


def _in_place(name: str) -> None:
    fn = FUNCTIONS[name]

    def method(input: Any, p: float = 0.5, train: bool = True) -> Any:
        result = fn(input.clone() if LOCAL.s.grad and input.requires_grad else input, p, train)
        return input if result is input else input.copy_(result)

    method.__name__, method.__doc__ = name + "_", f"`{name}`, in place."
    composite(method=False)(method)


for _name in ("feature_dropout", "alpha_dropout", "feature_alpha_dropout"):
    _in_place(_name)


@op(
    method=False,
    function=False,
    results=("result", "mask"),
    constant=("mask",),
    grad={"self": lambda grads, mask, keep: grads[0] * mask.to(grads[0].dtype) / keep},
)
def _native_dropout(self: T, state: T, keep: N) -> Any:
    mask = drawn_in_memory_order("bernoulli", state, self, bool_, keep)
    scaled = map_("div", const(1, self.dtype), cast(keep, self.dtype))
    return map_("mul", map_("mul", self, cast(mask, self.dtype)), scaled), mask


@composite(method=False)
def native_dropout(input: Any, p: float, train: bool | None) -> Any:
    """(dropout(input), the mask of what stays)."""
    if train is False or p == 0 or not numel(input.shape):
        return input.clone(), FUNCTIONS["ones_like"](input, dtype=bool_)
    if p == 1:
        return input * 0, FUNCTIONS["zeros_like"](input, dtype=bool_)
    return _native_dropout(input, state_of(None), 1.0 - p)
