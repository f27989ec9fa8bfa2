"""Boxes: their forms and areas, how much two of them share, and the choice of the best among many (torchvision.ops)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import flambeau as torch

from ...errors import fail

FORMS = ("xyxy", "xywh", "cxcywh", "xywhr", "cxcywhr", "xyxyxyxy")
UPRIGHT = FORMS[:3]
BLOCK = 1024  # boxes that are compared with each other at a time: a matrix of a few MiB


def upcast(values: Any) -> Any:
    """The values in a dtype whose products do not overflow: at least float32 or int32."""
    if values.is_floating_point():
        return values if values.dtype in (torch.float32, torch.float64) else values.float()
    return values if values.dtype in (torch.int32, torch.int64) else values.int()


def _parts(boxes: Any, form: str) -> tuple[Any, ...]:
    """(x1, y1, x2, y2) of upright boxes in any form."""
    a, b, c, d = boxes.unbind(-1)
    if form == "xyxy":
        return a, b, c, d
    if form == "xywh":
        return a, b, a + c, b + d
    return a - 0.5 * c, b - 0.5 * d, a + 0.5 * c, b + 0.5 * d


def _convert_upright(boxes: Any, source: str, target: str) -> Any:
    """Upright boxes in another form, by way of their corners."""
    x1, y1, x2, y2 = _parts(boxes, source)
    if target == "xywh":
        x2, y2 = x2 - x1, y2 - y1
    elif target == "cxcywh":
        x1, y1, x2, y2 = (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1
    return torch.stack((x1, y1, x2, y2), dim=-1)


def _turn(angle: Any) -> tuple[Any, Any]:
    """Cosine and sine of degrees."""
    radians = angle * math.pi / 180.0
    return torch.cos(radians), torch.sin(radians)


def _centre_by(boxes: Any, sign: int) -> Any:
    """Turned boxes with the first corner (sign -1) or the centre (1) in place of the other."""
    x, y, w, h, angle = boxes.unbind(-1)
    cos, sin = _turn(angle)
    x = x + sign * (w / 2 * cos + h / 2 * sin)
    y = y + sign * (h / 2 * cos - w / 2 * sin)
    return torch.stack((x, y, w, h, angle), dim=-1)


def _corners(boxes: Any) -> Any:
    """The four corners of turned boxes given by the first of them."""
    x, y, w, h, angle = boxes.unbind(-1)
    cos, sin = _turn(angle)
    x2, y2 = x + w * cos, y - w * sin
    right, down = h * sin, h * cos
    return torch.stack((x, y, x2, y2, x2 + right, y2 + down, x + right, y + down), dim=-1)


def _from_corners(boxes: Any) -> Any:
    """First corner, extents and angle of boxes given by four corners."""
    x1, y1, x2, y2, x3, y3, _, _ = boxes.unbind(-1)
    angle = torch.atan2(y1 - y2, x2 - x1) * 180 / math.pi
    w = ((x2 - x1) ** 2 + (y1 - y2) ** 2).sqrt()
    h = ((x3 - x2) ** 2 + (y3 - y2) ** 2).sqrt()
    return torch.stack((x1, y1, w, h, angle), dim=-1)


def box_convert(boxes: Any, in_fmt: str, out_fmt: str) -> Any:
    """Boxes (..., 4, 5 or 8) in another form: corners, corner and extents, centre and extents; r is an angle."""
    if in_fmt not in FORMS or out_fmt not in FORMS:
        fail(ValueError, f"box_convert: forms are {', '.join(FORMS)}", in_fmt=in_fmt, out_fmt=out_fmt)
    if in_fmt == out_fmt:
        return boxes.clone()
    if (in_fmt in UPRIGHT) != (out_fmt in UPRIGHT):
        fail(NotImplementedError, "box_convert: upright boxes stay upright", in_fmt=in_fmt, out_fmt=out_fmt)
    if in_fmt in UPRIGHT:
        return _convert_upright(boxes, in_fmt, out_fmt)
    whole = not boxes.is_floating_point()
    # Each way leads over the first corner; whole numbers are rounded after each part of it, as torchvision does.
    ways = {"cxcywhr": lambda b: _centre_by(b, -1), "xyxyxyxy": _from_corners}
    back = {"cxcywhr": lambda b: _centre_by(b, 1), "xyxyxyxy": _corners}
    out = boxes
    for part in (ways.get(in_fmt), back.get(out_fmt)):
        if part is not None:
            out = part(out)
            out = out.round().to(boxes.dtype) if whole else out
    return out


def box_area(boxes: Any, fmt: str = "xyxy") -> Any:
    """The areas of boxes (..., 4)."""
    if fmt not in UPRIGHT:
        fail(ValueError, f"box_area: forms are {', '.join(UPRIGHT)}", fmt=fmt)
    a, b, c, d = upcast(boxes).unbind(-1)
    return (c - a) * (d - b) if fmt == "xyxy" else c * d


def _shared(boxes1: Any, boxes2: Any, fmt: str) -> tuple[Any, Any]:
    """Areas of the intersection and of the union of each pair: (..., N, M)."""
    area1, area2 = box_area(boxes1, fmt), box_area(boxes2, fmt)
    corners1, corners2 = _parts(boxes1, fmt), _parts(boxes2, fmt)
    sides = [
        upcast(
            torch.min(corners1[i + 2][..., None], corners2[i + 2][..., None, :])
            - torch.max(corners1[i][..., None], corners2[i][..., None, :])
        ).clamp(min=0)
        for i in (0, 1)
    ]
    inter = sides[0] * sides[1]
    return inter, area1[..., None] + area2[..., None, :] - inter


def _hull(boxes1: Any, boxes2: Any) -> tuple[Any, Any]:
    """Width and height of the smallest box around each pair."""
    one, two = boxes1.unbind(-1), boxes2.unbind(-1)
    width, height = (
        upcast(
            torch.max(one[i + 2][..., None], two[i + 2][..., None, :])
            - torch.min(one[i][..., None], two[i][..., None, :])
        ).clamp(min=0)
        for i in (0, 1)
    )
    return width, height


def box_iou(boxes1: Any, boxes2: Any, fmt: str = "xyxy") -> Any:
    """Intersection over union of each pair of boxes: (..., N, 4) and (..., M, 4) -> (..., N, M)."""
    if fmt not in FORMS:
        fail(ValueError, f"box_iou: forms are {', '.join(FORMS)}", fmt=fmt)
    if fmt not in UPRIGHT:
        fail(NotImplementedError, "box_iou: turned boxes are not there yet", fmt=fmt)
    inter, union = _shared(boxes1, boxes2, fmt)
    return inter / union


def generalized_box_iou(boxes1: Any, boxes2: Any) -> Any:
    """IoU of each pair, less the part of the smallest box around both that neither covers (arXiv:1902.09630)."""
    inter, union = _shared(boxes1, boxes2, "xyxy")
    width, height = _hull(boxes1, boxes2)
    around = width * height
    return inter / union - (around - union) / around


def _distance(boxes1: Any, boxes2: Any, eps: float) -> tuple[Any, Any]:
    """The distance IoU and the IoU of each pair."""
    iou = box_iou(boxes1, boxes2)
    width, height = _hull(boxes1, boxes2)
    diagonal = width**2 + height**2 + eps
    one, two = boxes1.unbind(-1), boxes2.unbind(-1)
    apart = sum(
        upcast(((one[i] + one[i + 2]) / 2)[..., None] - ((two[i] + two[i + 2]) / 2)[..., None, :]) ** 2
        for i in (0, 1)
    )
    return iou - apart / diagonal, iou


def distance_box_iou(boxes1: Any, boxes2: Any, eps: float = 1e-7) -> Any:
    """IoU of each pair, less the squared distance of the centres by that of the hull's corners (arXiv:1911.08287)."""
    return _distance(upcast(boxes1), upcast(boxes2), eps)[0]


def complete_box_iou(boxes1: Any, boxes2: Any, eps: float = 1e-7) -> Any:
    """The distance IoU of each pair, less a term for different aspect ratios (arXiv:1911.08287)."""
    boxes1, boxes2 = upcast(boxes1), upcast(boxes2)
    diou, iou = _distance(boxes1, boxes2, eps)
    one, two = (torch.atan((b[..., 2] - b[..., 0]) / (b[..., 3] - b[..., 1])) for b in (boxes1, boxes2))
    v = (4 / math.pi**2) * (one[..., None] - two[..., None, :]) ** 2
    with torch.no_grad():
        alpha = v / (1 - iou + v + eps)
    return diou - alpha * v


def _overlaps(first: np.ndarray, second: np.ndarray, threshold: float) -> np.ndarray:
    """Which boxes of the first overlap which of the second by more than the threshold."""
    one, two = first[:, None, :], second[None, :, :]
    width = np.minimum(one[..., 2], two[..., 2]) - np.maximum(one[..., 0], two[..., 0])
    height = np.minimum(one[..., 3], two[..., 3]) - np.maximum(one[..., 1], two[..., 1])
    inter = np.maximum(width, 0) * np.maximum(height, 0)
    areas = [(b[..., 2] - b[..., 0]) * (b[..., 3] - b[..., 1]) for b in (one, two)]
    with np.errstate(divide="ignore", invalid="ignore"):  # two boxes without area share nothing
        return inter / (areas[0] + areas[1] - inter) > threshold


def _settle(removes: np.ndarray, alive: np.ndarray) -> np.ndarray:
    """Which of the living stay if each that stays removes later ones; `removes` is strictly upper triangular.

    A box is settled one round after all that may remove it, so the rounds are as many as the longest chain of removals.
    """
    kept = alive
    while True:
        now = alive & ~removes[kept].any(axis=0)
        if np.array_equal(now, kept):
            return kept
        kept = now


def nms(boxes: Any, scores: Any, iou_threshold: float) -> Any:
    """Indices of the boxes that overlap no better one that stays by more than the threshold, best score first."""
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        fail(RuntimeError, "nms: boxes should be (N, 4)", boxes=boxes)
    if scores.ndim != 1:
        fail(RuntimeError, "nms: scores should be a 1d tensor", scores=scores)
    if boxes.shape[0] != scores.shape[0]:
        fail(RuntimeError, "nms: boxes and scores should be as many", boxes=boxes, scores=scores)
    order = torch.sort(scores.detach(), stable=True, descending=True)[1]
    sorted_boxes = upcast(boxes.detach()[order]).cpu().numpy()
    kept = np.empty(0, np.int64)
    for start in range(0, len(sorted_boxes), BLOCK):
        block = sorted_boxes[start : start + BLOCK]
        alive = np.ones(len(block), bool)
        for first in range(0, len(kept), BLOCK):
            better = sorted_boxes[kept[first : first + BLOCK]]
            alive &= ~_overlaps(better, block, iou_threshold).any(axis=0)
        removes = np.triu(_overlaps(block, block, iou_threshold), 1)
        kept = np.concatenate((kept, start + np.flatnonzero(_settle(removes, alive))))
    return order[torch.from_numpy(kept).to(order.device)]


def batched_nms(boxes: Any, scores: Any, idxs: Any, iou_threshold: float) -> Any:
    """`nms` among the boxes of each category of idxs."""
    if boxes.numel() == 0:
        return torch.empty((0,), dtype=torch.int64, device=boxes.device)
    if (
        boxes.numel() <= 4000
    ):  # torchvision's limit for few boxes, whose sums round otherwise than the boxes do
        apart = idxs.to(boxes) * (boxes.max() + 1)
        return nms(boxes + apart[:, None], scores, iou_threshold)
    kept = []
    for category in torch.unique(idxs):
        members = torch.where(idxs == category)[0]
        kept.append(members[nms(boxes[members], scores[members], iou_threshold)])
    chosen = torch.cat(kept).sort()[0]
    return chosen[scores[chosen].sort(descending=True)[1]]


def remove_small_boxes(boxes: Any, min_size: float) -> Any:
    """Indices of the boxes (N, 4) neither of whose sides is shorter than min_size."""
    x1, y1, x2, y2 = boxes.unbind(-1)
    return torch.where((x2 - x1 >= min_size) & (y2 - y1 >= min_size))[0]


def clip_boxes_to_image(boxes: Any, size: tuple[int, int]) -> Any:
    """Boxes (..., 4) cut off at the edges of an image of (height, width)."""
    height, width = size
    x = boxes[..., 0::2].clamp(min=0, max=width)
    y = boxes[..., 1::2].clamp(min=0, max=height)
    return torch.stack((x, y), dim=boxes.dim()).reshape(boxes.shape)


def masks_to_boxes(masks: Any) -> Any:
    """The boxes (N, 4) around what is not 0 in masks (N, H, W); all 0 for an empty mask."""
    if masks.numel() == 0:
        return torch.zeros((0, 4), device=masks.device, dtype=torch.float32)
    inside = masks != 0
    sides = []
    for seen in (inside.any(dim=1), inside.any(dim=2)):
        seen = seen.float()
        sides.append((seen.argmax(dim=1), seen.shape[1] - 1 - seen.flip(1).argmax(dim=1)))
    (x1, x2), (y1, y2) = sides
    boxes = torch.stack((x1, y1, x2, y2), dim=1).float()
    return torch.where(inside.flatten(1).any(dim=1)[:, None], boxes, 0.0)
