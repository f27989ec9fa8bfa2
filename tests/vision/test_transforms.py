"""Transforms: values by hand, printed forms, and the random draws of torchvision."""

from __future__ import annotations

import numpy as np
import pytest

import flambeau as torch
from flambeau.vision import transforms as T
from flambeau.vision.transforms import functional as F


def ramp(channels: int = 3, height: int = 5, width: int = 6):
    """An image whose pixels are all different."""
    return torch.arange(channels * height * width, dtype=torch.uint8).reshape(channels, height, width)


def test_to_tensor_scales_bytes_alone() -> None:
    pixels = np.array([[[0, 255, 51]]], np.uint8)
    image = T.ToTensor()(pixels)
    assert tuple(image.shape) == (3, 1, 1) and image.dtype == torch.float32
    assert image.flatten().tolist() == [0.0, 1.0, float(np.float32(51) / np.float32(255))]
    assert T.ToTensor()(pixels.astype(np.float64)).flatten().tolist() == [0.0, 255.0, 51.0]
    for wrong in ("text", torch.zeros(2, 2), np.zeros(3)):
        with pytest.raises((TypeError, ValueError), match="to_tensor"):
            T.ToTensor()(wrong)


def test_printed_forms() -> None:
    made = T.Compose(
        [T.ToTensor(), T.Normalize((0.5,), (0.5,)), T.RandomCrop(32, padding=4), T.Resize((4, 4))]
    )
    assert repr(made) == (
        "Compose(\n    ToTensor()\n    Normalize(mean=(0.5,), std=(0.5,))\n"
        "    RandomCrop(size=(32, 32), padding=4)\n"
        "    Resize(size=(4, 4), interpolation=bilinear, max_size=None, antialias=True)\n)"
    )
    assert repr(T.RandomApply([T.Pad(1)])) == (
        "RandomApply(\n    p=0.5\n    Pad(padding=1, fill=0, padding_mode=constant)\n)"
    )
    assert repr(T.ColorJitter(0.1, hue=0.2)) == (
        "ColorJitter(brightness=(0.9, 1.1), contrast=None, saturation=None, hue=(-0.2, 0.2))"
    )
    assert (
        repr(T.RandomErasing())
        == "RandomErasing(p=0.5, scale=(0.02, 0.33), ratio=(0.3, 3.3), value=0, inplace=False)"
    )


def test_windows_and_borders() -> None:
    image = ramp()
    assert F.crop(image, 1, 2, 2, 3).tolist() == image[:, 1:3, 2:5].tolist()
    outside = F.crop(image, -1, -1, 3, 3)
    assert outside[:, 0].sum().item() == 0 and outside[:, 1:, 1:].tolist() == image[:, :2, :2].tolist()
    assert F.center_crop(image, 3).tolist() == image[:, 1:4, 2:5].tolist()
    padded = F.pad(image, [1, 2, 3, 4])
    assert tuple(padded.shape) == (3, 11, 10) and padded[:, 2:7, 1:7].tolist() == image.tolist()
    assert F.pad(ramp(1, 1, 3), [2, 0], padding_mode="symmetric")[0, 0].tolist() == [1, 0, 0, 1, 2, 2, 1]
    assert F.hflip(image).tolist() == image.flip(-1).tolist()
    corners = F.five_crop(image, 2)
    assert corners[3].tolist() == image[:, 3:, 4:].tolist()


def test_normalize() -> None:
    image = torch.ones(2, 1, 1)
    assert F.normalize(image, (0.5, 1.0), (0.5, 2.0)).flatten().tolist() == [1.0, 0.0]
    assert image.flatten().tolist() == [1.0, 1.0]
    with pytest.raises(ValueError, match="std has a zero"):
        F.normalize(image, (0.5,), (0.0,))
    with pytest.raises(TypeError, match="floating"):
        F.normalize(ramp(), (0.5,), (0.5,))


def test_convert_image_dtype() -> None:
    image = torch.tensor([0, 128, 255], dtype=torch.uint8)
    assert F.convert_image_dtype(image).tolist() == (image / 255).tolist()
    assert F.convert_image_dtype(torch.tensor([0.0, 0.5, 1.0]), torch.uint8).tolist() == [0, 127, 255]


# What torchvision 0.28 draws after torch.manual_seed(3).
def test_random_draws() -> None:
    image = torch.zeros(3, 32, 32)
    torch.manual_seed(3)
    assert T.RandomCrop.get_params(image, (28, 28)) == (1, 3, 28, 28)
    assert T.RandomCrop.get_params(image, (32, 32)) == (0, 0, 32, 32)
    assert T.RandomResizedCrop.get_params(image, (0.08, 1.0), (0.75, 1.3333)) == (4, 5, 21, 16)
    top, left, high, wide, _ = T.RandomErasing.get_params(image, (0.02, 0.33), (0.3, 3.3), [0.0])
    assert (top, left, high, wide) == (8, 7, 22, 12)
    flips = [bool((T.RandomHorizontalFlip()(ramp(1, 1, 2)) != ramp(1, 1, 2)).any()) for _ in range(8)]
    assert flips == [True, False, True, True, True, True, True, False]


def test_sizes_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="larger than input"):
        T.RandomCrop(40)(torch.zeros(3, 32, 32))
    for make in (lambda: T.GaussianBlur(4), lambda: T.ColorJitter(hue=0.7), lambda: T.Pad((1, 2, 3))):
        with pytest.raises(ValueError):
            make()


def test_pictures() -> None:
    Image = pytest.importorskip("PIL.Image")
    pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    picture = Image.fromarray(pixels)
    assert T.PILToTensor()(picture).permute(1, 2, 0).tolist() == pixels.tolist()
    again = T.ToPILImage()(T.ToTensor()(picture))
    assert again.mode == "RGB" and np.array_equal(np.array(again), pixels)
    assert T.Resize(2)(picture).size == (2, 2)
    assert T.Pad(1)(picture).size == (6, 6)
    assert T.Grayscale()(picture).mode == "L"


def test_images_of_too_many_pixels_are_not_decoded(tmp_path, monkeypatch) -> None:
    Image = pytest.importorskip("PIL.Image")
    from flambeau.vision import images

    Image.new("L", (20, 20)).save(tmp_path / "a.png")
    monkeypatch.setattr(images, "MAX_PIXELS", 399)
    with pytest.raises(ValueError, match="20 x 20"):
        images.open_picture(tmp_path / "a.png")


def test_make_grid() -> None:
    from flambeau.vision.utils import make_grid

    grid = make_grid(torch.ones(5, 1, 2, 3), nrow=2, padding=1, pad_value=0.5)
    assert tuple(grid.shape) == (3, 10, 9)
    assert grid[0, 0, 0].item() == 0.5 and grid[0, 1, 1].item() == 1.0 and grid[0, 7, 6].item() == 0.5
