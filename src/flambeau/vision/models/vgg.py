"""torchvision.models.vgg: the nets of the Visual Geometry Group, with torchvision's names of the parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flambeau as torch

from .weights import kaiming_start, refuse_weights

nn = torch.nn

# The widths of the convolutions; "M" is a pooling.
cfgs: dict[str, list[int | str]] = {
    letter: [
        step for width, count in zip((64, 128, 256, 512, 512), counts) for step in (*[width] * count, "M")
    ]
    for letter, counts in {
        "A": (1, 1, 2, 2, 2),
        "B": (2, 2, 2, 2, 2),
        "D": (2, 2, 3, 3, 3),
        "E": (2, 2, 4, 4, 4),
    }.items()
}


class VGG(nn.Module):
    """3x3 convolutions and poolings, then three linear layers (K. Simonyan, A. Zisserman, 2014, arXiv:1409.1556)."""

    def __init__(
        self, features: Any, num_classes: int = 1000, init_weights: bool = True, dropout: float = 0.5
    ):
        super().__init__()
        self.features = features
        self.avgpool = nn.AdaptiveAvgPool2d((7, 7))
        self.classifier = nn.Sequential(
            nn.Linear(512 * 7 * 7, 4096),
            nn.ReLU(True),
            nn.Dropout(p=dropout),
            nn.Linear(4096, 4096),
            nn.ReLU(True),
            nn.Dropout(p=dropout),
            nn.Linear(4096, num_classes),
        )
        if init_weights:
            kaiming_start(self, linear=True)

    def forward(self, x: Any) -> Any:
        """(N, 3, H, W) -> (N, num_classes)."""
        return self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))


def make_layers(cfg: Sequence[int | str], batch_norm: bool = False) -> Any:
    """The convolutions (with batch norms) and poolings that a list of widths and "M" spells."""
    layers: list[Any] = []
    inputs = 3
    for step in cfg:
        if isinstance(step, str):
            layers.append(nn.MaxPool2d(kernel_size=2, stride=2))
            continue
        layers.append(nn.Conv2d(inputs, step, kernel_size=3, padding=1))
        if batch_norm:
            layers.append(nn.BatchNorm2d(step))
        layers.append(nn.ReLU(inplace=True))
        inputs = step
    return nn.Sequential(*layers)


def _vgg(name: str, cfg: str, batch_norm: bool, weights: Any, **kwargs: Any) -> VGG:
    refuse_weights(name, weights)
    return VGG(make_layers(cfgs[cfg], batch_norm=batch_norm), **kwargs)


def vgg11(*, weights: Any = None, progress: bool = True, **kwargs: Any) -> VGG:
    """8 convolutions, 132.9 million parameters."""
    return _vgg("vgg11", "A", False, weights, **kwargs)


def vgg11_bn(*, weights: Any = None, progress: bool = True, **kwargs: Any) -> VGG:
    """vgg11 with batch norm."""
    return _vgg("vgg11_bn", "A", True, weights, **kwargs)


def vgg13(*, weights: Any = None, progress: bool = True, **kwargs: Any) -> VGG:
    """10 convolutions, 133.0 million parameters."""
    return _vgg("vgg13", "B", False, weights, **kwargs)


def vgg13_bn(*, weights: Any = None, progress: bool = True, **kwargs: Any) -> VGG:
    """vgg13 with batch norm."""
    return _vgg("vgg13_bn", "B", True, weights, **kwargs)


def vgg16(*, weights: Any = None, progress: bool = True, **kwargs: Any) -> VGG:
    """13 convolutions, 138.4 million parameters."""
    return _vgg("vgg16", "D", False, weights, **kwargs)


def vgg16_bn(*, weights: Any = None, progress: bool = True, **kwargs: Any) -> VGG:
    """vgg16 with batch norm."""
    return _vgg("vgg16_bn", "D", True, weights, **kwargs)


def vgg19(*, weights: Any = None, progress: bool = True, **kwargs: Any) -> VGG:
    """16 convolutions, 143.7 million parameters."""
    return _vgg("vgg19", "E", False, weights, **kwargs)


def vgg19_bn(*, weights: Any = None, progress: bool = True, **kwargs: Any) -> VGG:
    """vgg19 with batch norm."""
    return _vgg("vgg19_bn", "E", True, weights, **kwargs)
