"""Regions from the map of a pyramid that suits their size (arXiv:1612.03144, equation 1)."""

from __future__ import annotations

import math
from typing import Any

import flambeau as torch

from ...errors import fail
from .boxes import box_area
from .regions import pair, regions, roi_align


class LevelMapper:
    """The level of each box by its area: k0 + log2(sqrt(area) / canonical_scale), counted from k_min."""

    def __init__(
        self,
        k_min: int,
        k_max: int,
        canonical_scale: int = 224,
        canonical_level: int = 4,
        eps: float = 1e-6,
    ):
        self.k_min, self.k_max = k_min, k_max
        self.s0, self.lvl0, self.eps = canonical_scale, canonical_level, eps

    def __call__(self, boxlists: list[Any]) -> Any:
        side = torch.sqrt(torch.cat([box_area(boxes) for boxes in boxlists]))
        level = torch.floor(self.lvl0 + torch.log2(side / self.s0) + self.eps)
        return level.clamp(min=self.k_min, max=self.k_max).to(torch.int64) - self.k_min


class MultiScaleRoIAlign(torch.nn.Module):
    """`roi_align` over several maps; their scales are found from the first batch's."""

    def __init__(
        self,
        featmap_names: list[str],
        output_size: Any,
        sampling_ratio: int,
        *,
        canonical_scale: int = 224,
        canonical_level: int = 4,
    ):
        super().__init__()
        self.featmap_names, self.sampling_ratio = featmap_names, sampling_ratio
        self.output_size = pair(output_size)
        self.scales: list[float] | None = None
        self.map_levels: LevelMapper | None = None
        self.canonical_scale, self.canonical_level = canonical_scale, canonical_level

    def _set_scales(self, maps: list[Any], image_shapes: list[tuple[int, int]]) -> None:
        """Powers of two by the heights of the maps and the largest image."""
        if not image_shapes:
            fail(ValueError, "MultiScaleRoIAlign: image_shapes should not be empty")
        height = max(shape[0] for shape in image_shapes)
        powers = [round(math.log2(each.shape[-2] / height)) for each in maps]
        self.scales = [2.0**power for power in powers]
        self.map_levels = LevelMapper(-powers[0], -powers[-1], self.canonical_scale, self.canonical_level)

    def forward(self, x: dict[str, Any], boxes: list[Any], image_shapes: list[tuple[int, int]]) -> Any:
        """Maps by name, and boxes (L, 4) of each image -> (all boxes, C, *output_size)."""
        maps = [each for name, each in x.items() if name in self.featmap_names]
        if self.scales is None or self.map_levels is None:
            self._set_scales(maps, image_shapes)
        scales, mapper = self.scales, self.map_levels
        rois = regions("MultiScaleRoIAlign", boxes)
        size, ratio = self.output_size, self.sampling_ratio
        if len(maps) == 1:
            return roi_align(maps[0], rois, size, scales[0], ratio)  # type: ignore[index]
        levels = mapper(boxes)  # type: ignore[misc]
        out = maps[0].new_zeros((len(rois), maps[0].shape[1], *size))
        for level, (each, scale) in enumerate(zip(maps, scales, strict=True)):  # type: ignore[arg-type]
            chosen = torch.where(levels == level)[0]
            out[chosen] = roi_align(each, rois[chosen], size, scale, ratio).to(out.dtype)
        return out

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(featmap_names={self.featmap_names}, "
            f"output_size={self.output_size}, sampling_ratio={self.sampling_ratio})"
        )
