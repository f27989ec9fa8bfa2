"""torch.utils.dlpack."""

from ..tensor.dlpack import from_dlpack as from_dlpack
from ..tensor.dlpack import to_dlpack as to_dlpack

__all__ = ["from_dlpack", "to_dlpack"]
