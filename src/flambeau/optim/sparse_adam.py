"""Adam for sparse gradients: a typed limit."""

from __future__ import annotations

from typing import Any

from ..errors import fail
from .optimizer import Optimizer


class SparseAdam(Optimizer):
    """Not available: there are no sparse gradients here (NotImplementedError); use Adam."""

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-3,
        betas: Any = (0.9, 0.999),
        eps: float = 1e-8,
        maximize: bool = False,
    ):
        fail(NotImplementedError, "SparseAdam: sparse gradients are not supported", "use torch.optim.Adam")
