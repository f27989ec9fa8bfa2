"""torch.backends.cuda: may be set, changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class _Matmul:
    """Switches of matrix products on a CUDA device."""

    allow_tf32 = False
    allow_fp16_reduced_precision_reduction = True
    allow_bf16_reduced_precision_reduction = True


matmul = _Matmul()


def is_built() -> bool:
    """Whether CUDA is supported: no."""
    return False


def _enabled() -> bool:
    return True


flash_sdp_enabled = mem_efficient_sdp_enabled = math_sdp_enabled = cudnn_sdp_enabled = _enabled


def enable_flash_sdp(enabled: bool) -> None:
    """Nothing: attention chooses its kernel by shape."""


enable_mem_efficient_sdp = enable_math_sdp = enable_cudnn_sdp = enable_flash_sdp


def can_use_flash_attention(params: Any, debug: bool = False) -> bool:
    """Whether CUDA's kernel could be used: no."""
    return False


can_use_efficient_attention = can_use_cudnn_attention = can_use_flash_attention


@contextmanager
def sdp_kernel(*args: Any, **options: Any) -> Iterator[None]:
    """A context in which attention chooses its kernel by shape, as it does outside."""
    yield
