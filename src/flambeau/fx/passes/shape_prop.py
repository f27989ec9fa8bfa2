"""torch.fx.passes.shape_prop: runs a graph once and notes of every node what kind of tensor it is."""

from __future__ import annotations

from typing import Any, NamedTuple

import flambeau

from ...stream.value import Tensor
from ..interpreter import Interpreter
from ..node import Node, map_aggregate

__all__ = ["ShapeProp", "TensorMetadata"]


class TensorMetadata(NamedTuple):
    """What is known of a tensor without its elements."""

    shape: Any
    dtype: Any
    requires_grad: bool
    stride: tuple[int, ...]
    memory_format: Any
    is_quantized: bool
    qparams: dict[str, Any]


def _extract_tensor_metadata(result: Tensor, include_contiguity: bool = True) -> TensorMetadata:
    layout = None
    for candidate in (flambeau.contiguous_format, flambeau.channels_last, flambeau.channels_last_3d):
        dims = {flambeau.channels_last: 4, flambeau.channels_last_3d: 5}.get(candidate, result.dim())
        if layout is None and result.dim() == dims and result.is_contiguous(memory_format=candidate):
            layout = candidate
    return TensorMetadata(
        result.shape, result.dtype, result.requires_grad, tuple(result.stride()), layout, False, {}
    )


class ShapeProp(Interpreter):
    """An interpreter that puts shape, dtype and strides into `node.meta["tensor_meta"]`."""

    def __init__(self, gm: Any, fake_mode: Any = None):
        super().__init__(gm)

    def run_node(self, n: Node) -> Any:
        """As Interpreter's, and notes what the result is."""
        result = super().run_node(n)
        found = [False]

        def note(value: Any) -> Any:
            if isinstance(value, Tensor):
                found[0] = True
                return _extract_tensor_metadata(value)
            return value

        meta = map_aggregate(result, note)
        if found[0]:
            n.meta["tensor_meta"] = meta
        n.meta["type"] = type(result)
        return result

    def propagate(self, *args: Any) -> Any:
        """Runs the graph for these arguments."""
        return super().run(*args)
