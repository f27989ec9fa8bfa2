"""torch.backends.cuda: may be set, changes nothing."""

from __future__ import annotations


class _Matmul:
    """Switches of matrix products on a CUDA device."""

    allow_tf32 = False
    allow_fp16_reduced_precision_reduction = True
    allow_bf16_reduced_precision_reduction = True


matmul = _Matmul()


def is_built() -> bool:
    """Whether CUDA is supported: no."""
    return False
