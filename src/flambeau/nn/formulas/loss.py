"""Losses, as formulas."""

from __future__ import annotations

import math
from typing import Any

import flambeau as torch

from ..functional.loss import reduced
from ..functional.table import ops

Tensor = Any


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
    """-log of the summed probability of all alignments, over 2 S + 1 states."""
    batched = log_probs.dim() == 3
    if not batched:
        log_probs = log_probs.unsqueeze(1)
        if targets.dim() == 1:
            targets = targets.unsqueeze(0)
    in_lengths, out_lengths = (_lengths(v) for v in (input_lengths, target_lengths))
    longest = max(out_lengths, default=0)
    labels = _padded_targets(targets, out_lengths, longest, blank)
    place = {"device": log_probs.device}
    states = torch.full((log_probs.shape[1], 2 * longest + 1), blank, dtype=torch.int64, **place)
    if longest:
        states[:, 1::2] = labels
    ends = torch.tensor(in_lengths, **place)
    wide = log_probs.float() if log_probs.dtype.itemsize < 4 else log_probs
    loss = _losses(wide, states, ends, 2 * torch.tensor(out_lengths, **place), zero_infinity)
    loss = loss.to(log_probs.dtype)
    if zero_infinity:
        loss = torch.where(torch.isinf(loss), torch.zeros_like(loss), loss)
    if reduction == "mean":
        return (loss / torch.tensor(out_lengths, dtype=loss.dtype, **place).clamp(min=1)).mean()
    loss = reduced(loss, reduction)
    return loss if batched or reduction == "sum" else loss.squeeze(0)


def _op_by_op(
    grad: Tensor, log_probs: Tensor, states: Tensor, ends: Tensor, lasts: Tensor, zero_infinity: bool
) -> Tensor:
    """The gradient as that of the forward recursion over states, which has a gradient itself."""
    with torch.enable_grad():
        loss = _recursion(log_probs, states, ends.unsqueeze(1), lasts.unsqueeze(1))
        (found,) = torch.autograd.grad(loss, log_probs, grad, create_graph=True)
        # PyTorch's gradient takes log_probs for the result of log_softmax: it is exp(log_probs) larger.
        steps = torch.arange(log_probs.size(0), device=log_probs.device).view(-1, 1)
        found = torch.where((steps < ends).unsqueeze(2), found + log_probs.exp() * grad.view(-1, 1), 0.0)
        none = torch.isinf(loss).view(-1, 1)
        return torch.where(none & (steps < ends).unsqueeze(2), 0.0 if zero_infinity else math.nan, found)


def _losses(log_probs: Tensor, states: Tensor, ends: Tensor, lasts: Tensor, zero_infinity: bool) -> Tensor:
    """-log of the probability of each sequence: by kernels where there are some."""
    if getattr(ops, "_ctc", None) is None:
        return _recursion(log_probs, states, ends.unsqueeze(1), lasts.unsqueeze(1))
    ops._ctc_op_by_op(_op_by_op)
    return ops._ctc(log_probs, states, ends, lasts, zero_infinity)[0]


def _recursion(log_probs: Tensor, states: Tensor, ends: Tensor, last: Tensor) -> Tensor:
    steps, batch, _ = log_probs.shape
    place, count = {"device": log_probs.device}, states.size(1)
    never = torch.full((batch, count + 2), float("-inf"), dtype=log_probs.dtype, **place)
    emitted = log_probs.gather(2, states.unsqueeze(0).expand(steps, -1, -1))
    skips = torch.zeros_like(states, dtype=torch.bool)
    skips[:, 2:] = states[:, 2:] != states[:, :-2]
    outside = never[:, :count]
    alpha = torch.where(torch.arange(count, **place) < 2, emitted[0], outside)
    for t in range(1, steps):
        padded = torch.cat([never[:, :2], alpha], 1)
        ways = torch.stack([alpha, padded[:, 1:-1], torch.where(skips, padded[:, :-2], outside)])
        alpha = torch.where(ends > t, _log_sum(ways) + emitted[t], alpha)
    before = torch.where(last > 0, alpha.gather(1, (last - 1).clamp(min=0)), never[:, :1])
    return -_log_sum(torch.cat([alpha.gather(1, last), before], 1).t())


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
