"""Losses of detectors (torchvision.ops): the focal loss, and those of how much two boxes share."""

from __future__ import annotations

import math
from typing import Any

import flambeau as torch

from ...errors import fail


def _reduced(op: str, loss: Any, reduction: str) -> Any:
    """The loss by `reduction`; the mean of nothing is 0."""
    if reduction == "none":
        return loss
    if reduction == "mean":
        return loss.mean() if loss.numel() > 0 else 0.0 * loss.sum()
    if reduction == "sum":
        return loss.sum()
    fail(ValueError, f"{op}: reduction is 'none', 'mean' or 'sum'", reduction=reduction)


def sigmoid_focal_loss(
    inputs: Any, targets: Any, alpha: float = 0.25, gamma: float = 2, reduction: str = "none"
) -> Any:
    """Cross entropy of logits, times (1 - p_t) ** gamma; alpha weighs the positive, -1 for none (arXiv:1708.02002)."""
    if not 0 <= alpha <= 1 and alpha != -1:
        fail(ValueError, "sigmoid_focal_loss: alpha is in [0, 1], or -1 for no weights", alpha=alpha)
    p = torch.sigmoid(inputs)
    entropy = torch.nn.functional.binary_cross_entropy_with_logits(inputs, targets, reduction="none")
    p_t = p * targets + (1 - p) * (1 - targets)
    loss = entropy * (1 - p_t) ** gamma
    if alpha >= 0:
        loss = (alpha * targets + (1 - alpha) * (1 - targets)) * loss
    if reduction == "mean":  # of nothing: NaN, as everywhere but in the losses of boxes
        return loss.mean()
    return _reduced("sigmoid_focal_loss", loss, reduction)


class _Pairs:
    """What the losses of boxes share: both boxes of each pair, IoU, union, hull."""

    def __init__(self, boxes1: Any, boxes2: Any, eps: float):
        one, two = (b if b.dtype in (torch.float32, torch.float64) else b.float() for b in (boxes1, boxes2))
        self.one, self.two, self.eps = one.unbind(-1), two.unbind(-1), eps
        (x1, y1, x2, y2), (u1, v1, u2, v2) = self.one, self.two
        width, height = torch.min(x2, u2) - torch.max(x1, u1), torch.min(y2, v2) - torch.max(y1, v1)
        # Boxes apart from each other have no gradient by what they share, not even one of 0 times infinity.
        inter = torch.where((width > 0) & (height > 0), width * height, 0.0)
        self.union = (x2 - x1) * (y2 - y1) + (u2 - u1) * (v2 - v1) - inter
        self.iou = inter / (self.union + eps)
        self.width = torch.max(x2, u2) - torch.min(x1, u1)
        self.height = torch.max(y2, v2) - torch.min(y1, v1)

    def distance(self, eps: float) -> Any:
        """1 - IoU + the squared distance of the centres by the squared diagonal of the hull."""
        (x1, y1, x2, y2), (u1, v1, u2, v2) = self.one, self.two
        diagonal = self.width**2 + self.height**2 + eps
        apart = ((x2 + x1) / 2 - (u1 + u2) / 2) ** 2 + ((y2 + y1) / 2 - (v1 + v2) / 2) ** 2
        return 1 - self.iou + apart / diagonal


def generalized_box_iou_loss(boxes1: Any, boxes2: Any, reduction: str = "none", eps: float = 1e-7) -> Any:
    """1 - the generalized IoU of each pair of boxes (..., 4) (arXiv:1902.09630)."""
    pairs = _Pairs(boxes1, boxes2, eps)
    around = pairs.width * pairs.height
    loss = 1 - (pairs.iou - (around - pairs.union) / (around + eps))
    return _reduced("generalized_box_iou_loss", loss, reduction)


def distance_box_iou_loss(boxes1: Any, boxes2: Any, reduction: str = "none", eps: float = 1e-7) -> Any:
    """1 - the distance IoU of each pair of boxes (..., 4) (arXiv:1911.08287)."""
    return _reduced("distance_box_iou_loss", _Pairs(boxes1, boxes2, eps).distance(eps), reduction)


def complete_box_iou_loss(boxes1: Any, boxes2: Any, reduction: str = "none", eps: float = 1e-7) -> Any:
    """1 - the complete IoU of each pair of boxes (..., 4) (arXiv:1911.08287)."""
    pairs = _Pairs(boxes1, boxes2, 1e-7)  # torchvision's, whatever eps is
    angles = [torch.atan((x2 - x1) / (y2 - y1)) for x1, y1, x2, y2 in (pairs.two, pairs.one)]
    v = (4 / math.pi**2) * (angles[0] - angles[1]) ** 2
    with torch.no_grad():
        alpha = v / (1 - pairs.iou + v + eps)
    return _reduced("complete_box_iou_loss", pairs.distance(1e-7) + alpha * v, reduction)
