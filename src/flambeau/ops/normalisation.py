"""Normalisation: over trailing dimensions, groups of channels, or the batch; statistics are results, kept for the gradient."""

from __future__ import annotations

from typing import Any

from ..dtypes import finfo, float64
from ..errors import fail
from ..shapes import numel
from ..stream.graph import Val, cast, const, contiguous, map_, reduce_, store
from .activation import floating, number
from .elementwise import channels_innermost, in_order
from .entry import NONE, OT, N, T, composite, op
from .reduction import reduced

Size = tuple[int, ...]


def averaged(x: Val, dims: Size) -> Val:
    """The mean over dims, kept."""
    return map_("div", reduced("add", x, dims, True), const(numel([x.shape[d] for d in dims]), x.dtype))


def inverse_root(var: Val, eps: Any) -> Val:
    """1 / sqrt(var + eps)."""
    d = var.dtype
    return map_("div", const(1, d), map_("sqrt", map_("add", var, number(eps, var))))


def standardised(x: Val, dims: Size, eps: Any) -> tuple[Val, Val, Val]:
    """((x - mean) / sqrt(var + eps), mean, 1 / sqrt(var + eps)) over dims."""
    mean = averaged(x, dims)
    d = map_("sub", x, mean)
    rstd = inverse_root(averaged(map_("mul", d, d), dims), eps)
    return map_("mul", d, rstd), mean, rstd


def affine(x: Val, weight: Val | None, bias: Val | None) -> Val:
    """x weight + bias, whichever are given."""
    if weight is not None:
        x = map_("mul", x, cast(weight, x.dtype))
    return x if bias is None else map_("add", x, cast(bias, x.dtype))


def standard_back(g: Any, hat: Any, rstd: Any, dims: Size) -> Any:
    """The gradient through (x - mean) rstd: the parts along 1 and along the result vanish."""
    return (g - g.mean(dims, keepdim=True) - hat * (g * hat).mean(dims, keepdim=True)) * rstd


def statistics_back(grads: Any, dx: Any, hat: Any, rstd: Any, dims: Size) -> Any:
    """The gradients of the statistics, if they have any."""
    n = numel([hat.shape[d] for d in dims])
    if grads[1] is not None:
        dx = dx + grads[1] / n
    if grads[2] is not None:
        dx = dx - grads[2] * (rstd * rstd) * hat / n
    return dx


# --- over trailing dimensions -------------------------------------------------------------------------------------


def trailing(name: str, x: Any, normalized_shape: Size) -> Size:
    """The last dimensions, which must be of the shape given."""
    k = len(normalized_shape)
    if not k:
        fail(
            RuntimeError,
            f"{name}: Expected normalized_shape to be at least 1-dimensional, i.e., containing at least one element",
        )
    if x.ndim < k or tuple(x.shape[x.ndim - k :]) != tuple(normalized_shape):
        sizes = ", ".join(["*", *map(str, normalized_shape)])
        fail(
            RuntimeError,
            f"Given normalized_shape={list(normalized_shape)}, expected input with shape [{sizes}], but got input of size{list(x.shape)}",
        )
    return tuple(range(x.ndim - k, x.ndim))


def _check_affine(name: str, normalized_shape: Size, **given: Any) -> None:
    for label, v in given.items():
        if v is not None and tuple(v.shape) != tuple(normalized_shape):
            fail(
                RuntimeError,
                f"Expected {label} to be of same shape as normalized_shape, but got {label} of shape {list(v.shape)} and "
                f"normalized_shape = {list(normalized_shape)}",
            )


def _tail(x: Any, normalized_shape: Size) -> Size:
    return tuple(range(x.ndim - len(normalized_shape), x.ndim))


def _layer_self(grads: Any, input: Any, normalized_shape: Size, weight: Any, mean: Any, rstd: Any) -> Any:
    dims, hat = _tail(input, normalized_shape), (input - mean) * rstd
    if grads[0] is None:
        return statistics_back(grads, hat * 0, hat, rstd, dims)
    g = grads[0] if weight is None else grads[0] * weight
    return statistics_back(grads, standard_back(g, hat, rstd, dims), hat, rstd, dims)


@op(
    method=False,
    results=("result", "mean", "rstd"),
    no_out=True,
    sized="normalized_shape",
    grad={
        "input": _layer_self,
        "weight": lambda grads, input, mean, rstd: (
            None if grads[0] is None else grads[0] * ((input - mean) * rstd)
        ),
        "bias": lambda grads: grads[0],
    },
)
def native_layer_norm(input: T, normalized_shape: Size, weight: OT, bias: OT, eps: N = 1e-5) -> Any:
    """((x - mean) rstd weight + bias, mean, rstd) over the last dimensions; rstd = 1 / sqrt(var + eps)."""
    dims = trailing("layer_norm", input, normalized_shape)
    _check_affine("layer_norm", normalized_shape, weight=weight, bias=bias)
    hat, mean, rstd = standardised(floating("LayerNormKernelImpl", input), dims, eps)
    return contiguous(affine(hat, weight, bias)), mean, rstd


@composite(method=False, nn=True)
def layer_norm(
    input: Any,
    normalized_shape: Any,
    weight: Any = None,
    bias: Any = None,
    eps: float = 1e-5,
    cudnn_enable: bool = True,
) -> Any:
    """(x - mean) / sqrt(var + eps) weight + bias over the last dimensions, of shape `normalized_shape`."""
    return native_layer_norm(input, tuple(normalized_shape), weight, bias, eps)[0]


def _rms_self(grads: Any, input: Any, normalized_shape: Size, weight: Any, rstd: Any) -> Any:
    dims, hat = _tail(input, normalized_shape), input * rstd
    dx = hat * 0
    if grads[0] is not None:
        g = grads[0] if weight is None else grads[0] * weight
        dx = (g - hat * (g * hat).mean(dims, keepdim=True)) * rstd
    if grads[1] is not None:
        dx = dx - grads[1] * (rstd * rstd) * hat / numel(normalized_shape)
    return dx


@op(
    method=False,
    function=False,
    node="FusedRmsNormBackward0",
    results=("result", "rstd"),
    sized="normalized_shape",
    grad={
        "input": _rms_self,
        "weight": lambda grads, input, rstd: None if grads[0] is None else grads[0] * (input * rstd),
    },
)
def _fused_rms_norm(input: T, normalized_shape: Size, weight: OT, eps: N = 1e-6) -> Any:
    dims = trailing("rms_norm", input, normalized_shape)
    _check_affine("rms_norm", normalized_shape, weight=weight)
    x = floating("rms_norm", input)
    rstd = inverse_root(averaged(map_("mul", x, x), dims), eps)
    return in_order(affine(map_("mul", x, rstd), weight, None), channels_innermost(input)), rstd


@composite(method=False, nn=True)
def rms_norm(input: Any, normalized_shape: Any, weight: Any = None, eps: float | None = None) -> Any:
    """x / sqrt(mean(x^2) + eps) weight over the last dimensions; eps defaults to the dtype's machine epsilon."""
    if input.dtype.is_complex:
        dims = tuple(range(-len(normalized_shape), 0))
        root = (
            (input * input).mean(dims, keepdim=True) + (finfo(input.dtype).eps if eps is None else eps)
        ).rsqrt()
        return input * root if weight is None else input * root * weight
    if eps is None:
        eps = finfo(input.dtype).eps if input.dtype.is_floating_point else 0.0
    return _fused_rms_norm(input, tuple(normalized_shape), weight, eps)[0]


# --- over groups of channels --------------------------------------------------------------------------------------


def _grouped(x: Any, groups: int) -> Any:
    """(N, C, ...) as (N, G, C / G, ...), the rest in one dimension."""
    n, c = x.shape[:2]
    return x.reshape([n, groups, c // groups, numel(x.shape[2:])])


def _per_channel(v: Any, groups: int) -> Any:
    return v.reshape([1, groups, v.shape[0] // groups, 1])


def _group_parts(input: Any, group: int, mean: Any, rstd: Any) -> Any:
    n = input.shape[0]
    rstd = rstd.reshape([n, group, 1, 1])
    return (_grouped(input, group) - mean.reshape([n, group, 1, 1])) * rstd, rstd


def _flat(x: Any) -> Any:
    """(N, C, ...) as (N, C, positions)."""
    return x.reshape([x.shape[0], x.shape[1], numel(x.shape[2:])])


def _spread(v: Any, channels: int) -> Any:
    """A value for each group (N, groups) as one for each of its channels (N, C, 1), in memory."""
    n, groups = v.shape
    return v.reshape([n, groups, 1]).expand([n, groups, channels // groups]).reshape([n, channels, 1])


def _of_groups(x: Any, groups: int) -> Any:
    """The means of groups of channels that lie side by side (N, C, positions), for each channel (N, C, 1): sums along the
    positions first, whole rows of channels at a time."""
    return _means_of_groups(x.sum((2,)), groups, x.shape[2])


def _means_of_groups(sums: Any, groups: int, area: int) -> Any:
    """The means of groups of channels, of sums along the positions (N, C)."""
    n, c = sums.shape
    return sums.reshape([n, groups, c // groups]).sum((2,)) / (c // groups * area)


def _group_side_by_side(g: Any, input: Any, weight: Any, group: int, mean: Any, rstd: Any) -> Any:
    """`_group_self` of images with their channels innermost."""
    c = input.shape[1]
    rstd, g = _spread(rstd, c), _flat(g)
    hat = (_flat(input) - _spread(mean, c)) * rstd
    g = g if weight is None else g * weight.reshape([1, c, 1])
    both = (g * hat).sum((2,)), g.sum((2,))  # one after the other: one kernel makes both
    across, along = (_spread(_means_of_groups(v, group, g.shape[2]), c) for v in both)
    return ((g - along - hat * across) * rstd).reshape(tuple(input.shape))


def _group_self(grads: Any, input: Any, weight: Any, group: int, mean: Any, rstd: Any) -> Any:
    last = channels_innermost(input)
    if last and grads[0] is not None and grads[1] is None and grads[2] is None:
        return in_order(_group_side_by_side(grads[0], input, weight, group, mean, rstd), True)
    hat, r = _group_parts(input, group, mean, rstd)
    dims, dx = (2, 3), hat * 0
    if grads[0] is not None:
        g = _grouped(grads[0], group)
        dx = standard_back(g if weight is None else g * _per_channel(weight, group), hat, r, dims)
    side = [None if g is None else g.reshape(r.shape) for g in grads[1:]]
    dx = statistics_back((None, *side), dx, hat, r, dims).reshape(tuple(input.shape))
    return in_order(dx, last)


def _group_weight(grads: Any, input: Any, group: int, mean: Any, rstd: Any) -> Any:
    if grads[0] is None:
        return None
    if channels_innermost(input):
        c = input.shape[1]
        hat = (_flat(input) - _spread(mean, c)) * _spread(rstd, c)
        return (_flat(grads[0]) * hat).sum((0, 2))
    hat, _ = _group_parts(input, group, mean, rstd)
    return (_grouped(grads[0], group) * hat).sum((0, 3)).reshape([input.shape[1]])


@op(
    method=False,
    function=False,
    node="NativeGroupNormBackward0",
    results=("result", "mean", "rstd"),
    grad={
        "input": _group_self,
        "weight": _group_weight,
        "bias": lambda grads: None if grads[0] is None else grads[0].sum(_others(grads[0])),
    },
)
def _group_norm(input: T, weight: OT, bias: OT, group: int, eps: N = 1e-5) -> Any:
    x = floating("GroupNormKernelImpl", input)
    if channels_innermost(input) and numel(x.shape):
        return _group_innermost(x, weight, bias, group, eps)
    hat, mean, rstd = standardised(_grouped(x, group), (2, 3), eps)
    w, b = (None if v is None else _per_channel(v, group) for v in (weight, bias))
    n = input.shape[0]
    y = affine(hat, w, b).reshape(tuple(input.shape))
    return in_order(y, channels_innermost(input)), mean.reshape([n, group]), rstd.reshape([n, group])


def _group_innermost(x: Val, weight: Val | None, bias: Val | None, group: int, eps: Any) -> Any:
    """`_group_norm` of images with their channels innermost."""
    c, flat = x.shape[1], _flat(x)
    mean = _of_groups(flat, group)
    d = map_("sub", flat, _spread(mean, c))
    rstd = inverse_root(_of_groups(map_("mul", d, d), group), eps)
    w, b = (None if v is None else v.reshape([1, c, 1]) for v in (weight, bias))
    y = affine(map_("mul", d, _spread(rstd, c)), w, b)
    return in_order(y.reshape(tuple(x.shape)), True), mean, rstd


@composite(method=False)
def native_group_norm(
    input: Any, weight: Any, bias: Any, N: int, C: int, HxW: int, group: int, eps: float
) -> Any:
    """(group_norm(x), mean, rstd), the statistics of shape (N, groups)."""
    return _group_norm(input, weight, bias, group, eps)


@composite(method=False, nn=True)
def group_norm(
    input: Any,
    num_groups: int,
    weight: Any = None,
    bias: Any = None,
    eps: float = 1e-5,
    cudnn_enabled: bool = True,
) -> Any:
    """Normalises each of `num_groups` groups of channels of each sample, then scales each channel."""
    _check_groups(input, num_groups, weight, bias)
    return _group_norm(input, weight, bias, num_groups, eps)[0]


def _check_groups(input: Any, groups: int, weight: Any, bias: Any) -> None:
    if input.ndim < 2:
        fail(
            RuntimeError,
            f"group_norm: Expected at least 2 dimensions for input tensor but received {input.ndim}",
        )
    if groups <= 0:
        fail(RuntimeError, f"group_norm: Expected num groups to be greater than 0, got {groups}")
    n, c = input.shape[:2]
    if c % groups:
        fail(
            RuntimeError,
            "group_norm: Expected number of channels in input to be divisible by num_groups, but got input of shape "
            f"{list(input.shape)} and num_groups={groups}",
        )
    if n * c // groups * numel(input.shape[2:]) == 1:
        flat = [n * c // groups, groups, *input.shape[2:]]
        raise ValueError(f"Expected more than 1 value per channel when training, got input size {flat}")
    for label, v in (("weight", weight), ("bias", bias)):
        if v is not None and tuple(v.shape) != (c,):
            fail(
                RuntimeError,
                f"group_norm: Expected {label} to be a vector of size equal to the number of channels in input, but got {label} of shape "
                f"{list(v.shape)} and input of shape {list(input.shape)}",
            )


# --- over the batch -----------------------------------------------------------------------------------------------


def _others(x: Any) -> Size:
    return tuple(d for d in range(x.ndim) if d != 1)


def _wide(v: Any, x: Any) -> Any:
    """A value per channel, along dimension 1."""
    return v.reshape([v.shape[0] if d == 1 else 1 for d in range(x.ndim)])


def _batch_parts(
    x: Any, mean: Any, rstd: Any, running_mean: Any, running_var: Any, training: bool, eps: Any
) -> Any:
    if not training:
        mean, rstd = running_mean, (running_var + eps).rsqrt()
    rstd = _wide(rstd, x)
    return (x - _wide(mean, x)) * rstd, rstd


def _batch_self(
    grads: Any,
    input: Any,
    weight: Any,
    running_mean: Any,
    running_var: Any,
    training: bool,
    eps: Any,
    save_mean: Any,
    save_invstd: Any,
) -> Any:
    hat, rstd = _batch_parts(input, save_mean, save_invstd, running_mean, running_var, training, eps)
    dx, dims = hat * 0, _others(input)
    if grads[0] is not None:
        g = grads[0] if weight is None else grads[0] * _wide(weight, input)
        dx = standard_back(g, hat, rstd, dims) if training else g * rstd
    last = channels_innermost(input)
    if not training:
        return in_order(dx, last)
    side = [None if g is None else _wide(g, input) for g in grads[1:]]
    return in_order(statistics_back((None, *side), dx, hat, rstd, dims), last)


def _batch_weight(
    grads: Any,
    input: Any,
    running_mean: Any,
    running_var: Any,
    training: bool,
    eps: Any,
    save_mean: Any,
    save_invstd: Any,
) -> Any:
    if grads[0] is None:
        return None
    hat, _ = _batch_parts(input, save_mean, save_invstd, running_mean, running_var, training, eps)
    return (grads[0] * hat).sum(_others(input))


@op(
    method=False,
    results=("result", "save_mean", "save_invstd"),
    grad={
        "input": _batch_self,
        "weight": _batch_weight,
        "bias": lambda grads: None if grads[0] is None else grads[0].sum(_others(grads[0])),
    },
)
def native_batch_norm(
    input: T,
    weight: OT,
    bias: OT,
    running_mean: OT,
    running_var: OT,
    training: bool,
    momentum: N = 0.1,
    eps: N = 1e-5,
) -> Any:
    """(batch_norm(x), mean, 1 / sqrt(var + eps)) for each channel; in training the running statistics move by momentum."""
    x, last = floating("batch_norm", input), channels_innermost(input)
    c = x.shape[1]
    w, b = (None if v is None else _wide(v, x) for v in (weight, bias))
    if not training:
        rstd = inverse_root(cast(running_var, x.dtype), eps)
        hat = map_("mul", map_("sub", x, cast(_wide(running_mean, x), x.dtype)), _wide(rstd, x))
        nothing = const(0, x.dtype)
        return in_order(affine(hat, w, b), last), nothing.expand([0]), nothing.expand([0])
    dims = _others(x)
    mean = averaged(x, dims)
    d = map_("sub", x, mean)
    var = averaged(map_("mul", d, d), dims)
    rstd = inverse_root(var, eps)
    if numel(x.shape):
        _move(running_mean, mean.reshape([c]), momentum)
        _move(running_var, _unbiased(var.reshape([c]), numel(x.shape) // c), momentum)
    return in_order(affine(map_("mul", d, rstd), w, b), last), mean.reshape([c]), rstd.reshape([c])


def _unbiased(var: Val, n: int) -> Val:
    """The mean of n squares as a variance, by n / (n - 1). The kernel divides: it serves whatever n is."""
    ratio = map_("div", const(n, float64), const(max(n - 1, 1), float64))
    return map_("mul", var, cast(ratio, var.dtype))


def _move(kept: Val | None, now: Val, momentum: Any) -> None:
    """kept + momentum (now - kept), in place."""
    if kept is None:
        return
    m = cast(momentum, kept.dtype) if type(momentum) is Val else const(momentum, kept.dtype)
    stay = map_("sub", const(1, kept.dtype), m)
    store(kept, map_("add", map_("mul", kept, stay), map_("mul", cast(now, kept.dtype), m)))


def _check_statistics(x: Any, training: bool, **given: Any) -> None:
    if not training and (given["running_mean"] is None or given["running_var"] is None):
        missing = "running_mean" if given["running_mean"] is None else "running_var"
        fail(RuntimeError, f"batch_norm: Expected {missing} to be defined in evaluation mode")
    for name, v in given.items():
        if v is not None and numel(v.shape) != x.shape[1]:
            fail(
                RuntimeError, f"batch_norm: {name} should contain {x.shape[1]} elements not {numel(v.shape)}"
            )


@composite(method=False)
def batch_norm(
    input: Any,
    weight: Any,
    bias: Any,
    running_mean: Any,
    running_var: Any,
    training: bool,
    momentum: float,
    eps: float,
    cudnn_enabled: bool = True,
) -> Any:
    """(x - mean) / sqrt(var + eps) weight + bias for each channel (dimension 1)."""
    if input.ndim < 2:
        return input.clone()  # no channels
    _check_statistics(
        input, training, running_mean=running_mean, running_var=running_var, weight=weight, bias=bias
    )
    return native_batch_norm(input, weight, bias, running_mean, running_var, bool(training), momentum, eps)[0]


@composite(method=False, function=False, nn=True, name="batch_norm")
def _batch_norm_functional(
    input: Any,
    running_mean: Any,
    running_var: Any,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Any:
    """(x - mean) / sqrt(var + eps) weight + bias for each channel: the batch's statistics in training (which also move the
    running ones by `momentum`), the running ones otherwise."""
    if eps <= 0.0:
        raise ValueError(f"batch_norm eps must be positive, but got {eps}")
    if training and input.shape[0] * numel(input.shape[2:]) == 1:
        raise ValueError(
            f"Expected more than 1 value per channel when training, got input size {input.shape}"
        )
    return batch_norm(input, weight, bias, running_mean, running_var, training, momentum, eps)


@op(method=False, function=False, grad=NONE)
def _instance_statistics(running_mean: OT, running_var: OT, input: T, momentum: N) -> Any:
    """The running statistics, moved by the mean over samples of each one's."""
    n, c = input.shape[:2]
    x = input.reshape([n, c, numel(input.shape[2:])])
    width = x.shape[2]
    mean = averaged(x, (2,))
    d = map_("sub", x, mean)
    var = _unbiased(averaged(map_("mul", d, d), (2,)), width)
    _move(running_mean, averaged(mean, (0,)).reshape([c]), momentum)
    _move(running_var, averaged(var, (0,)).reshape([c]), momentum)
    return reduce_("add", mean, (0, 1, 2))


@composite(method=False, function=False, nn=True)
def instance_norm(
    input: Any,
    running_mean: Any = None,
    running_var: Any = None,
    weight: Any = None,
    bias: Any = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Any:
    """`batch_norm` of each sample on its own."""
    if use_input_stats and numel(input.shape[2:]) == 1:
        raise ValueError(f"Expected more than 1 spatial element when training, got input size {input.shape}")
    if not use_input_stats:
        return batch_norm(input, weight, bias, running_mean, running_var, False, momentum, eps)
    if running_mean is not None or running_var is not None:
        _instance_statistics(running_mean, running_var, input.detach(), momentum)
    return _group_norm(input.contiguous(), weight, bias, input.shape[1], eps)[0]


@composite(method=False, name="instance_norm")
def _instance_norm_function(
    input: Any,
    weight: Any,
    bias: Any,
    running_mean: Any,
    running_var: Any,
    use_input_stats: bool,
    momentum: float,
    eps: float,
    cudnn_enabled: bool = True,
) -> Any:
    """`batch_norm` of each sample on its own."""
    return instance_norm(input, running_mean, running_var, weight, bias, use_input_stats, momentum, eps)
