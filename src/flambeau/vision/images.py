"""Pictures: Pillow where it is installed, looked up when first needed; sizes are bounded before pixels are decoded."""

from __future__ import annotations

import enum
from typing import Any

import numpy as np

from ..errors import fail

MAX_PIXELS = 1 << 28  # of one picture; more is refused before decoding

_backend = "PIL"


class InterpolationMode(enum.Enum):
    """How pixels between pixels are found; the values are torchvision's."""

    NEAREST = "nearest"
    NEAREST_EXACT = "nearest-exact"
    BILINEAR = "bilinear"
    BICUBIC = "bicubic"
    BOX = "box"
    HAMMING = "hamming"
    LANCZOS = "lanczos"


PIL_FILTERS = {
    InterpolationMode.NEAREST: 0,
    InterpolationMode.NEAREST_EXACT: 0,
    InterpolationMode.LANCZOS: 1,
    InterpolationMode.BILINEAR: 2,
    InterpolationMode.BICUBIC: 3,
    InterpolationMode.BOX: 4,
    InterpolationMode.HAMMING: 5,
}


def interpolation_mode(mode: InterpolationMode | int | str) -> InterpolationMode:
    """A mode given as itself, as its name or as Pillow's number; ValueError for anything else."""
    if isinstance(mode, InterpolationMode):
        return mode
    if isinstance(mode, int):
        for name, number in PIL_FILTERS.items():
            if number == mode:
                return name
    return InterpolationMode(mode)


def pillow(need: str) -> Any:
    """The module PIL.Image; ImportError that says what needs it and how to install it."""
    try:
        from PIL import Image
    except ImportError:
        fail(ImportError, f"{need}: needs Pillow, which is not installed", "pip install 'flambeau[vision]'")
    return Image


def has_pillow() -> bool:
    """Whether Pillow can be imported."""
    try:
        import PIL.Image  # noqa: F401
    except ImportError:
        return False
    return True


def is_picture(image: Any) -> bool:
    """Whether this is a picture of Pillow's."""
    return hasattr(image, "getbands") and hasattr(image, "transpose") and not isinstance(image, np.ndarray)


def from_pixels(pixels: np.ndarray) -> Any:
    """What a data set hands out for pixels: Pillow's picture, or the array (H, W, C) where Pillow is not there."""
    if not has_pillow():
        return pixels if pixels.ndim == 3 else pixels[:, :, None]
    from PIL import Image

    return Image.fromarray(pixels)


def checked_size(op: str, picture: Any) -> None:
    """ValueError if a picture, not decoded yet, holds more than MAX_PIXELS."""
    width, height = picture.size
    if width * height > MAX_PIXELS:
        fail(ValueError, f"{op}: has {width} x {height} pixels", f"at most {MAX_PIXELS:,}")


def open_picture(path: Any) -> Any:
    """A picture file as RGB; ValueError if it holds more than MAX_PIXELS."""
    Image = pillow("open image")
    with open(path, "rb") as file, Image.open(file) as picture:
        checked_size(f"open image {path}", picture)
        return picture.convert("RGB")


def set_image_backend(backend: str) -> None:
    """Choose the package that reads pictures; "PIL" is the only one here."""
    if backend != "PIL":
        fail(ValueError, "set_image_backend: there is PIL alone", got_backend=backend)


def get_image_backend() -> str:
    """The package that reads pictures."""
    return _backend
