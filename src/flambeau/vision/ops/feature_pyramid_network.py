"""Feature pyramids (arXiv:1612.03144), with torchvision's names of the parameters."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import flambeau as torch

from ...errors import fail
from .misc import Conv2dNormActivation

nn = torch.nn


def _kaiming(model: Any) -> None:
    """Convolutions from a uniform law by the fan-in, biases 0."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_uniform_(module.weight, a=1)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


class ExtraFPNBlock(nn.Module):
    """The base of what adds maps to a pyramid: (results, inputs, names) -> (results, names)."""

    def forward(self, results: list[Any], x: list[Any], names: list[str]) -> Any:
        """Nothing: a subclass says it."""


class FeaturePyramidNetwork(nn.Module):
    """Maps of increasing depth, each with what the deeper ones know, all with out_channels channels."""

    _version = 2

    def __init__(
        self,
        in_channels_list: list[int],
        out_channels: int,
        extra_blocks: ExtraFPNBlock | None = None,
        norm_layer: Callable[..., Any] | None = None,
    ):
        super().__init__()
        self.inner_blocks, self.layer_blocks = nn.ModuleList(), nn.ModuleList()
        options: Any = {"norm_layer": norm_layer, "activation_layer": None}
        for channels in in_channels_list:
            if channels == 0:
                fail(
                    ValueError, "FeaturePyramidNetwork: a map without channels", in_channels=in_channels_list
                )
            self.inner_blocks.append(Conv2dNormActivation(channels, out_channels, 1, padding=0, **options))
            self.layer_blocks.append(Conv2dNormActivation(out_channels, out_channels, 3, **options))
        _kaiming(self)
        if extra_blocks is not None and not isinstance(extra_blocks, ExtraFPNBlock):
            fail(TypeError, "FeaturePyramidNetwork: extra_blocks is an ExtraFPNBlock", got=type(extra_blocks))
        self.extra_blocks = extra_blocks

    def _load_from_state_dict(self, state_dict: Any, prefix: str, local_metadata: Any, *args: Any) -> None:
        if (local_metadata.get("version") or 1) < 2:  # a block was a convolution alone
            for block in ("inner_blocks", "layer_blocks"):
                for place in range(len(self.inner_blocks)):
                    for kind in ("weight", "bias"):
                        old = f"{prefix}{block}.{place}.{kind}"
                        if old in state_dict:
                            state_dict[f"{prefix}{block}.{place}.0.{kind}"] = state_dict.pop(old)
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *args)

    def forward(self, x: dict[str, Any]) -> dict[str, Any]:
        """Maps by name, the largest first -> maps by name."""
        names, maps = list(x.keys()), list(x.values())
        results: list[Any] = []
        above: Any = None
        for place in reversed(range(len(maps))):
            inner = self.inner_blocks[place](maps[place])
            if above is not None:
                inner = inner + nn.functional.interpolate(above, size=inner.shape[-2:], mode="nearest")
            above = inner
            results.insert(0, self.layer_blocks[place](inner))
        if self.extra_blocks is not None:
            results, names = self.extra_blocks(results, maps, names)
        return OrderedDict(zip(names, results, strict=False))


class LastLevelMaxPool(ExtraFPNBlock):
    """Adds every second pixel of the last map, named "pool"."""

    def forward(self, x: list[Any], y: list[Any], names: list[str]) -> Any:
        """One map more."""
        return [*x, nn.functional.max_pool2d(x[-1], kernel_size=1, stride=2)], [*names, "pool"]


class LastLevelP6P7(ExtraFPNBlock):
    """Adds two maps, each of half the size of the one before (arXiv:1708.02002)."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.p6 = nn.Conv2d(in_channels, out_channels, 3, 2, 1)
        self.p7 = nn.Conv2d(out_channels, out_channels, 3, 2, 1)
        _kaiming(self)
        self.use_P5 = in_channels == out_channels

    def forward(self, p: list[Any], c: list[Any], names: list[str]) -> Any:
        """Two maps more."""
        p6 = self.p6(p[-1] if self.use_P5 else c[-1])
        return [*p, p6, self.p7(nn.functional.relu(p6))], [*names, "p6", "p7"]
