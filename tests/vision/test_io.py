"""torchvision.io: pictures there and back, and what is refused; the functions of transforms.v2; models by name."""

from __future__ import annotations

import numpy as np
import pytest

import flambeau as torch
from flambeau.vision import io, models
from flambeau.vision.transforms.v2 import functional as F


def ramp(channels: int = 3):
    """An image of bytes."""
    return torch.arange(channels * 30, dtype=torch.uint8).reshape(channels, 5, 6)


def test_pictures_there_and_back(tmp_path) -> None:
    pytest.importorskip("PIL")
    for channels in (1, 3):
        io.write_png(ramp(channels), tmp_path / "a.png")
        assert torch.equal(io.read_image(tmp_path / "a.png"), ramp(channels))
        assert torch.equal(io.decode_png(io.encode_png(ramp(channels))), ramp(channels))
    assert io.decode_image(str(tmp_path / "a.png"), mode="gray_alpha").shape == (2, 5, 6)
    assert io.decode_image(str(tmp_path / "a.png"), io.ImageReadMode.RGBA)[3].tolist() == [[255] * 6] * 5
    jpeg = io.encode_jpeg(torch.full((3, 8, 8), 100, dtype=torch.uint8))
    assert (io.decode_jpeg(jpeg).int() - 100).abs().max() <= 2
    assert torch.equal(io.read_file(tmp_path / "a.png"), io.encode_png(ramp(3)))


def test_what_is_no_picture_is_refused(tmp_path, monkeypatch) -> None:
    pytest.importorskip("PIL")
    for wrong in (
        torch.zeros(9, dtype=torch.uint8),
        torch.zeros(0, dtype=torch.uint8),
        tmp_path / "none.png",
    ):
        with pytest.raises(RuntimeError, match="decode_image"):
            io.decode_image(wrong)
    with pytest.raises(RuntimeError, match="decode_image"):
        io.decode_jpeg(io.encode_png(ramp()))
    with pytest.raises(RuntimeError, match="encode_png"):
        io.encode_png(ramp().float())
    monkeypatch.setattr("flambeau.vision.images.MAX_PIXELS", 29)
    with pytest.raises(ValueError, match="6 x 5 pixels"):
        io.decode_png(io.encode_png(ramp()))


def test_functions_of_v2() -> None:
    image = ramp()
    assert F.resize(image, None, max_size=12).shape == (3, 10, 12) and F.resize(image, [10]).shape == (
        3,
        10,
        12,
    )
    exact = F.resize(image.double(), [7, 4], F.InterpolationMode.BICUBIC)
    assert (F.resize(image, [7, 4], F.InterpolationMode.BICUBIC) - exact).abs().max() <= 0.5 + 1e-6
    padded = F.pad(image, [1, 2, 3, 4], fill=[7, 8, 9])
    assert padded[:, 0, 0].tolist() == [7, 8, 9] and torch.equal(padded[:, 2:7, 1:7], image)
    assert padded.shape == (3, 11, 10) and F.pad(image, 1)[0, 0, 0] == 0
    grey = F.rgb_to_grayscale(image)
    assert (
        torch.equal(F.grayscale_to_rgb(grey), grey.expand(3, -1, -1)) and F.grayscale_to_rgb(image) is image
    )
    assert F.to_dtype(image, torch.float32, scale=True).max() == image.max() / 255
    assert F.to_dtype_image(image, torch.float32).max() == image.max()
    assert F.to_image(np.zeros((4, 5), np.uint8)).shape == (1, 4, 5)
    assert torch.equal(F.to_image(image.permute(1, 2, 0).numpy()), image) and F.get_size(image) == [5, 6]
    with pytest.raises(ValueError, match="max_size"):
        F.resize(image, None)


def test_models_by_name() -> None:
    assert models.list_models(include="resnet*", exclude=["*1*"]) == ["resnet34", "resnet50"]
    assert type(models.get_model("LeNet", num_classes=3)) is models.LeNet
    with pytest.raises(ValueError, match="unknown model 'vit'"):
        models.get_model("vit")
    assert models.ResNet50_Weights.DEFAULT is models.ResNet50_Weights.IMAGENET1K_V2
    assert models.VGG16_Weights["IMAGENET1K_V1"] is models.VGG16_Weights.DEFAULT
    with pytest.raises(ValueError, match="no trained weights"):
        models.vgg16(weights=models.VGG16_Weights.DEFAULT)


def test_modules_of_models_hold_what_other_packages_derive_from() -> None:
    from flambeau.vision.models.densenet import DenseNet
    from flambeau.vision.models.vgg import VGG, cfgs, make_layers

    assert cfgs["A"] == [64, "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"]
    kinds = [type(layer).__name__ for layer in make_layers([8, "M"], batch_norm=True)]
    assert kinds == ["Conv2d", "BatchNorm2d", "ReLU", "MaxPool2d"]
    assert issubclass(VGG, torch.nn.Module) and "make_layers" not in models.list_models()
    kept = []
    for again in (False, True):
        torch.manual_seed(0)
        net = DenseNet(4, (2, 1), 8, num_classes=3, memory_efficient=again)
        y = net(torch.linspace(-1, 1, 3 * 32 * 32).reshape(1, 3, 32, 32).repeat(2, 1, 1, 1))
        y[:, 0].sum().backward()
        kept.append([p.grad.clone() for p in net.parameters()])
        assert y.shape == (2, 3)
    assert all(torch.equal(a, b) for a, b in zip(*kept, strict=True))
    assert "features.denseblock1.denselayer2.conv2.weight" in net.state_dict()
    assert "features.transition1.conv.weight" in net.state_dict()
    assert net.classifier.weight.shape == (3, 12)
