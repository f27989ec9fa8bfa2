"""Losses, as formulas."""

from __future__ import annotations

from typing import Any

import flambeau as torch

from ..functional.loss import reduced
from .activation import logsigmoid

Tensor = Any


def mse_loss(input: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """(x - y)^2."""
    d = input - target
    return reduced(d * d, reduction)


def l1_loss(input: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """|x - y|."""
    return reduced(torch.abs(input - target), reduction)


def smooth_l1_loss(input: Tensor, target: Tensor, reduction: str = "mean", beta: float = 1.0) -> Tensor:
    """0.5 d^2 / beta where d = |x - y| < beta, else d - 0.5 beta."""
    d = torch.abs(input - target)
    return reduced(torch.where(d < beta, 0.5 * d * d / beta, d - 0.5 * beta), reduction)


def huber_loss(input: Tensor, target: Tensor, reduction: str = "mean", delta: float = 1.0) -> Tensor:
    """0.5 d^2 where d = |x - y| < delta, else delta (d - 0.5 delta)."""
    d = torch.abs(input - target)
    return reduced(torch.where(d < delta, 0.5 * d * d, delta * (d - 0.5 * delta)), reduction)


def binary_cross_entropy(
    input: Tensor, target: Tensor, weight: Tensor | None = None, reduction: str = "mean"
) -> Tensor:
    """-(y log x + (1 - y) log(1 - x)), the logarithms at least -100."""
    values = (target - 1) * torch.clamp(torch.log1p(-input), min=-100) - target * torch.clamp(
        torch.log(input), min=-100
    )
    return reduced(values if weight is None else values * weight, reduction)


def binary_cross_entropy_with_logits(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    reduction: str = "mean",
    pos_weight: Tensor | None = None,
) -> Tensor:
    """(1 - y) x - (1 + (pos_weight - 1) y) log sigmoid(x)."""
    log = logsigmoid(input)
    if pos_weight is not None:
        log = log * ((pos_weight - 1) * target + 1)
    values = (1 - target) * input - log
    return reduced(values if weight is None else values * weight, reduction)


def kl_div(input: Tensor, target: Tensor, reduction: str = "mean", log_target: bool = False) -> Tensor:
    """y (log y - x), 0 where y = 0."""
    values = (
        torch.exp(target) * (target - input) if log_target else torch.xlogy(target, target) - target * input
    )
    return reduced(values, reduction)


def nll_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Tensor:
    """-weight[y] x[y], 0 where y = ignore_index; the mean is over the weights."""
    if input.dim() == 0:
        raise ValueError("Expected 1 or more dimensions (got 0)")
    channel = 0 if input.dim() == 1 else 1
    _check_classes(input, target, channel, weight)
    kept = target != ignore_index
    index = torch.where(kept, target, torch.zeros_like(target))
    picked = -input.gather(channel, index.unsqueeze(channel)).squeeze(channel)
    scale = kept.to(input.dtype)
    if weight is not None:
        scale = weight[index] * scale
    values = torch.where(kept, picked * scale, torch.zeros_like(picked))
    return values.sum() / scale.sum() if reduction == "mean" else reduced(values, reduction)


def _check_classes(input: Tensor, target: Tensor, channel: int, weight: Tensor | None) -> None:
    expected = (*input.shape[:channel], *input.shape[channel + 1 :])
    if input.dim() > 1 and target.dim() > 0 and input.shape[0] != target.shape[0]:
        raise ValueError(
            f"Expected input batch_size ({input.shape[0]}) to match target batch_size ({target.shape[0]})."
        )
    if tuple(target.shape) != expected:
        raise RuntimeError(f"Expected target size {list(expected)}, got {list(target.shape)}")
    if target.is_floating_point():
        raise RuntimeError(f"expected target dtype to be Long or Byte, but got {_scalar(target)}")
    if weight is not None and weight.dtype != input.dtype:
        raise RuntimeError(f"expected scalar type {_scalar(input)} but found {_scalar(weight)}")
    if weight is not None and (weight.dim() != 1 or weight.numel() != input.shape[channel]):
        raise RuntimeError(
            f"weight tensor should be defined either for all {input.shape[channel]} classes or no classes but got "
            f"weight tensor of shape: {list(weight.shape)}"
        )


def _scalar(tensor: Tensor) -> str:
    name = str(tensor.dtype).removeprefix("torch.")
    return {"float32": "Float", "float64": "Double", "float16": "Half", "bfloat16": "BFloat16"}.get(
        name, name
    )


def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """-log softmax(x)[y], or -sum y log softmax(x) for probabilities y of x's shape."""
    if not 0.0 <= label_smoothing <= 1.0:
        raise RuntimeError(f"label_smoothing must be between 0.0 and 1.0. Got: {label_smoothing}")
    channel = 0 if input.dim() == 1 else 1
    log = input.log_softmax(channel)
    if target.shape == input.shape and input.dim() > 0:
        if not target.is_floating_point():
            raise RuntimeError(
                f"Expected floating point type for target with class probabilities, got {_scalar(target)}"
            )
        if ignore_index >= 0:
            raise RuntimeError("ignore_index is not supported for floating point target")
        return _cross_entropy_of_probabilities(log, target, weight, reduction, label_smoothing, channel)
    loss = nll_loss(log, target, weight, ignore_index, reduction)
    if label_smoothing == 0:
        return loss
    kept = target != ignore_index
    weighted = log if weight is None else log * weight.view(-1, *(1,) * (log.dim() - 1 - channel))
    smooth = torch.where(kept, -weighted.sum(channel), torch.zeros((), dtype=log.dtype, device=log.device))
    if reduction == "mean":
        scale = kept.to(log.dtype)
        if weight is not None:
            scale = weight[torch.where(kept, target, torch.zeros_like(target))] * scale
        smooth = smooth.sum() / scale.sum()
    else:
        smooth = reduced(smooth, reduction)
    eps = label_smoothing / input.size(channel)
    return (1 - label_smoothing) * loss + smooth * eps


def _cross_entropy_of_probabilities(
    log: Tensor, target: Tensor, weight: Tensor | None, reduction: str, label_smoothing: float, channel: int
) -> Tensor:
    classes = log.size(channel)
    if label_smoothing > 0:
        target = target * (1 - label_smoothing) + label_smoothing / classes
    values = -(log * target)
    if weight is not None:
        values = values * weight.view(-1, *(1,) * (log.dim() - 1 - channel))
    if reduction == "mean":
        return values.sum() / max(log.numel() // classes, 1)
    return reduced(values.sum(channel), reduction)


def multilabel_margin_loss(input: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """sum over targets y (up to the first -1) and non-targets i of max(0, 1 - (x[y] - x[i])) / C."""
    if input.dim() > 2 or 0 in input.shape[-1:]:
        raise RuntimeError(
            f"Expected non-empty vector or matrix with optional 0-dim batch size, but got: {list(input.shape)}"
        )
    single = input.dim() < 2
    x, y = (input.reshape(1, -1), target.reshape(1, -1)) if single else (input, target)
    if x.shape != y.shape:
        raise RuntimeError(
            f"inconsistent target size: {list(target.shape)} for input of size: {list(input.shape)}"
        )
    valid = torch.cumsum((y < 0).to(torch.int64), 1) == 0
    index = torch.where(valid, y, torch.zeros_like(y))
    is_target = torch.zeros_like(x).scatter_add(1, index, valid.to(x.dtype)) > 0
    margins = torch.clamp(1 - x.gather(1, index).unsqueeze(2) + x.unsqueeze(1), min=0)
    counted = valid.unsqueeze(2) & ~is_target.unsqueeze(1)
    values = torch.where(counted, margins, torch.zeros_like(margins)).sum((1, 2)) / x.size(1)
    return reduced(values.squeeze(0) if single else values, reduction)


def multi_margin_loss(
    input: Tensor,
    target: Tensor,
    p: int = 1,
    margin: float = 1.0,
    weight: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    """sum over i != y of max(0, margin - x[y] + x[i])^p / C."""
    single = input.dim() < 2
    x, y = (input.reshape(1, -1), target.reshape(1)) if single else (input, target)
    index = y.unsqueeze(1)
    values = torch.clamp(margin - x.gather(1, index) + x, min=0)
    values = values if p == 1 else values * values
    if weight is not None:
        values = values * weight[y].unsqueeze(1)
    others = torch.ones_like(x).scatter(1, index, 0.0)
    values = (values * others).sum(1) / x.size(1)
    return reduced(values.squeeze(0) if single else values, reduction)


def ctc_loss(
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Any,
    target_lengths: Any,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Tensor:
    """-log of the summed probability of all alignments, by the forward recursion over 2 S + 1 states."""
    batched = log_probs.dim() == 3
    if not batched:
        log_probs = log_probs.unsqueeze(1)
        if targets.dim() == 1:
            targets = targets.unsqueeze(0)
    in_lengths, out_lengths = (_lengths(v) for v in (input_lengths, target_lengths))
    longest = max(out_lengths, default=0)
    labels = _padded_targets(targets, out_lengths, longest, blank)
    steps, batch, _ = log_probs.shape
    place = {"device": log_probs.device}
    states = torch.full((batch, 2 * longest + 1), blank, dtype=torch.int64, **place)
    if longest:
        states[:, 1::2] = labels
    never = torch.full((batch, 2 * longest + 3), float("-inf"), dtype=log_probs.dtype, **place)
    emitted = log_probs.gather(2, states.unsqueeze(0).expand(steps, -1, -1))
    skips = torch.zeros_like(states, dtype=torch.bool)
    if longest > 1:
        skips[:, 3::2] = labels[:, 1:] != labels[:, :-1]
    outside = never[:, : states.size(1)]
    first = torch.arange(states.size(1), **place) < 2
    alpha = torch.where(first, emitted[0], outside)
    ends = torch.tensor(in_lengths, **place).unsqueeze(1)
    for t in range(1, steps):
        padded = torch.cat([never[:, :2], alpha], 1)
        ways = torch.stack([alpha, padded[:, 1:-1], torch.where(skips, padded[:, :-2], outside)])
        alpha = torch.where(ends > t, _log_sum(ways) + emitted[t], alpha)
    last = 2 * torch.tensor(out_lengths, **place).unsqueeze(1)
    before = torch.where(last > 0, alpha.gather(1, (last - 1).clamp(min=0)), never[:, :1])
    loss = -_log_sum(torch.cat([alpha.gather(1, last), before], 1).t())
    # PyTorch's gradient takes log_probs for the result of log_softmax: it is exp(log_probs) larger.
    running = (torch.arange(steps, **place).view(-1, 1) < ends.view(1, -1)).unsqueeze(2)
    extra = torch.where(running, log_probs.detach().exp() * log_probs, torch.zeros_like(log_probs)).sum(
        (0, 2)
    )
    loss = loss + (extra - extra.detach())
    if zero_infinity:
        loss = torch.where(torch.isinf(loss), torch.zeros_like(loss), loss)
    if reduction == "mean":
        return (loss / torch.tensor(out_lengths, dtype=loss.dtype, **place).clamp(min=1)).mean()
    loss = reduced(loss, reduction)
    return loss if batched or reduction == "sum" else loss.squeeze(0)


def _lengths(value: Any) -> list[int]:
    values = value.tolist() if isinstance(value, torch.Tensor) else list(value)
    return [values] if isinstance(values, int) else values


def _padded_targets(targets: Tensor, lengths: list[int], longest: int, blank: int) -> Tensor:
    """(N, S): from that form, or from all targets in a row."""
    if targets.dim() == 2:
        return targets[:, :longest].to(torch.int64)
    out = torch.full((len(lengths), longest), blank, dtype=torch.int64, device=targets.device)
    start = 0
    for i, n in enumerate(lengths):
        out[i, :n] = targets[start : start + n]
        start += n
    return out


def _log_sum(ways: Tensor) -> Tensor:
    """log(sum(exp)) over the first dimension, -inf (with gradient 0) where all are -inf."""
    top = ways.max(0)[0].detach()
    dead = torch.isinf(top)
    top = torch.where(dead, torch.zeros_like(top), top)
    total = torch.exp(ways - top).sum(0)
    safe = torch.where(dead, torch.ones_like(total), total)
    return torch.where(dead, torch.full_like(total, float("-inf")), torch.log(safe) + top)
