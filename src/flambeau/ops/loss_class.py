"""Losses over classes: nll_loss and cross_entropy, with class indices or probabilities."""

from __future__ import annotations

from typing import Any

from ..dtypes import bool_, int64
from ..errors import fail
from ..stream.graph import Val, cast, const, expand, index_, map_, reduce_, take
from .activation import number
from .entry import OT, SCALAR_NAMES, N, T, composite, op
from .reduction import reduced
from .softmax import shifted


def check_targets(name: str, x: Any, target: Any, weight: Any = None) -> None:
    """The shapes that a loss over classes wants: (C) with (), (N, C, d...) with (N, d...), weight (C)."""
    if weight is not None and weight.dtype is not x.dtype:
        found, wanted = (SCALAR_NAMES.get(v.dtype.name, v.dtype.name) for v in (weight, x))
        fail(
            RuntimeError,
            f"{name}: expected scalar type {wanted} but found {found}; the weight has the input's dtype",
        )
    want = x.shape[:1] + x.shape[2:] if x.ndim > 1 else ()
    if x.ndim == 0 or target.ndim > x.ndim:
        fail(RuntimeError, f"{name}: input and target do not fit", input=x, target=target)
    if x.ndim > 1 and x.shape[0] != target.shape[0]:
        fail(
            ValueError,
            f"{name}: Expected input batch_size ({x.shape[0]}) to match target batch_size ({target.shape[0]}).",
        )
    if tuple(target.shape) != tuple(want):
        fail(RuntimeError, f"{name}: Expected target size {list(want)}, got {list(target.shape)}")
    classes = x.shape[1 if x.ndim > 1 else 0]
    if weight is not None and tuple(weight.shape) != (classes,):
        fail(
            RuntimeError,
            f"{name}: weight tensor should be defined either for all {classes} classes or no classes but got weight tensor of "
            f"shape: {list(weight.shape)}",
        )


def counted(target: Val, ignore_index: Any) -> Val:
    """Whether each target counts."""
    ignored = cast(ignore_index, int64) if type(ignore_index) is Val else const(ignore_index, int64)
    return map_("ne", target, ignored, out=bool_)


def picked(x: Val, target: Val, ignore_index: Any) -> tuple[Val, Val]:
    """(x at the target class, whether the target counts). Out of range is an IndexError that names the target."""
    counts = counted(target, ignore_index)
    safe = map_("select", counts, cast(target, int64), const(0, int64))
    c = 1 if x.ndim > 1 else 0
    dims: list[int | None] = []
    k = 0
    for d in range(x.ndim):
        dims.append(None if d == c else k)
        k += d != c
    return take(x, {c: safe}, tuple(target.shape), dims, "Target"), counts


def weighted(target: Val, counts: Val, weight: Val | None, like: Any) -> Val:
    """The weight of each target: 0 if it does not count."""
    if weight is None:
        return cast(counts, like)
    safe = map_("select", counts, cast(target, int64), const(0, int64))
    w = take(weight, {0: safe}, tuple(target.shape), [None], "Target")
    return map_("mul", w, cast(counts, like))


def finish(values: Val, weights: Val, reduction: str) -> Val:
    """Sum, or weighted mean, of the losses of all targets."""
    if reduction == "none":
        return values
    every = tuple(range(values.ndim))
    total = reduce_("add", values, every)
    if reduction == "sum":
        return total
    return map_("div", total, reduce_("add", weights, every))


def scale_of(grad: Any, weights: Any, reduction: str) -> Any:
    """The gradient of each target's loss."""
    if reduction == "none":
        return grad * weights
    if reduction == "sum":
        return grad.expand(weights.shape) * weights
    return (grad / weights.sum()).expand(weights.shape) * weights


def _classes(x: Any) -> int:
    return 1 if x.ndim > 1 else 0


@op(method=False, function=False)
def _target_weights(target: T, weight: OT, like: T, ignore_index: N = -100) -> Any:
    return weighted(target, counted(target, ignore_index), weight, like.dtype)


@op(method=False, function=False)
def _one_hot_mask(target: T, shape: tuple[int, ...], ignore_index: N = -100) -> Any:
    c = 1 if len(shape) > 1 else 0
    wide = target.unsqueeze(c)
    hot = map_("eq", index_(shape, c), expand(cast(wide, int64), shape), out=bool_)
    return map_("and", hot, expand(counted(wide, ignore_index), shape))


def _nll_back(grad: Any, self: Any, target: Any, weight: Any, reduction: str, ignore_index: Any) -> Any:
    w = _target_weights(target, weight, self, ignore_index)
    each = scale_of(grad, w, reduction).unsqueeze(_classes(self))
    hot = _one_hot_mask(target, tuple(self.shape), ignore_index)
    return -(each * hot.to(self.dtype))


@op(
    method=False,
    function=False,
    node="NllLossBackward0",
    grad={"self": _nll_back},
)
def _nll_loss(self: T, target: T, weight: OT, reduction: str, ignore_index: N = -100) -> Any:
    check_targets("nll_loss", self, target, weight)
    if target.dtype.is_floating_point:
        fail(RuntimeError, f"nll_loss: expected target dtype to be Long or Byte, but got {target.dtype.name}")
    value, counts = picked(self, target, ignore_index)
    w = weighted(target, counts, weight, self.dtype)
    loss = map_("neg", map_("mul", value, w))
    return finish(loss, w, reduction)


def legacy(size_average: Any, reduce: Any, reduction: str, stacklevel: int = 3) -> str:
    """The reduction that PyTorch's old arguments mean."""
    if size_average is None and reduce is None:
        if reduction not in ("none", "mean", "sum"):
            raise ValueError(f"{reduction} is not a valid value for reduction")
        return reduction
    import warnings

    size_average = True if size_average is None else size_average
    reduce = True if reduce is None else reduce
    found = "none" if not reduce else "mean" if size_average else "sum"
    warnings.warn(
        f"size_average and reduce args will be deprecated, please use reduction='{found}' instead.",
        stacklevel=stacklevel,
    )
    return found


@composite(method=False, function=False, nn=True)
def nll_loss(
    input: Any,
    target: Any,
    weight: Any = None,
    size_average: Any = None,
    ignore_index: int = -100,
    reduce: Any = None,
    reduction: str = "mean",
) -> Any:
    """-weight[target] * input[target], over log-probabilities (N, C, d...) and classes (N, d...)."""
    return _nll_loss(input, target, weight, legacy(size_average, reduce, reduction), ignore_index)


def _ce_back(
    grad: Any, self: Any, target: Any, weight: Any, reduction: str, ignore_index: Any, smoothing: Any
) -> Any:
    c = _classes(self)
    w = _target_weights(target, weight, self, ignore_index)
    each = scale_of(grad, w, reduction).unsqueeze(c)
    p = _softmax_of(self, c)
    hot = _one_hot_mask(target, tuple(self.shape), ignore_index).to(self.dtype)
    if not smooth(smoothing):
        return (p - hot) * each
    return _smooth_back(grad, self, target, weight, reduction, ignore_index, smoothing, p, hot, each)


def _softmax_of(x: Any, c: int) -> Any:
    from .entry import FUNCTIONS

    return FUNCTIONS["softmax"](x, c)


def _smooth_back(
    grad: Any,
    x: Any,
    target: Any,
    weight: Any,
    reduction: str,
    ignore: Any,
    s: Any,
    p: Any,
    hot: Any,
    each: Any,
) -> Any:
    c = _classes(x)
    n = x.shape[c]
    counts = (target != ignore).to(x.dtype)
    row = None if weight is None else weight.reshape([n if d == c else 1 for d in range(x.ndim)])
    if reduction == "none":
        base = (grad * counts).unsqueeze(c)
    elif reduction == "sum":
        base = (grad.expand(counts.shape) * counts).unsqueeze(c)
    else:
        total = counts.sum() if weight is None else _target_weights(target, weight, x, ignore).sum()
        base = ((grad / total).expand(counts.shape) * counts).unsqueeze(c)
    rest = p - 1 / n if row is None else (p * row.sum() - row) / n
    return (p - hot) * each * (1 - s) + rest * base * s


def smooth(smoothing: Any) -> bool:
    """Whether labels are smoothed: a number that is an argument is not 0."""
    return type(smoothing) is Val or smoothing != 0


@op(method=False, function=False, node="NllLossBackward0", grad={"self": _ce_back})
def _cross_entropy(
    self: T, target: T, weight: OT, reduction: str, ignore_index: N = -100, smoothing: N = 0.0
) -> Any:
    check_targets("cross_entropy", self, target, weight)
    c = _classes(self)
    low = shifted(self, c)
    norm = map_("log", reduced("add", map_("exp", low), (c,), False))
    top = reduced("max", self, (c,), False)
    value, counts = picked(self, target, ignore_index)
    w = weighted(target, counts, weight, self.dtype)
    loss = map_("mul", map_("sub", norm, map_("sub", value, top)), w)
    if smooth(smoothing):
        n = self.shape[c]
        logp = map_("sub", low, norm.unsqueeze(c))
        if weight is not None:
            logp = logp * weight.reshape([n if d == c else 1 for d in range(self.ndim)])
        flat = map_("mul", map_("neg", reduced("add", logp, (c,), False)), cast(counts, self.dtype))
        flat = map_("div", flat, const(n, self.dtype))
        s = number(smoothing, self)
        loss = map_("add", map_("mul", loss, number(1 - smoothing, self)), map_("mul", flat, s))
    return finish(loss, w, reduction)


@composite(method=False, function=False, nn=True)
def cross_entropy(
    input: Any,
    target: Any,
    weight: Any = None,
    size_average: Any = None,
    ignore_index: int = -100,
    reduce: Any = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Any:
    """-log softmax(input)[target] for logits (N, C, d...) and classes (N, d...) or probabilities (N, C, d...)."""
    reduction = legacy(size_average, reduce, reduction)
    if not 0.0 <= label_smoothing <= 1.0:
        fail(
            RuntimeError,
            f"cross_entropy: label_smoothing must be between 0.0 and 1.0. Got: {label_smoothing}",
        )
    if target.dtype.is_floating_point:
        if ignore_index >= 0 and tuple(target.shape) == tuple(input.shape):
            fail(RuntimeError, "cross_entropy: ignore_index is not supported for floating point target")
        return _soft_cross_entropy(input, target, weight, reduction, label_smoothing)
    if target.dtype.name not in ("int64", "uint8"):
        fail(
            RuntimeError,
            f"cross_entropy: expected scalar type Long but found {target.dtype.name.capitalize()}; targets are class indices (int64)",
        )
    return _cross_entropy(input, target, weight, reduction, ignore_index, float(label_smoothing))


def _soft_cross_entropy(input: Any, target: Any, weight: Any, reduction: str, smoothing: float) -> Any:
    """Targets are probabilities of the classes."""
    if input.ndim > 1 and target.ndim > 1 and input.shape[0] != target.shape[0]:
        fail(
            ValueError,
            f"cross_entropy: Expected input batch_size ({input.shape[0]}) to match target batch_size ({target.shape[0]}).",
        )
    if tuple(input.shape) != tuple(target.shape):
        fail(
            RuntimeError,
            "cross_entropy: Expected floating point type target with class probabilities of input's shape",
            input=input,
            target=target,
        )
    c = _classes(input)
    n = input.shape[c]
    if smoothing:
        target = target * (1 - smoothing) + smoothing / n
    from .entry import FUNCTIONS

    logp = FUNCTIONS["log_softmax"](input, c) * target
    if weight is not None:
        logp = logp * weight.reshape([n if d == c else 1 for d in range(input.ndim)])
    loss = -logp.sum(c)
    if reduction == "none":
        return loss
    total = loss.sum()
    return total if reduction == "sum" else total / max(1, input.numel() // n)
