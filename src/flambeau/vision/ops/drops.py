"""What is dropped at random in training: whole branches, and blocks of images (torchvision.ops)."""

from __future__ import annotations

import math
from typing import Any

import flambeau as torch

from ...errors import fail


def stochastic_depth(input: Any, p: float, mode: str, training: bool = True) -> Any:
    """The input, set to 0 with probability p: as a whole ("batch") or by sample ("row") (arXiv:1603.09382)."""
    if not 0.0 <= p <= 1.0:
        fail(ValueError, "stochastic_depth: p has to be between 0 and 1", p=p)
    if mode not in ("batch", "row"):
        fail(ValueError, "stochastic_depth: mode is 'batch' or 'row'", mode=mode)
    if not training or p == 0.0:
        return input
    survival = 1.0 - p
    rows = input.shape[0] if mode == "row" else 1
    size = [rows] + [1] * (input.ndim - 1) if input.ndim else []
    noise = torch.empty(size, dtype=input.dtype, device=input.device).bernoulli_(survival)
    return input * (noise.div_(survival) if survival > 0.0 else noise)


class StochasticDepth(torch.nn.Module):
    """`stochastic_depth` as a module."""

    def __init__(self, p: float, mode: str):
        super().__init__()
        self.p, self.mode = p, mode

    def forward(self, input: Any) -> Any:
        """The input, some of it 0 in training."""
        return stochastic_depth(input, self.p, self.mode, self.training)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(p={self.p}, mode={self.mode})"


def _drop_block(
    input: Any, p: float, block_size: int, inplace: bool, eps: float, training: bool, rank: int
) -> Any:
    """Blocks of the last `rank` dimensions dropped, the rest scaled up."""
    op = f"drop_block{rank}d"
    if not 0.0 <= p <= 1.0:
        fail(ValueError, f"{op}: p has to be between 0 and 1", p=p)
    if input.ndim != rank + 2:
        fail(ValueError, f"{op}: input should be {rank + 2} dimensional", input=input)
    if not training or p == 0.0:
        return input
    extents = input.shape[2:]
    block = min(block_size, *extents)
    if block % 2 == 0:
        fail(ValueError, f"{op}: block size should be odd", block_size=block)
    centres = [extent - block + 1 for extent in extents]
    gamma = (p * math.prod(extents)) / (block**rank * math.prod(centres))
    noise = torch.empty((*input.shape[:2], *centres), dtype=input.dtype, device=input.device)
    F = torch.nn.functional
    noise = F.pad(noise.bernoulli_(gamma), [block // 2] * (2 * rank))
    pool = F.max_pool2d if rank == 2 else F.max_pool3d
    kept = 1 - pool(noise, kernel_size=block, stride=1, padding=block // 2)
    scale = kept.numel() / (eps + kept.sum())
    return input.mul_(kept).mul_(scale) if inplace else input * kept * scale


def drop_block2d(
    input: Any, p: float, block_size: int, inplace: bool = False, eps: float = 1e-06, training: bool = True
) -> Any:
    """Images (N, C, H, W) with squares dropped with probability p of a pixel (arXiv:1810.12890)."""
    return _drop_block(input, p, block_size, inplace, eps, training, 2)


def drop_block3d(
    input: Any, p: float, block_size: int, inplace: bool = False, eps: float = 1e-06, training: bool = True
) -> Any:
    """`drop_block2d` for volumes (N, C, D, H, W)."""
    return _drop_block(input, p, block_size, inplace, eps, training, 3)


class DropBlock2d(torch.nn.Module):
    """`drop_block2d` as a module."""

    def __init__(self, p: float, block_size: int, inplace: bool = False, eps: float = 1e-06):
        super().__init__()
        self.p, self.block_size, self.inplace, self.eps = p, block_size, inplace, eps

    def forward(self, input: Any) -> Any:
        """The input, blocks of it 0 in training."""
        return drop_block2d(input, self.p, self.block_size, self.inplace, self.eps, self.training)

    def __repr__(self) -> str:
        name = type(self).__name__
        return f"{name}(p={self.p}, block_size={self.block_size}, inplace={self.inplace})"


class DropBlock3d(DropBlock2d):
    """`drop_block3d` as a module."""

    def forward(self, input: Any) -> Any:
        """The input, blocks of it 0 in training."""
        return drop_block3d(input, self.p, self.block_size, self.inplace, self.eps, self.training)
