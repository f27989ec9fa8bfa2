"""Convolutions whose taps are moved by offsets (torchvision.ops; arXiv:1703.06211, with a mask arXiv:1811.11168)."""

from __future__ import annotations

import math
from typing import Any

import flambeau as torch

from ...errors import fail
from .regions import pair


def _corners(at: Any, extent: int) -> tuple[Any, Any]:
    """The two whole places around each place, and their weights, 0 outside of the image; stacked in front."""
    low = at.detach().floor()
    part = at - low
    both = torch.stack((low, low + 1))
    inside = (both >= 0) & (both < extent)
    return both.clamp(min=0, max=extent - 1).long(), torch.where(inside, torch.stack((1 - part, part)), 0.0)


def _places(size: int, taps: int, stride: int, padding: int, dilation: int, like: Any) -> Any:
    """Where the taps lie along one axis before they are moved: (taps, size)."""
    out = torch.arange(size, dtype=like.dtype, device=like.device) * stride - padding
    return torch.arange(taps, dtype=like.dtype, device=like.device)[:, None] * dilation + out


def deform_conv2d(
    input: Any,
    offset: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = (1, 1),
    padding: Any = (0, 0),
    dilation: Any = (1, 1),
    mask: Any = None,
) -> Any:
    """A convolution (N, C, H, W) -> (N, O, Ho, Wo) whose taps lie at their places + offset, times mask.

    offset is (N, groups * kh * kw * 2, Ho, Wo), y before x; mask (N, groups * kh * kw, Ho, Wo).
    """
    n, c, h, w = input.shape
    out_channels, per_group, kh, kw = weight.shape
    groups = offset.shape[1] // (2 * kh * kw)
    if groups == 0 or offset.shape[1] % (2 * kh * kw) or c % groups:
        fail(
            RuntimeError,
            "deform_conv2d: the shape of offset at dimension 1 is not valid",
            f"a multiple of 2 * {kh} * {kw} by which the channels can be divided",
            offset=offset,
        )
    sides = []
    for extent, taps, s, p, d in zip(
        (h, w), (kh, kw), pair(stride), pair(padding), pair(dilation), strict=True
    ):
        size = (extent + 2 * p - d * (taps - 1) - 1) // s + 1
        sides.append((size, _places(size, taps, s, p, d, offset)))
    (high, rows_at), (wide, columns_at) = sides
    if offset.shape[0] != n or offset.shape[2:] != (high, wide):
        fail(RuntimeError, f"deform_conv2d: offset should be ({n}, ..., {high}, {wide})", offset=offset)
    moved = offset.reshape(n, groups, kh, kw, 2, high, wide)
    y, y_weight = _corners(moved[:, :, :, :, 0] + rows_at[:, None, :, None], h)
    x, x_weight = _corners(moved[:, :, :, :, 1] + columns_at[:, None, :], w)
    image = torch.arange(n * groups, device=input.device).reshape(n, groups, 1, 1, 1, 1) * (h * w)
    index = torch.stack([image + y[i] * w + x[j] for i in (0, 1) for j in (0, 1)], dim=-1)
    share = torch.stack([y_weight[i] * x_weight[j] for i in (0, 1) for j in (0, 1)], dim=-1)
    if mask is not None:
        share = share * mask.reshape(n, groups, kh, kw, high, wide, 1)
    # The pixels of each group of channels as rows of a table; a tap is a bag of four of them.
    rows = input.reshape(n, groups, c // groups, h * w).transpose(2, 3).reshape(n * groups * h * w, -1)
    taken = torch.nn.functional.embedding_bag(
        index.reshape(-1, 4), rows, mode="sum", per_sample_weights=share.reshape(-1, 4)
    )
    columns = taken.reshape(n, groups, kh * kw, high * wide, c // groups).permute(0, 1, 4, 2, 3)
    parts = c // per_group
    columns = columns.reshape(n, parts, per_group * kh * kw, high * wide)
    out = torch.matmul(weight.reshape(parts, out_channels // parts, -1), columns)
    out = out.reshape(n, out_channels, high, wide)
    return out if bias is None else out + bias[:, None, None]


class DeformConv2d(torch.nn.Module):
    """`deform_conv2d` with a weight and a bias of its own."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        bias: bool = True,
    ):
        super().__init__()
        for name, number in (("in_channels", in_channels), ("out_channels", out_channels)):
            if number % groups:
                fail(ValueError, f"DeformConv2d: {name} must be divisible by groups", groups=groups)
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size, self.stride = pair(kernel_size), pair(stride)
        self.padding, self.dilation = pair(padding), pair(dilation)
        nn = torch.nn
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels // groups, *self.kernel_size))
        if bias:
            self.bias = nn.Parameter(torch.empty(out_channels))
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """As a convolution's: uniform by the fan-in."""
        torch.nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            bound = 1 / math.sqrt(self.weight[0].numel())
            torch.nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, input: Any, offset: Any, mask: Any = None) -> Any:
        """(N, in_channels, H, W) -> (N, out_channels, Ho, Wo)."""
        where = (self.stride, self.padding, self.dilation)
        return deform_conv2d(input, offset, self.weight, self.bias, *where, mask)

    def __repr__(self) -> str:
        text = (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        )
        usual = {"padding": (0, 0), "dilation": (1, 1), "groups": 1}
        given = [
            f", {name}={getattr(self, name)}" for name, value in usual.items() if getattr(self, name) != value
        ]
        return (
            f"{type(self).__name__}({text}{''.join(given)}{'' if self.bias is not None else ', bias=False'})"
        )
