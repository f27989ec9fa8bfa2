"""Functions of images and other grids: resizing, sampling, patches."""

from __future__ import annotations

import math
from typing import Any

import flambeau as torch

from .table import ops, warn

Tensor = Any


def _sizes(value: Any, count: int, what: str, input: Tensor) -> list[Any]:
    if not isinstance(value, (list, tuple, torch.Size)):
        return [value] * count
    if len(value) != count:
        raise ValueError(
            f"Input and {what} must have the same number of spatial dimensions, but got input with spatial dimensions "
            f"of {list(input.shape[2:])} and {what} of {value}. "
            + (
                "Please provide input tensor in (N, C, d1, d2, ...,dK) format and output size in (o1, o2, ...,oK) "
                "format."
                if what == "output size"
                else "Please provide input tensor in (N, C, d1, d2, ...,dK) format and scale_factor in "
                "(s1, s2, ...,sK) format."
            )
        )
    return list(value)


def interpolate(
    input: Tensor,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Tensor:
    """Resizes (N, C, ...) to `size` or by `scale_factor`; mode: nearest, nearest-exact, linear, bilinear, bicubic,
    trilinear, area."""
    if mode in ("nearest", "area", "nearest-exact"):
        if align_corners is not None:
            raise ValueError(
                "align_corners option can only be set with the interpolating modes: linear | bilinear | bicubic | "
                "trilinear"
            )
    elif align_corners is None:
        align_corners = False
    count = input.dim() - 2
    if size is not None and scale_factor is not None:
        raise ValueError("only one of size or scale_factor should be defined")
    if size is None and scale_factor is None:
        raise ValueError("either size or scale_factor should be defined")
    scales = None
    if size is not None:
        output = _sizes(size, count, "output size", input)
    else:
        scales = _sizes(scale_factor, count, "scale_factor", input)
        output = [math.floor(float(input.size(i + 2)) * s) for i, s in enumerate(scales)]
    if recompute_scale_factor:
        if size is not None:
            raise ValueError("recompute_scale_factor is not meaningful with an explicit size.")
        scales = None
    if antialias and not (mode in ("bilinear", "bicubic") and input.dim() == 4):
        raise ValueError(
            "Anti-alias option is restricted to bilinear and bicubic modes and requires a 4-D tensor as input"
        )
    return _resized(input, mode, output, scales, align_corners, antialias)


def _resized(
    input: Tensor, mode: str, size: list, scales: Any, align_corners: Any, antialias: bool
) -> Tensor:
    dims = input.dim()
    if mode == "area" and dims in (3, 4, 5):
        return getattr(ops, f"adaptive_avg_pool{dims - 2}d")(input, size)
    wanted = {"linear": 3, "bilinear": 4, "bicubic": 4, "trilinear": 5}.get(mode)
    if dims in (3, 4, 5) and (mode in ("nearest", "nearest-exact") or wanted == dims):
        return ops.resize(input, size, mode, align_corners, scales, antialias)
    if dims in (3, 4, 5) and wanted in (3, 4, 5):
        raise NotImplementedError(f"Got {dims}D input, but {mode} mode needs {wanted}D input")
    raise NotImplementedError(
        "Input Error: Only 3D, 4D and 5D input Tensors supported"
        f" (got {dims}D) for the modes: nearest | linear | bilinear | bicubic | trilinear | area | nearest-exact"
        f" (got {mode})"
    )


def upsample_nearest(input: Tensor, size: Any = None, scale_factor: Any = None) -> Tensor:
    """Deprecated: `interpolate` with mode nearest."""
    warn("`nn.functional.upsample_nearest` is deprecated. Use `nn.functional.interpolate` instead.")
    return interpolate(input, size, scale_factor, mode="nearest")


def upsample_bilinear(input: Tensor, size: Any = None, scale_factor: Any = None) -> Tensor:
    """Deprecated: `interpolate` with mode bilinear and align_corners."""
    warn("`nn.functional.upsample_bilinear` is deprecated. Use `nn.functional.interpolate` instead.")
    return interpolate(input, size, scale_factor, mode="bilinear", align_corners=True)


def grid_sample(
    input: Tensor,
    grid: Tensor,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool | None = None,
) -> Tensor:
    """Reads (N, C, H, W) at the places grid (N, h, w, 2), x before y, each from -1 to 1 (or the same with depth)."""
    if mode not in ("bilinear", "nearest", "bicubic"):
        raise ValueError(
            f"nn.functional.grid_sample(): expected mode to be 'bilinear', 'nearest' or 'bicubic', but got: '{mode}'"
        )
    if padding_mode not in ("zeros", "border", "reflection"):
        raise ValueError(
            "nn.functional.grid_sample(): expected padding_mode to be 'zeros', 'border', or 'reflection', but got: "
            f"'{padding_mode}'"
        )
    if align_corners is None:
        warn(
            "Default grid_sample and affine_grid behavior has changed to align_corners=False since 1.3.0. Please "
            "specify align_corners=True if the old behavior is desired. See the documentation of grid_sample for "
            "details."
        )
        align_corners = False
    return ops.grid_sample(input, grid, mode, padding_mode, align_corners)


def grid_sampler(
    input: Tensor, grid: Tensor, interpolation_mode: int, padding_mode: int, align_corners: bool
) -> Tensor:
    """`grid_sample` with the modes as numbers: 0 bilinear, 1 nearest, 2 bicubic; 0 zeros, 1 border, 2 reflection."""
    mode = ("bilinear", "nearest", "bicubic")[interpolation_mode]
    return ops.grid_sample(
        input, grid, mode, ("zeros", "border", "reflection")[padding_mode], bool(align_corners)
    )


def affine_grid(theta: Tensor, size: Any, align_corners: bool | None = None) -> Tensor:
    """The sampling grid of the affine maps theta (N, 2, 3) for `size` (N, C, H, W), or (N, 3, 4) with depth."""
    if align_corners is None:
        warn(
            "Default grid_sample and affine_grid behavior has changed to align_corners=False since 1.3.0. Please "
            "specify align_corners=True if the old behavior is desired. See the documentation of grid_sample for "
            "details."
        )
        align_corners = False
    if not theta.is_floating_point():
        raise ValueError(f"Expected theta to have floating point type, but got {theta.dtype}")
    rows = {4: 2, 5: 3}.get(len(size))
    if rows is None:
        raise NotImplementedError(
            "affine_grid only supports 4D and 5D sizes, for 2D and 3D affine transforms, respectively. Got size "
            f"{size}."
        )
    if theta.dim() != 3 or theta.shape[-2] != rows or theta.shape[-1] != rows + 1:
        raise ValueError(
            f"Expected a batch of {rows}D affine matrices of shape Nx{rows}x{rows + 1} for size {size}. Got "
            f"{theta.shape}."
        )
    if min(size) <= 0:
        raise ValueError(f"Expected non-zero, positive output size. Got {size}")
    axes = []
    for n in size[2:]:
        axis = torch.linspace(-1, 1, n, dtype=theta.dtype, device=theta.device)
        axes.append(axis if align_corners and n > 1 else axis * ((n - 1) / n))
    mesh = torch.meshgrid(*axes, indexing="ij")
    base = torch.stack([*reversed(mesh), torch.ones_like(mesh[0])], dim=-1).reshape(1, -1, rows + 1)
    return (
        base.expand(theta.size(0), -1, -1).bmm(theta.transpose(1, 2)).reshape(theta.size(0), *size[2:], rows)
    )


def unfold(input: Tensor, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Tensor:
    """The patches of (N, C, H, W) as columns: (N, C kh kw, number of patches)."""
    return ops.unfold(input, kernel_size, dilation, padding, stride)


def fold(
    input: Tensor, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
) -> Tensor:
    """Adds up patches (N, C kh kw, number of patches) into images (N, C, H, W)."""
    return ops.fold(input, output_size, kernel_size, dilation, padding, stride)
