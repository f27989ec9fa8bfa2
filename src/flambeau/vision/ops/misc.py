"""Layers that many networks of images are made of (torchvision.ops.misc)."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import flambeau as torch

nn = torch.nn
Layer = Callable[..., Any]


class FrozenBatchNorm2d(nn.Module):
    """BatchNorm2d whose statistics and parameters are buffers that stay as they are."""

    def __init__(self, num_features: int, eps: float = 1e-5):
        super().__init__()
        self.eps = eps
        for name, start in (("weight", 1.0), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0)):
            self.register_buffer(name, torch.full((num_features,), start))

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any) -> None:
        state_dict.pop(prefix + "num_batches_tracked", None)  # a BatchNorm2d's that was frozen
        super()._load_from_state_dict(state_dict, prefix, *args)

    def forward(self, x: Any) -> Any:
        """(N, C, H, W) scaled and shifted by channel."""
        scale = self.weight * (self.running_var + self.eps).rsqrt()
        shift = self.bias - self.running_mean * scale
        return x * scale.reshape(1, -1, 1, 1) + shift.reshape(1, -1, 1, 1)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.weight.shape[0]}, eps={self.eps})"


def _each(value: Any, rank: int) -> tuple[int, ...]:
    """One number for each of `rank` dimensions."""
    return tuple(value) if isinstance(value, Sequence) else (value,) * rank


class ConvNormActivation(nn.Sequential):
    """A convolution that keeps the extent, a norm and an activation, each of the latter two only if given."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, ...] = 3,
        stride: int | tuple[int, ...] = 1,
        padding: int | tuple[int, ...] | str | None = None,
        groups: int = 1,
        norm_layer: Layer | None = nn.BatchNorm2d,
        activation_layer: Layer | None = nn.ReLU,
        dilation: int | tuple[int, ...] = 1,
        inplace: bool | None = True,
        bias: bool | None = None,
        conv_layer: Layer = nn.Conv2d,
    ):
        if padding is None:
            if isinstance(kernel_size, int) and isinstance(dilation, int):
                padding = (kernel_size - 1) // 2 * dilation
            else:
                rank = len(kernel_size if isinstance(kernel_size, Sequence) else dilation)  # type: ignore[arg-type]
                kernel_size, dilation = _each(kernel_size, rank), _each(dilation, rank)
                padding = tuple((k - 1) // 2 * d for k, d in zip(kernel_size, dilation, strict=True))
        bias = norm_layer is None if bias is None else bias
        options = {"dilation": dilation, "groups": groups, "bias": bias}
        layers = [conv_layer(in_channels, out_channels, kernel_size, stride, padding, **options)]
        if norm_layer is not None:
            layers.append(norm_layer(out_channels))
        if activation_layer is not None:
            layers.append(activation_layer(**({} if inplace is None else {"inplace": inplace})))
        super().__init__(*layers)
        self.out_channels = out_channels
        if type(self) is ConvNormActivation:
            warnings.warn("use Conv2dNormActivation or Conv3dNormActivation", stacklevel=2)


class Conv2dNormActivation(ConvNormActivation):
    """ConvNormActivation for images."""


class Conv3dNormActivation(ConvNormActivation):
    """ConvNormActivation for volumes."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, ...] = 3,
        stride: int | tuple[int, ...] = 1,
        padding: int | tuple[int, ...] | str | None = None,
        groups: int = 1,
        norm_layer: Layer | None = nn.BatchNorm3d,
        activation_layer: Layer | None = nn.ReLU,
        dilation: int | tuple[int, ...] = 1,
        inplace: bool | None = True,
        bias: bool | None = None,
    ):
        rest = (norm_layer, activation_layer, dilation, inplace, bias, nn.Conv3d)
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, groups, *rest)


class SqueezeExcitation(nn.Module):
    """Channels weighed by two layers over their means (arXiv:1709.01507)."""

    def __init__(
        self,
        input_channels: int,
        squeeze_channels: int,
        activation: Layer = nn.ReLU,
        scale_activation: Layer = nn.Sigmoid,
    ):
        super().__init__()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc1 = nn.Conv2d(input_channels, squeeze_channels, 1)
        self.fc2 = nn.Conv2d(squeeze_channels, input_channels, 1)
        self.activation = activation()
        self.scale_activation = scale_activation()

    def forward(self, input: Any) -> Any:
        """(N, input_channels, H, W), each channel times its weight."""
        hidden = self.activation(self.fc1(self.avgpool(input)))
        return self.scale_activation(self.fc2(hidden)) * input


class MLP(nn.Sequential):
    """Linear layers, each but the last with a norm (if given) and an activation, all with dropout."""

    def __init__(
        self,
        in_channels: int,
        hidden_channels: Sequence[int],
        norm_layer: Layer | None = None,
        activation_layer: Layer = nn.ReLU,
        inplace: bool | None = None,
        bias: bool = True,
        dropout: float = 0.0,
    ):
        options = {} if inplace is None else {"inplace": inplace}
        layers: list[Any] = []
        sizes = [in_channels, *hidden_channels]
        for place, size in enumerate(hidden_channels):
            layers.append(nn.Linear(sizes[place], size, bias=bias))
            if place < len(hidden_channels) - 1:
                if norm_layer is not None:
                    layers.append(norm_layer(size))
                layers.append(activation_layer(**options))
            layers.append(nn.Dropout(dropout, **options))
        super().__init__(*layers)


class Permute(nn.Module):
    """The input with its dimensions in another order."""

    def __init__(self, dims: Sequence[int]):
        super().__init__()
        self.dims = dims

    def forward(self, x: Any) -> Any:
        """A view."""
        return torch.permute(x, self.dims)
