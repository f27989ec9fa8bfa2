"""Transforms made of transforms, and those that change what an image is rather than what it shows."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import flambeau as torch

from ...errors import fail
from . import functional as F


def listing(opening: str, lines: Sequence[Any], closing: str = ")") -> str:
    """The printed form of a transform that holds others: a line each, indented."""
    return "\n".join([opening, *(f"    {line}" for line in lines), closing])


class Compose:
    """Calls its transforms one after the other."""

    def __init__(self, transforms: Sequence[Callable[[Any], Any]]):
        self.transforms = transforms

    def __call__(self, img: Any) -> Any:
        for transform in self.transforms:
            img = transform(img)
        return img

    def __repr__(self) -> str:
        return listing(f"{type(self).__name__}(", self.transforms)


class ToTensor:
    """A picture or array (H, W, C) as a tensor (C, H, W); 8-bit values are scaled to [0, 1]."""

    def __call__(self, pic: Any) -> Any:
        return F.to_tensor(pic)

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class PILToTensor:
    """A picture as a tensor (C, H, W) of its own values."""

    def __call__(self, pic: Any) -> Any:
        return F.pil_to_tensor(pic)

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class ToPILImage:
    """A tensor (C, H, W) or array (H, W, C) as a picture."""

    def __init__(self, mode: str | None = None):
        self.mode = mode

    def __call__(self, pic: Any) -> Any:
        return F.to_pil_image(pic, self.mode)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({'' if self.mode is None else f'mode={self.mode}'})"


class Lambda:
    """Calls a function of the user's."""

    def __init__(self, lambd: Callable[[Any], Any]):
        if not callable(lambd):
            fail(TypeError, "Lambda: lambd should be callable", lambd=lambd)
        self.lambd = lambd

    def __call__(self, img: Any) -> Any:
        return self.lambd(img)

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class ConvertImageDtype(torch.nn.Module):
    """An image in another dtype, scaled to that dtype's range."""

    def __init__(self, dtype: Any):
        super().__init__()
        self.dtype = dtype

    def forward(self, image: Any) -> Any:
        """`functional.convert_image_dtype`."""
        return F.convert_image_dtype(image, self.dtype)


class Normalize(torch.nn.Module):
    """(image - mean) / std, by channel."""

    def __init__(self, mean: Sequence[float], std: Sequence[float], inplace: bool = False):
        super().__init__()
        self.mean, self.std, self.inplace = mean, std, inplace

    def forward(self, tensor: Any) -> Any:
        """`functional.normalize`."""
        return F.normalize(tensor, self.mean, self.std, self.inplace)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(mean={self.mean}, std={self.std})"


class _Several:
    """Holds transforms and prints them."""

    def __init__(self, transforms: Sequence[Callable[[Any], Any]]):
        if not isinstance(transforms, Sequence):
            fail(
                TypeError,
                f"{type(self).__name__}: transforms should be a sequence",
                transforms=type(transforms),
            )
        self.transforms = transforms

    def __repr__(self) -> str:
        return listing(f"{type(self).__name__}(", self.transforms)


class RandomOrder(_Several):
    """Calls its transforms in a random order (drawn from Python's generator, as torchvision does)."""

    def __call__(self, img: Any) -> Any:
        order = list(range(len(self.transforms)))
        random.shuffle(order)
        for place in order:
            img = self.transforms[place](img)
        return img


class RandomChoice(_Several):
    """Calls one of its transforms (drawn from Python's generator, as torchvision does)."""

    def __init__(self, transforms: Sequence[Callable[[Any], Any]], p: Sequence[float] | None = None):
        super().__init__(transforms)
        if p is not None and not isinstance(p, Sequence):
            fail(TypeError, "RandomChoice: p should be a sequence", p=type(p))
        self.p = p

    def __call__(self, *args: Any) -> Any:
        chosen = random.choices(self.transforms, weights=self.p)[0]
        return chosen(*args)

    def __repr__(self) -> str:
        return f"{super().__repr__()}(p={self.p})"


class RandomApply(torch.nn.Module):
    """Calls all its transforms with probability p, else none."""

    def __init__(self, transforms: Any, p: float = 0.5):
        super().__init__()
        self.transforms, self.p = transforms, p

    def forward(self, img: Any) -> Any:
        """The image, transformed or as it was."""
        if torch.rand(1).item() > self.p:
            return img
        for transform in self.transforms:
            img = transform(img)
        return img

    def __repr__(self) -> str:
        return listing(f"{type(self).__name__}(", [f"p={self.p}", *self.transforms])
