"""Draws from distributions that tensors give: multinomial, Poisson."""

from __future__ import annotations

import math
from typing import Any

from ..dtypes import finfo, float32, float64, int64
from ..errors import fail
from ..stream.draws import SUM, WEIGHT
from ..stream.external import routine
from ..stream.graph import contiguous, map_, opaque
from .elementwise import into
from .entry import FUNCTIONS, NONE, T, composite, op
from .places import at_hand
from .random import drawn, fresh, state_of
from .rules import scalar_name, unsupported

FEW = 64  # weights that Python looks at faster than NumPy


@routine
def checked_weights(weights: Any) -> Any:
    """The weights, none negative or unbounded and not all of a row 0."""
    if weights.ndim == 1 and weights.size <= FEW:
        numbers = weights.tolist()
        if min(numbers) >= 0 and 0 < sum(numbers) < math.inf:  # the sum has every NaN
            return weights
    import numpy as np

    most = weights.max(-1)
    if weights.size and not (weights.min() >= 0 and most.max() < np.inf):  # neither holds of NaN
        raise RuntimeError(WEIGHT)
    if not most.all():
        raise RuntimeError(SUM)
    return weights


@op(method=False, function=False)
def _weights(self: T) -> Any:
    x = contiguous(self)
    return opaque("external", (x,), [(tuple(x.shape), x.dtype)], ("checked_weights", ()))[0]


@op(method=False, function=False)
def _running(self: T) -> Any:
    x = contiguous(self)
    return opaque("running", (x,), [(tuple(x.shape), float64 if x.dtype is float64 else float32)], ())[0]


@op(method=False, function=False)
def _draw_places(state: T, sums: T, samples: int) -> Any:
    shape = (*sums.shape[:-1], samples)
    attrs = (("writes", (0,)), "multinomial", 0)
    return opaque("draw", (state, contiguous(sums)), [(shape, int64)], attrs)[0]


@op(method=False, function=False)
def _draw_poisson(rate: T, state: T) -> Any:
    return drawn("poisson", state, tuple(rate.shape), rate.dtype, contiguous(rate))


@op(name="_standard_gamma_grad", method=False, grad=NONE)
def standard_gamma_grad(self: T, output: T) -> Any:
    """The derivative of gamma variables by their concentration, their probabilities held; PyTorch has none of it."""
    return map_("gamma_slope", self, output)


@op(
    method=False,
    function=False,
    node="StandardGammaBackward0",
    grad={"alpha": lambda grad, alpha, result: grad * standard_gamma_grad(alpha, result)},
)
def _draw_gamma(alpha: T, state: T) -> Any:
    return drawn("gamma", state, tuple(alpha.shape), alpha.dtype, contiguous(alpha))


@op(
    method=False,
    function=False,
    node="BinomialBackward0",
    grad={"count": lambda grad: 0, "prob": lambda grad: 0},
)
def _draw_binomial(count: T, prob: T, state: T) -> Any:
    shape = tuple(count.shape)
    return drawn("binomial", state, shape, count.dtype, contiguous(count), contiguous(prob))


def _check(x: Any, samples: int, replacement: bool) -> bool:
    """The errors that can be told now; whether the weights are among what was looked at."""
    if x.ndim not in (1, 2) or x.shape[-1] == 0:
        fail(
            RuntimeError,
            "multinomial: prob_dist must be 1 or 2 dim",
            "give a vector or rows of weights",
            input=x,
        )
    if not x.dtype.is_floating_point:
        name = scalar_name(x.dtype)
        fail(
            RuntimeError,
            f"multinomial: multinomial only supports floating-point dtypes for input, got: {name}",
        )
    if samples <= 0:
        fail(RuntimeError, f"multinomial: cannot sample n_sample <= 0 samples; got {samples}")
    if not replacement and samples > x.shape[-1]:
        what = "cannot sample n_sample > prob_dist.size(-1) samples without replacement"
        fail(RuntimeError, f"multinomial: {what}; got {samples} of {x.shape[-1]}")
    if x.shape[-1] > 1 << 24:
        fail(RuntimeError, f"multinomial: number of categories cannot exceed 2^24; got {x.shape[-1]}")
    values = at_hand(x, floats=True)
    if values is not None:
        checked_weights(values.reshape(x.shape))
    return values is not None


@composite()
def multinomial(
    input: Any, num_samples: int, replacement: bool = False, *, generator: Any = None, out: Any = None
) -> Any:
    """Places drawn from each row of weights (which need not add up to 1), with or without replacement."""
    checked = _check(input, num_samples, replacement)
    if out is not None and out.dtype is not int64:
        got = scalar_name(out.dtype)
        fail(RuntimeError, f"multinomial: multinomial expects Long tensor out, got: {got}")
    x = input.detach()
    if replacement and num_samples > 1:
        result = _draw_places(state_of(generator), _running(x), num_samples)
    else:
        if x.is_contiguous():
            parts = fresh("exponential", tuple(x.shape), x.dtype, (1.0,), generator)
        else:  # the numbers come in the order of the weights in memory
            parts = FUNCTIONS["empty_like"](x).exponential_(1.0, generator=generator)
        order = (x if checked else _weights(x)) / parts
        if num_samples == 1:
            result = order.argmax(-1, keepdim=True)
        else:
            result = order.topk(num_samples, -1)[1]
    return result if out is None else into(out, result)


@composite(method=False)
def poisson(input: Any, generator: Any = None) -> Any:
    """Whole numbers, Poisson distributed with the rates that input gives."""
    if not input.dtype.is_floating_point:
        fail(NotImplementedError, unsupported("poisson", input.dtype))
    return _draw_poisson(input.detach(), state_of(generator))


@composite(method=False)
def binomial(count: Any, prob: Any, generator: Any = None) -> Any:
    """How many of count tries succeed, each with probability prob; the two are broadcast. The gradients are 0."""
    if count.dtype is not prob.dtype:
        text = f"Found dtype {scalar_name(prob.dtype)} but expected {scalar_name(count.dtype)}"
        fail(RuntimeError, f"binomial: {text}", count=count, prob=prob)
    if not count.dtype.is_floating_point:
        text = f"binomial only supports floating-point dtypes for count, got: {scalar_name(count.dtype)}"
        fail(ValueError, f"binomial: {text}")
    count, prob = FUNCTIONS["broadcast_tensors"](count, prob)
    return _draw_binomial(count, prob, state_of(generator))


@composite(method=False)
def _standard_gamma(input: Any, generator: Any = None) -> Any:
    """Gamma numbers of these concentrations and rate 1."""
    if not input.dtype.is_floating_point:
        fail(NotImplementedError, unsupported("gamma_cpu", input.dtype))
    return _draw_gamma(input, state_of(generator))


@composite(method=False)
def _sample_dirichlet(input: Any, generator: Any = None) -> Any:
    """Rows of numbers that add up to 1, with these concentrations: gamma numbers in float64 over their sums."""
    drawn = _draw_gamma(input.to(float64), state_of(generator))
    low = finfo(input.dtype)
    return (drawn / drawn.sum(-1, True)).to(input.dtype).clamp(low.tiny, 1 - low.eps / 2)
