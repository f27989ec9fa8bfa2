"""Transforms of colour and sharpness, some by random draws (the same as torchvision's, in its order)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flambeau as torch

from ...errors import fail
from . import functional as F
from .layout import draw, two

Range = tuple[float, float]


class ColorJitter(torch.nn.Module):
    """Brightness, contrast, saturation and hue changed by random factors, in a random order."""

    def __init__(self, brightness: Any = 0, contrast: Any = 0, saturation: Any = 0, hue: Any = 0):
        super().__init__()
        self.brightness = self._range("brightness", brightness)
        self.contrast = self._range("contrast", contrast)
        self.saturation = self._range("saturation", saturation)
        self.hue = self._range("hue", hue, centre=0.0, low=-0.5, high=0.5)

    @staticmethod
    def _range(
        name: str, value: Any, centre: float = 1.0, low: float = 0.0, high: float = float("inf")
    ) -> Range | None:
        """The range to draw from: (centre - value, centre + value) within the bounds, or as given; None if a point."""
        if isinstance(value, (int, float)):
            if value < 0:
                fail(
                    ValueError,
                    f"ColorJitter: if {name} is a single number, it must be non negative",
                    value=value,
                )
            pair = [centre - float(value), centre + float(value)]
            if centre == 1.0:
                pair[0] = max(pair[0], 0.0)
        elif isinstance(value, (tuple, list)) and len(value) == 2:
            pair = [float(value[0]), float(value[1])]
        else:
            fail(TypeError, f"ColorJitter: {name} should be a number or two", value=value)
        if not low <= pair[0] <= pair[1] <= high:
            fail(ValueError, f"ColorJitter: {name} values should be between {low} and {high}", value=value)
        return None if pair[0] == pair[1] == centre else (pair[0], pair[1])

    @staticmethod
    def get_params(
        brightness: Range | None, contrast: Range | None, saturation: Range | None, hue: Range | None
    ) -> tuple[Any, float | None, float | None, float | None, float | None]:
        """The order of the four, and their factors (None: left alone)."""
        order = torch.randperm(4)
        b, c, s, h = (None if r is None else draw(*r) for r in (brightness, contrast, saturation, hue))
        return order, b, c, s, h

    def forward(self, img: Any) -> Any:
        """The image with other colours."""
        order, *factors = self.get_params(self.brightness, self.contrast, self.saturation, self.hue)
        change = (F.adjust_brightness, F.adjust_contrast, F.adjust_saturation, F.adjust_hue)
        for which in order.tolist():
            factor = factors[which]
            if factor is not None:
                img = change[which](img, factor)
        return img

    def __repr__(self) -> str:
        detail = f"brightness={self.brightness}, contrast={self.contrast}, saturation={self.saturation}"
        return f"{type(self).__name__}({detail}, hue={self.hue})"


class Grayscale(torch.nn.Module):
    """The image without colour, in one channel or three."""

    def __init__(self, num_output_channels: int = 1):
        super().__init__()
        self.num_output_channels = num_output_channels

    def forward(self, img: Any) -> Any:
        """`functional.rgb_to_grayscale`."""
        return F.rgb_to_grayscale(img, self.num_output_channels)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(num_output_channels={self.num_output_channels})"


class RandomGrayscale(torch.nn.Module):
    """The image without colour with probability p, in as many channels as before."""

    def __init__(self, p: float = 0.1):
        super().__init__()
        self.p = p

    def forward(self, img: Any) -> Any:
        """The image, grey or as it was."""
        channels = F.get_image_num_channels(img)
        return F.rgb_to_grayscale(img, channels) if torch.rand(1).item() < self.p else img

    def __repr__(self) -> str:
        return f"{type(self).__name__}(p={self.p})"


class RandomInvert(torch.nn.Module):
    """The negative, with probability p."""

    def __init__(self, p: float = 0.5):
        super().__init__()
        self.p = p

    def forward(self, img: Any) -> Any:
        """The image or its negative."""
        return F.invert(img) if torch.rand(1).item() < self.p else img

    def __repr__(self) -> str:
        return f"{type(self).__name__}(p={self.p})"


class GaussianBlur(torch.nn.Module):
    """The image smoothed with a Gaussian whose deviation is drawn from a range."""

    def __init__(self, kernel_size: int | Sequence[int], sigma: float | Sequence[float] = (0.1, 2.0)):
        super().__init__()
        self.kernel_size = two("GaussianBlur", kernel_size)
        if any(k <= 0 or k % 2 == 0 for k in self.kernel_size):
            fail(ValueError, "GaussianBlur: kernel size is odd and positive", kernel_size=kernel_size)
        pair = (
            (float(sigma), float(sigma))
            if isinstance(sigma, (int, float))
            else tuple(float(s) for s in sigma)
        )
        if len(pair) != 2 or not 0.0 < pair[0] <= pair[1]:
            fail(ValueError, "GaussianBlur: sigma is positive and of the form (min, max)", sigma=sigma)
        self.sigma = pair

    def forward(self, img: Any) -> Any:
        """The smoothed image."""
        sigma = draw(*self.sigma)
        return F.gaussian_blur(img, self.kernel_size, [sigma, sigma])

    def __repr__(self) -> str:
        return f"{type(self).__name__}(kernel_size={self.kernel_size}, sigma={self.sigma})"
