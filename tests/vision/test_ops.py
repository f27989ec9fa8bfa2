"""torchvision.ops: against loops over boxes, bins and taps written down here, and values by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

import flambeau as torch
from flambeau.vision import ops
from flambeau.vision.ops import boxes as box_ops
from flambeau.vision.ops.feature_pyramid_network import LastLevelMaxPool, LastLevelP6P7
from flambeau.vision.ops.misc import ConvNormActivation


def some_boxes(count: int, seed: int = 0, side: float = 20.0):
    """Boxes (count, 4) by their corners."""
    rng = np.random.default_rng(seed)
    first = rng.uniform(0, side, (count, 2))
    return torch.from_numpy(np.concatenate([first, first + rng.uniform(1, side, (count, 2))], 1))


def shares(one, two) -> tuple[float, float, float]:
    """Intersection, union and hull of two boxes."""
    wide, high = (min(one[i + 2], two[i + 2]) - max(one[i], two[i]) for i in (0, 1))
    inter = max(wide, 0) * max(high, 0)
    union = sum((b[2] - b[0]) * (b[3] - b[1]) for b in (one, two)) - inter
    hull = math.prod(max(one[i + 2], two[i + 2]) - min(one[i], two[i]) for i in (0, 1))
    return inter, union, hull


def test_iou_of_each_pair() -> None:
    one, two = some_boxes(4), some_boxes(3, 1)
    pairs = [[shares(a, b) for b in two.tolist()] for a in one.tolist()]
    iou = torch.tensor([[i / u for i, u, _ in row] for row in pairs], dtype=torch.float64)
    giou = torch.tensor([[i / u - (h - u) / h for i, u, h in row] for row in pairs], dtype=torch.float64)
    torch.testing.assert_close(ops.box_iou(one, two), iou)
    torch.testing.assert_close(ops.generalized_box_iou(one, two), giou)
    for form in ("xywh", "cxcywh"):
        there = [ops.box_convert(b, "xyxy", form) for b in (one, two)]
        torch.testing.assert_close(ops.box_iou(*there, fmt=form), iou)
        torch.testing.assert_close(ops.box_area(there[0], form), ops.box_area(one))
    same = torch.arange(4)
    assert ops.complete_box_iou(one, one)[same, same].tolist() == pytest.approx([1.0] * 4, abs=1e-6)
    assert ops.box_iou(one.long(), two.long()).dtype == torch.float32
    with pytest.raises(ValueError, match="box_iou: forms are"):
        ops.box_iou(one, two, fmt="yx")


@pytest.mark.parametrize("kind", ["generalized", "distance", "complete"])
def test_losses_of_pairs_are_one_minus_the_matrix(kind: str) -> None:
    one, two = some_boxes(6).requires_grad_(), some_boxes(6, 1)
    loss = getattr(ops, f"{kind}_box_iou_loss")
    want = 1 - getattr(ops, f"{kind}_box_iou")(one, two).diagonal()
    torch.testing.assert_close(loss(one, two), want, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(loss(one, two, "mean"), want.mean(), atol=1e-6, rtol=1e-6)
    assert float(loss(one[:0], two[:0], "mean")) == 0.0
    if kind != "complete":  # whose weight alpha counts as a constant
        assert torch.autograd.gradcheck(lambda b: loss(b, two), (one,))
    with pytest.raises(ValueError, match="reduction"):
        loss(one, two, "some")


def test_focal_loss() -> None:
    logits, targets = torch.tensor([0.0, 2.0], dtype=torch.float64), torch.tensor([1.0, 0.0])
    p = 1 / (1 + math.exp(-2))
    want = [0.25 * 0.5**2 * math.log(2), 0.75 * p**2 * -math.log(1 - p)]
    assert ops.sigmoid_focal_loss(logits, targets.double()).tolist() == pytest.approx(want)
    plain = ops.sigmoid_focal_loss(logits, targets.double(), alpha=-1, gamma=0, reduction="sum")
    assert float(plain) == pytest.approx(math.log(2) - math.log(1 - p))
    with pytest.raises(ValueError, match="alpha"):
        ops.sigmoid_focal_loss(logits, targets, alpha=2)


def test_forms_there_and_back() -> None:
    upright = some_boxes(5)
    turned = torch.cat([upright, torch.linspace(-170, 170, 5)[:, None].double()], 1)
    for start, forms in ((upright, ("xyxy", "xywh", "cxcywh")), (turned, ("xywhr", "cxcywhr", "xyxyxyxy"))):
        for form in forms:
            there = ops.box_convert(start, forms[0], form)
            torch.testing.assert_close(ops.box_convert(there, form, forms[0]), start)
    quarter = ops.box_convert(torch.tensor([[4.0, 4.0, 2.0, 6.0, 90.0]]), "cxcywhr", "xyxyxyxy")
    torch.testing.assert_close(quarter, torch.tensor([[1.0, 5.0, 1.0, 3.0, 7.0, 3.0, 7.0, 5.0]]))
    with pytest.raises(NotImplementedError):
        ops.box_convert(upright, "xyxy", "cxcywhr")


def greedy(boxes, scores, threshold: float) -> list[int]:
    """One box after the other, the best first."""
    kept: list[int] = []
    for place in sorted(range(len(scores)), key=lambda i: -scores[i]):
        better = (shares(boxes[place], boxes[k]) for k in kept)
        if all(inter / union <= threshold for inter, union, _ in better):
            kept.append(place)
    return kept


@pytest.mark.parametrize("block", [1024, 7])
def test_nms_is_the_greedy_choice(block: int, monkeypatch) -> None:
    monkeypatch.setattr(box_ops, "BLOCK", block)
    for seed, threshold in ((0, 0.1), (1, 0.3), (2, 0.7)):
        boxes, scores = some_boxes(60, seed, 9.0), np.random.default_rng(seed).permutation(60) / 60
        kept = ops.nms(boxes, torch.from_numpy(scores), threshold)
        assert kept.dtype == torch.int64
        assert kept.tolist() == greedy(boxes.tolist(), scores.tolist(), threshold)
    # A chain, each of which would remove the next: every second one stays.
    chain = torch.tensor([[i, 0.0, i + 4.0, 1.0] for i in range(20)])
    assert ops.nms(chain, torch.arange(20.0), 0.5).tolist() == list(range(19, 0, -2))
    assert ops.nms(chain[:0], torch.zeros(0), 0.5).tolist() == []
    with pytest.raises(RuntimeError, match="nms: boxes and scores should be as many"):
        ops.nms(chain, torch.zeros(3), 0.5)


def test_nms_by_category_for_few_boxes_and_many() -> None:
    for count in (50, 1100):
        boxes, scores = (
            some_boxes(count, side=60.0),
            torch.from_numpy(np.random.default_rng(5).permutation(count)),
        )
        kinds = torch.arange(count) % 3
        kept = ops.batched_nms(boxes, scores.double(), kinds, 0.3)
        each = [torch.where(kinds == kind)[0] for kind in range(3)]
        alone = torch.cat([part[ops.nms(boxes[part], scores[part].double(), 0.3)] for part in each])
        assert kept.tolist() == alone[scores[alone].sort(descending=True)[1]].tolist()


def test_boxes_of_masks_and_of_images() -> None:
    masks = torch.zeros(3, 5, 7)
    masks[0, 1:3, 2:6] = 1
    masks[2, 4, 0] = -1
    assert ops.masks_to_boxes(masks).tolist() == [[2, 1, 5, 2], [0, 0, 0, 0], [0, 4, 0, 4]]
    assert ops.masks_to_boxes(masks[:0]).shape == (0, 4)
    boxes = torch.tensor([[-1.0, 2.0, 30.0, 9.0], [3.0, 3.0, 4.0, 20.0]])
    assert ops.clip_boxes_to_image(boxes, (8, 10)).tolist() == [[0, 2, 10, 8], [3, 3, 4, 8]]
    assert ops.remove_small_boxes(boxes, 5).tolist() == [0]


def sample(image: np.ndarray, y: float, x: float, border: bool) -> np.ndarray:
    """(C, H, W) between its pixels; outside of it the border's pixels (up to 1 away), or 0 around it."""
    _, h, w = image.shape
    if border:
        if not (-1 <= y <= h and -1 <= x <= w):
            return np.zeros(len(image))
        y, x = min(max(y, 0), h - 1), min(max(x, 0), w - 1)
    out = np.zeros(len(image))
    for i in (math.floor(y), math.floor(y) + 1):
        for j in (math.floor(x), math.floor(x) + 1):
            if 0 <= i < h and 0 <= j < w:
                out += image[:, i, j] * (1 - abs(y - i)) * (1 - abs(x - j))
    return out


ROIS = [
    [0, 1.0, 1.0, 7.3, 9.1],
    [1, -3.0, 2.0, 30.0, 4.0],
    [0, 5.0, 5.0, 5.2, 5.1],
    [1, 8.0, 0.0, 13.0, 11.0],
]


def aligned(images: np.ndarray, bins: tuple[int, int], scale: float, ratio: int, kind: str) -> np.ndarray:
    """The three ways to average samples: "legacy", "aligned" and "ps", bin by bin."""
    _, c, *_ = images.shape
    ps = kind == "ps"
    out = np.zeros((len(ROIS), c // math.prod(bins) if ps else c, *bins))
    for k, (image, *corners) in enumerate(ROIS):
        x1, y1, x2, y2 = (v * scale - (0 if kind == "legacy" else 0.5) for v in corners)
        size = (y2 - y1, x2 - x1)
        if kind == "legacy":
            size = tuple(max(s, 1.0) for s in size)
        counts = [ratio if ratio > 0 else math.ceil(s / b) for s, b in zip(size, bins, strict=True)]
        for p, q in np.ndindex(*bins):
            source = images[int(image)]
            source = source.reshape(-1, *bins, *source.shape[1:])[:, p, q] if ps else source
            for i, j in np.ndindex(*counts):
                y = y1 + (p + (i + 0.5) / counts[0]) * size[0] / bins[0]
                x = x1 + (q + (j + 0.5) / counts[1]) * size[1] / bins[1]
                out[k, :, p, q] += sample(source, y, x, True) / math.prod(counts)
    return out


@pytest.mark.parametrize("kind", ["legacy", "aligned", "ps"])
@pytest.mark.parametrize("ratio", [-1, 2])
def test_roi_align_bin_by_bin(kind: str, ratio: int) -> None:
    images = np.random.default_rng(0).normal(size=(2, 12, 9, 10))
    for scale in (1.0, 0.5):
        want = aligned(images, (2, 3), scale, ratio, kind)
        rois = torch.tensor(ROIS, dtype=torch.float64)
        given = (torch.from_numpy(images), rois, (2, 3), scale, ratio)
        got = ops.ps_roi_align(*given) if kind == "ps" else ops.roi_align(*given, kind == "aligned")
        np.testing.assert_allclose(got.numpy(), want, atol=1e-12)


def test_roi_pool_bin_by_bin() -> None:
    images = np.random.default_rng(0).normal(size=(2, 12, 9, 10))
    bins = (2, 3)
    greatest, means = np.zeros((4, 12, *bins)), np.zeros((4, 2, *bins))
    for k, (image, *corners) in enumerate(ROIS):
        x1, y1, x2, y2 = (math.floor(abs(v) + 0.5) * (-1 if v < 0 else 1) for v in corners)
        for p, q in np.ndindex(*bins):
            spans = []
            for more in (1, 0):
                for start, end, part, count, extent in ((y1, y2, p, 2, 9), (x1, x2, q, 3, 10)):
                    step, most = max(end - start + more, 1) / count, extent - 1 + more
                    ends = math.floor(part * step) + start, math.ceil((part + 1) * step) + start
                    spans.append(slice(*(min(max(end, 0), most) for end in ends)))
            window = images[int(image)][:, spans[0], spans[1]].reshape(12, -1)
            greatest[k, :, p, q] = window.max(1) if window.size else 0
            own = images[int(image)].reshape(2, *bins, 9, 10)[:, p, q, spans[2], spans[3]].reshape(2, -1)
            means[k, :, p, q] = own.mean(1) if own.size else 0
    rois = torch.tensor(ROIS, dtype=torch.float64)
    np.testing.assert_allclose(ops.roi_pool(torch.from_numpy(images), rois, bins).numpy(), greatest)
    np.testing.assert_allclose(
        ops.ps_roi_pool(torch.from_numpy(images), rois, bins).numpy(), means, atol=1e-12
    )


@pytest.mark.parametrize("name", ["roi_align", "roi_pool", "ps_roi_align", "ps_roi_pool"])
def test_gradients_of_regions(name: str) -> None:
    torch.manual_seed(0)
    images = torch.randn(2, 4, 5, 6, dtype=torch.float64, requires_grad=True)
    rois = torch.tensor(ROIS, dtype=torch.float64) * torch.tensor([1, 0.5, 0.5, 0.5, 0.5])
    assert torch.autograd.gradcheck(lambda x: getattr(ops, name)(x, rois, 2), (images,))
    none = getattr(ops, name)(images, rois[:0], 2)
    assert none.shape == (0, 4 if "ps" not in name else 1, 2, 2)
    none.sum().backward()
    assert images.grad.abs().max() == 0
    listed = [rois[rois[:, 0] == image, 1:] for image in (0, 1)]
    order = rois[:, 0].sort(stable=True)[1]
    torch.testing.assert_close(
        getattr(ops, name)(images, listed, 2), getattr(ops, name)(images, rois[order], 2)
    )
    for wrong in (rois[:, 1:], [rois], 3):
        with pytest.raises(AssertionError, match=f"{name}: "):
            getattr(ops, name)(images, wrong, 2)


def test_deform_conv_tap_by_tap() -> None:
    rng = np.random.default_rng(0)
    image, weight = rng.normal(size=(2, 4, 6, 7)), rng.normal(size=(6, 2, 3, 2))
    stride, padding, dilation, high, wide = (2, 1), (1, 0), (1, 2), 3, 5
    offset, mask = rng.normal(size=(2, 2 * 12, high, wide)), rng.uniform(size=(2, 2 * 6, high, wide))
    bias, want = rng.normal(size=6), np.zeros((2, 6, high, wide))
    for n, o, i, j in np.ndindex(want.shape):
        want[n, o, i, j] = bias[o]
        for c, (a, b) in ((c, tap) for c in range(2) for tap in np.ndindex(3, 2)):
            channel = c + 2 * (o // 3)
            place = (channel // 2) * 6 + a * 2 + b
            y = i * stride[0] - padding[0] + a * dilation[0] + offset[n, 2 * place, i, j]
            x = j * stride[1] - padding[1] + b * dilation[1] + offset[n, 2 * place + 1, i, j]
            taken = sample(image[n, channel : channel + 1], y, x, False)[0]
            want[n, o, i, j] += weight[o, c, a, b] * mask[n, place, i, j] * taken
    given = [torch.from_numpy(each).requires_grad_() for each in (image, offset, weight, bias, mask)]
    x, where, w, b, m = given
    got = ops.deform_conv2d(x, where, w, b, stride, padding, dilation, m)
    np.testing.assert_allclose(got.detach().numpy(), want, atol=1e-12)
    layer = ops.DeformConv2d(4, 6, (3, 2), stride, padding, dilation, groups=2)
    assert layer(x.float(), where.float()).shape == want.shape
    assert repr(layer).endswith("stride=(2, 1), padding=(1, 0), dilation=(1, 2), groups=2)")


def test_gradients_of_deform_conv() -> None:
    torch.manual_seed(0)
    shapes = ((1, 2, 4, 4), (1, 8, 3, 3), (2, 2, 2, 2), (2,), (1, 4, 3, 3))
    x, offset, w, b, m = (torch.randn(s, dtype=torch.float64, requires_grad=True) for s in shapes)
    assert torch.autograd.gradcheck(
        lambda x, o, w, b, m: ops.deform_conv2d(x, o, w, b, mask=m), (x, offset, w, b, m)
    )
    with pytest.raises(RuntimeError, match="deform_conv2d: the shape of offset"):
        ops.deform_conv2d(x, offset[:, :3], w)


def test_what_is_dropped() -> None:
    torch.manual_seed(0)
    x = torch.ones(400, 2, 3)
    kept = ops.stochastic_depth(x, 0.25, "row")
    assert set(kept.flatten().tolist()) == {0.0, float(np.float32(1) / np.float32(0.75))}
    assert (kept == kept[:, :1, :1]).all() and 0.15 < float((kept == 0).float().mean()) < 0.35
    assert ops.stochastic_depth(x, 0.25, "batch").unique().numel() == 1
    assert ops.stochastic_depth(x, 0.25, "row", training=False) is x
    image = torch.ones(2, 3, 20, 20)
    dropped = ops.drop_block2d(image, 0.3, 3)
    zero = (dropped == 0).float()
    centres = torch.nn.functional.avg_pool2d(zero, 3, 1) == 1  # each 0 lies in a block of zeros
    around = torch.nn.functional.max_pool2d(torch.nn.functional.pad(centres.float(), [1] * 4), 3, 1, 1)
    assert zero.sum() > 0 and torch.equal(around, zero)
    assert float(dropped.mean()) == pytest.approx(1.0, abs=1e-5)
    volume = torch.ones(1, 1, 6, 6, 6)
    assert ops.DropBlock3d(0.3, 3, inplace=True)(volume) is volume
    for wrong in (lambda: ops.drop_block2d(image, 0.3, 2), lambda: ops.stochastic_depth(x, 2.0, "row")):
        with pytest.raises(ValueError):
            wrong()


def test_layers() -> None:
    norm = torch.nn.BatchNorm2d(3).eval()
    norm.running_mean.uniform_()
    frozen = ops.FrozenBatchNorm2d(3)
    frozen.load_state_dict(norm.state_dict())
    x = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(frozen(x), norm(x))
    assert not list(frozen.parameters()) and repr(frozen) == "FrozenBatchNorm2d(3, eps=1e-05)"
    block = ops.Conv2dNormActivation(3, 4, (3, 5), dilation=2)
    assert [type(each).__name__ for each in block] == ["Conv2d", "BatchNorm2d", "ReLU"]
    assert block(x).shape == (2, 4, 8, 8) and block[0].bias is None
    assert ops.Conv3dNormActivation(3, 4, norm_layer=None)[0].bias is not None
    with pytest.warns(UserWarning, match="Conv2dNormActivation"):
        ConvNormActivation(3, 4)
    assert ops.SqueezeExcitation(3, 1)(x).shape == x.shape
    names = [type(each).__name__ for each in ops.MLP(3, [4, 5], norm_layer=torch.nn.LayerNorm)]
    assert names == ["Linear", "LayerNorm", "ReLU", "Dropout", "Linear", "Dropout"]
    assert ops.Permute([0, 2, 3, 1])(x).shape == (2, 8, 8, 3)


def test_pyramids() -> None:
    maps = {"a": torch.randn(1, 3, 16, 16), "b": torch.randn(1, 4, 8, 8)}
    plain = ops.FeaturePyramidNetwork([3, 4], 5)
    found = plain(maps)
    top = plain.inner_blocks[1](maps["b"])
    torch.testing.assert_close(found["b"], plain.layer_blocks[1](top))
    below = plain.inner_blocks[0](maps["a"]) + top.repeat_interleave(2, 2).repeat_interleave(2, 3)
    torch.testing.assert_close(found["a"], plain.layer_blocks[0](below))
    assert list(ops.FeaturePyramidNetwork([3, 4], 5, LastLevelMaxPool())(maps)) == ["a", "b", "pool"]
    more = ops.FeaturePyramidNetwork([3, 4], 5, LastLevelP6P7(5, 5))(maps)
    assert [tuple(each.shape[2:]) for each in more.values()] == [(16, 16), (8, 8), (4, 4), (2, 2)]
    boxes = torch.tensor([[0.0, 0.0, 20.0, 20.0], [0.0, 0.0, 130.0, 130.0]])
    pool = ops.MultiScaleRoIAlign(["a", "b"], 3, 2, canonical_scale=64, canonical_level=3)
    out = pool(found, [boxes], [(128, 128)])
    assert pool.scales == [0.125, 0.0625]
    for place, (name, scale) in enumerate((("a", 0.125), ("b", 0.0625))):
        alone = ops.roi_align(found[name], [boxes[place : place + 1]], 3, scale, 2)
        torch.testing.assert_close(out[place : place + 1], alone)
