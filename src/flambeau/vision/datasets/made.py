"""Data sets that need no file of the user's: random images, and the handwritten digits that ship with the package."""

from __future__ import annotations

import os.path
from typing import Any

import numpy as np

import flambeau as torch

from ...errors import fail
from ..images import from_pixels
from .base import Transform, VisionDataset


class FakeData(VisionDataset):
    """`size` random images of `image_size` (C, H, W) and classes, the same at each look (torchvision's numbers)."""

    def __init__(
        self,
        size: int = 1000,
        image_size: tuple[int, int, int] = (3, 224, 224),
        num_classes: int = 10,
        transform: Transform | None = None,
        target_transform: Transform | None = None,
        random_offset: int = 0,
    ):
        super().__init__(transform=transform, target_transform=target_transform)
        self.size, self.image_size, self.num_classes = size, image_size, num_classes
        self.random_offset = random_offset

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        if index >= len(self):
            fail(IndexError, f"{type(self).__name__}: index {index} is out of range", size=len(self))
        kept = torch.get_rng_state()
        torch.manual_seed(index + self.random_offset)
        image = torch.randn(*self.image_size)
        target = torch.randint(0, self.num_classes, size=(1,), dtype=torch.long)[0]
        torch.set_rng_state(kept)
        pixels = image.mul(255).byte().numpy().transpose(1, 2, 0)
        return self.apply(from_pixels(np.ascontiguousarray(pixels)), target.item())

    def __len__(self) -> int:
        return self.size


class Digits(VisionDataset):
    """1,797 handwritten digits of 8x8 pixels, values 0 to 16 (UCI, E. Alpaydin and C. Kaynak, 1998, CC BY 4.0).

    `images` is (1797, 8, 8) and `labels` (1797,), both uint8; items are (image, digit).
    """

    classes = [str(digit) for digit in range(10)]

    def __init__(self, transform: Transform | None = None, target_transform: Transform | None = None):
        super().__init__(transform=transform, target_transform=target_transform)
        path = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "digits.npz")
        with np.load(path, allow_pickle=False) as arrays:
            self.images, self.labels = arrays["images"], arrays["labels"]

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        # 16 is white: a picture has 0 to 255.
        pixels = (self.images[index].astype(np.uint16) * 255 // 16).astype(np.uint8)
        return self.apply(from_pixels(pixels), int(self.labels[index]))

    def __len__(self) -> int:
        return len(self.images)
