"""Transforms that resize, crop, pad, mirror and turn, some by random draws (torchvision's, in its order)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import flambeau as torch

from ...errors import fail
from ..images import InterpolationMode, interpolation_mode
from . import functional as F


def two(op: str, size: int | Sequence[int]) -> tuple[int, int]:
    """A size (h, w) from one number or two."""
    numbers = [size] if isinstance(size, int) else list(size)
    if len(numbers) not in (1, 2):
        fail(ValueError, f"{op}: please provide one number or two (h, w) for size", size=size)
    return int(numbers[0]), int(numbers[-1])


def draw(low: float, high: float) -> float:
    """One number, uniform in [low, high), from the default generator."""
    return torch.empty(1).uniform_(low, high).item()


def draw_below(bound: int) -> int:
    """One whole number in [0, bound), from the default generator."""
    return int(torch.randint(0, bound, size=(1,)).item())


class Resize(torch.nn.Module):
    """The image in another size: (h, w), or a number for the shorter edge."""

    def __init__(
        self,
        size: int | Sequence[int],
        interpolation: Any = InterpolationMode.BILINEAR,
        max_size: int | None = None,
        antialias: bool | None = True,
    ):
        super().__init__()
        if not isinstance(size, (int, Sequence)):
            fail(TypeError, "Resize: size should be a number or a sequence", size=type(size))
        if isinstance(size, Sequence) and len(size) not in (1, 2):
            fail(ValueError, "Resize: a sequence for size has 1 or 2 numbers", size=size)
        self.size, self.max_size, self.antialias = size, max_size, antialias
        self.interpolation = interpolation_mode(interpolation)

    def forward(self, img: Any) -> Any:
        """`functional.resize`."""
        return F.resize(img, self.size, self.interpolation, self.max_size, self.antialias)

    def __repr__(self) -> str:
        detail = f"size={self.size}, interpolation={self.interpolation.value}, max_size={self.max_size}"
        return f"{type(self).__name__}({detail}, antialias={self.antialias})"


class CenterCrop(torch.nn.Module):
    """The middle of the image."""

    def __init__(self, size: int | Sequence[int]):
        super().__init__()
        self.size = two("CenterCrop", size)

    def forward(self, img: Any) -> Any:
        """`functional.center_crop`."""
        return F.center_crop(img, self.size)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(size={self.size})"


class Pad(torch.nn.Module):
    """The image with a border."""

    def __init__(self, padding: int | Sequence[int], fill: Any = 0, padding_mode: str = "constant"):
        super().__init__()
        if isinstance(padding, Sequence) and len(padding) not in (1, 2, 4):
            fail(ValueError, "Pad: padding is 1, 2 or 4 numbers", padding=padding)
        self.padding, self.fill, self.padding_mode = padding, fill, padding_mode

    def forward(self, img: Any) -> Any:
        """`functional.pad`."""
        return F.pad(img, self.padding, self.fill, self.padding_mode)

    def __repr__(self) -> str:
        detail = f"padding={self.padding}, fill={self.fill}, padding_mode={self.padding_mode}"
        return f"{type(self).__name__}({detail})"


class RandomCrop(torch.nn.Module):
    """A window at a random place, after an optional border."""

    def __init__(
        self,
        size: int | Sequence[int],
        padding: int | Sequence[int] | None = None,
        pad_if_needed: bool = False,
        fill: Any = 0,
        padding_mode: str = "constant",
    ):
        super().__init__()
        self.size = two("RandomCrop", size)
        self.padding, self.pad_if_needed, self.fill, self.padding_mode = (
            padding,
            pad_if_needed,
            fill,
            padding_mode,
        )

    @staticmethod
    def get_params(img: Any, output_size: tuple[int, int]) -> tuple[int, int, int, int]:
        """(top, left, height, width) of the window; nothing is drawn if it is the whole image."""
        _, height, width = F.get_dimensions(img)
        high, wide = output_size
        if height < high or width < wide:
            fail(
                ValueError,
                f"RandomCrop: required crop size {(high, wide)} is larger than input image size {(height, width)}",
                "pad_if_needed=True pads it",
            )
        if (high, wide) == (height, width):
            return 0, 0, height, width
        top = draw_below(height - high + 1)
        return top, draw_below(width - wide + 1), high, wide

    def forward(self, img: Any) -> Any:
        """The window."""
        if self.padding is not None:
            img = F.pad(img, self.padding, self.fill, self.padding_mode)
        _, height, width = F.get_dimensions(img)
        if self.pad_if_needed and width < self.size[1]:
            img = F.pad(img, [self.size[1] - width, 0], self.fill, self.padding_mode)
        if self.pad_if_needed and height < self.size[0]:
            img = F.pad(img, [0, self.size[0] - height], self.fill, self.padding_mode)
        return F.crop(img, *self.get_params(img, self.size))

    def __repr__(self) -> str:
        return f"{type(self).__name__}(size={self.size}, padding={self.padding})"


class RandomHorizontalFlip(torch.nn.Module):
    """Left and right exchanged, with probability p."""

    def __init__(self, p: float = 0.5):
        super().__init__()
        self.p = p

    def forward(self, img: Any) -> Any:
        """The image or its mirror image."""
        return F.hflip(img) if torch.rand(1).item() < self.p else img

    def __repr__(self) -> str:
        return f"{type(self).__name__}(p={self.p})"


class RandomVerticalFlip(torch.nn.Module):
    """Upside down, with probability p."""

    def __init__(self, p: float = 0.5):
        super().__init__()
        self.p = p

    def forward(self, img: Any) -> Any:
        """The image or the image upside down."""
        return F.vflip(img) if torch.rand(1).item() < self.p else img

    def __repr__(self) -> str:
        return f"{type(self).__name__}(p={self.p})"


class RandomResizedCrop(torch.nn.Module):
    """A window of random area and aspect ratio, resized to `size`."""

    def __init__(
        self,
        size: int | Sequence[int],
        scale: Sequence[float] = (0.08, 1.0),
        ratio: Sequence[float] = (3.0 / 4.0, 4.0 / 3.0),
        interpolation: Any = InterpolationMode.BILINEAR,
        antialias: bool | None = True,
    ):
        super().__init__()
        self.size = two("RandomResizedCrop", size)
        self.scale, self.ratio, self.antialias = scale, ratio, antialias
        self.interpolation = interpolation_mode(interpolation)

    @staticmethod
    def get_params(img: Any, scale: Sequence[float], ratio: Sequence[float]) -> tuple[int, int, int, int]:
        """(top, left, height, width): ten tries, then the largest window in the middle that the ratio allows."""
        _, height, width = F.get_dimensions(img)
        for wide, high in _random_boxes(height * width, scale, ratio):
            if 0 < wide <= width and 0 < high <= height:
                top = draw_below(height - high + 1)
                return top, draw_below(width - wide + 1), high, wide
        wide, high = width, height
        if width / height < min(ratio):
            high = round(wide / min(ratio))
        elif width / height > max(ratio):
            wide = round(high * max(ratio))
        return (height - high) // 2, (width - wide) // 2, high, wide

    def forward(self, img: Any) -> Any:
        """The window, resized."""
        window = self.get_params(img, self.scale, self.ratio)
        return F.resized_crop(img, *window, self.size, self.interpolation, antialias=self.antialias)

    def __repr__(self) -> str:
        scale, ratio = (tuple(round(v, 4) for v in pair) for pair in (self.scale, self.ratio))
        detail = f"size={self.size}, scale={scale}, ratio={ratio}, interpolation={self.interpolation.value}"
        return f"{type(self).__name__}({detail}, antialias={self.antialias})"


def _random_boxes(area: int, scale: Sequence[float], ratio: Sequence[float]) -> Any:
    """Ten times (width, height) of a box: its share of the area uniform, its aspect ratio uniform in logarithm."""
    low, high = torch.log(torch.tensor(ratio)).tolist()
    for _ in range(10):
        wanted = area * draw(scale[0], scale[1])
        aspect = torch.exp(torch.empty(1).uniform_(low, high)).item()
        yield round(math.sqrt(wanted * aspect)), round(math.sqrt(wanted / aspect))


class FiveCrop(torch.nn.Module):
    """The four corners and the middle, as a tuple."""

    def __init__(self, size: int | Sequence[int]):
        super().__init__()
        self.size = two("FiveCrop", size)

    def forward(self, img: Any) -> tuple[Any, ...]:
        """`functional.five_crop`."""
        return F.five_crop(img, self.size)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(size={self.size})"


class TenCrop(torch.nn.Module):
    """`FiveCrop` of the image and of its mirror image."""

    def __init__(self, size: int | Sequence[int], vertical_flip: bool = False):
        super().__init__()
        self.size, self.vertical_flip = two("TenCrop", size), vertical_flip

    def forward(self, img: Any) -> tuple[Any, ...]:
        """`functional.ten_crop`."""
        return F.ten_crop(img, self.size, self.vertical_flip)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(size={self.size}, vertical_flip={self.vertical_flip})"


class RandomRotation(torch.nn.Module):
    """The picture turned by an angle, uniform in (-degrees, degrees) or in the range given."""

    def __init__(
        self,
        degrees: float | Sequence[float],
        interpolation: Any = InterpolationMode.NEAREST,
        expand: bool = False,
        center: Sequence[float] | None = None,
        fill: Any = 0,
    ):
        super().__init__()
        if isinstance(degrees, (int, float)):
            if degrees < 0:
                fail(ValueError, "RandomRotation: a single number for degrees is positive", degrees=degrees)
            degrees = (-degrees, degrees)
        elif len(degrees) != 2:
            fail(ValueError, "RandomRotation: degrees is one number or two", degrees=degrees)
        self.degrees = [float(d) for d in degrees]
        self.interpolation, self.expand = interpolation_mode(interpolation), expand
        self.center, self.fill = center, fill

    def forward(self, img: Any) -> Any:
        """The turned picture."""
        angle = draw(*self.degrees)
        return F.rotate(img, angle, self.interpolation, self.expand, self.center, self.fill)

    def __repr__(self) -> str:
        detail = f"degrees={self.degrees}, interpolation={self.interpolation.value}, expand={self.expand}"
        centre = "" if self.center is None else f", center={self.center}"
        return f"{type(self).__name__}({detail}{centre}, fill={self.fill})"


class RandomErasing(torch.nn.Module):
    """A random window of a tensor image overwritten with `value` (a number, one for each channel, or "random")."""

    def __init__(
        self,
        p: float = 0.5,
        scale: Sequence[float] = (0.02, 0.33),
        ratio: Sequence[float] = (0.3, 3.3),
        value: Any = 0,
        inplace: bool = False,
    ):
        super().__init__()
        if isinstance(value, str) and value != "random":
            fail(ValueError, 'RandomErasing: a string for value is "random"', value=value)
        if not isinstance(value, (int, float, str, tuple, list)):
            fail(
                TypeError, "RandomErasing: value is a number, a sequence of numbers or a string", value=value
            )
        if scale[0] < 0 or scale[1] > 1 or not 0 <= p <= 1:
            fail(ValueError, "RandomErasing: scale and p are in [0, 1]", scale=scale, p=p)
        self.p, self.scale, self.ratio, self.value, self.inplace = p, scale, ratio, value, inplace

    @staticmethod
    def get_params(
        img: Any, scale: Sequence[float], ratio: Sequence[float], value: list[float] | None = None
    ) -> tuple[int, int, int, int, Any]:
        """(top, left, height, width, values) of the window; the image itself if ten tries find none that fits."""
        channels, height, width = img.shape[-3:]
        for high, wide in _random_boxes(height * width, scale, ratio):
            if not (high < height and wide < width):
                continue
            if value is None:
                values = torch.empty([channels, high, wide], dtype=torch.float32).normal_()
            else:
                values = torch.tensor(value)[:, None, None]
            top = draw_below(height - high + 1)
            return top, draw_below(width - wide + 1), high, wide, values
        return 0, 0, height, width, img

    def forward(self, img: Any) -> Any:
        """The image, overwritten with probability p."""
        if torch.rand(1).item() >= self.p:
            return img
        given = self.value
        value = (
            None
            if isinstance(given, str)
            else [float(v) for v in (given if isinstance(given, (tuple, list)) else [given])]
        )
        if value is not None and len(value) not in (1, img.shape[-3]):
            fail(
                ValueError, f"RandomErasing: value has 1 or {img.shape[-3]} numbers, as channels", value=given
            )
        return F.erase(img, *self.get_params(img, self.scale, self.ratio, value), self.inplace)

    def __repr__(self) -> str:
        detail = f"p={self.p}, scale={self.scale}, ratio={self.ratio}, value={self.value}"
        return f"{type(self).__name__}({detail}, inplace={self.inplace})"
