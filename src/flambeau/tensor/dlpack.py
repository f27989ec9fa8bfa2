"""DLPack: memory shared with other libraries, by way of NumPy's exporter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
else:
    from ..late import np

from ..stream.value import Tensor
from . import exchange


def export(
    self: Tensor,
    *,
    stream: Any = None,
    max_version: Any = None,
    dl_device: Any = None,
    copy: bool | None = None,
) -> Any:
    """A capsule over the tensor's memory; BufferError if it requires a gradient."""
    if self._rg:
        raise BufferError("Can't export tensors that require gradient, use tensor.detach()")
    source = self.clone() if copy else self  # type: ignore[attr-defined]
    return exchange.numpy(source).__dlpack__()


class _Capsule:
    """A bare capsule as an object that NumPy can import from."""

    def __init__(self, capsule: Any):
        self.capsule = capsule

    def __dlpack__(self, **options: Any) -> Any:
        return self.capsule

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)


def from_dlpack(ext_tensor: Any, *, device: Any = None, copy: bool | None = None) -> Tensor:
    """A tensor over the memory of any object that speaks DLPack, or of a capsule."""
    if isinstance(ext_tensor, Tensor):
        t = ext_tensor.detach()  # type: ignore[attr-defined]
    else:
        source = ext_tensor if hasattr(ext_tensor, "__dlpack__") else _Capsule(ext_tensor)
        t = exchange.foreign(np.from_dlpack(source), ext_tensor)
        t._st.info.readonly = isinstance(ext_tensor, np.ndarray) and not ext_tensor.flags.writeable
    return t.clone() if copy else t


def to_dlpack(tensor: Tensor) -> Any:
    """A capsule over the tensor's memory."""
    return export(tensor)


METHODS = {"__dlpack__": export, "__dlpack_device__": lambda self: (1, 0)}
