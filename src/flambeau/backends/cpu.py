"""torch.backends.cpu: what the processor can do."""

from __future__ import annotations

from ..codegen.target import chosen

_WIDTHS = {512: "AVX512", 256: "AVX2"}


def get_cpu_capability() -> str:
    """AVX512, AVX2 or DEFAULT: the vectors that kernels are made for."""
    return _WIDTHS.get(chosen().vector_bits, "DEFAULT")
