"""torch.fx: symbolic tracing is not there yet."""

from typing import Any

from ..absent import classes, functions

_WHAT = "symbolic tracing"
globals().update(
    classes("fx", _WHAT, "Graph", "GraphModule", "Interpreter", "Node", "Proxy", "Tracer", "Transformer")
)
globals().update(functions("fx", _WHAT, "replace_pattern", "symbolic_trace"))


def wrap(fn_or_name: Any) -> Any:
    """The function itself: where nothing is traced, every function is a leaf."""
    return fn_or_name
