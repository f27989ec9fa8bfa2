"""Automatic differentiation: the engine, its modes, custom functions, checks of gradients."""

from __future__ import annotations

import importlib
from typing import Any

from ..stream.value import Tensor
from . import engine, graph
from .engine import backward as backward
from .engine import grad as grad
from .modes import enable_grad as enable_grad
from .modes import inference_mode as inference_mode
from .modes import no_grad as no_grad
from .modes import set_grad_enabled as set_grad_enabled

_LAZY = {
    "Function": "function",
    "gradcheck": "check",
    "gradgradcheck": "check",
    "functional": "functional",
    "forward_ad": "forward_ad",
    "detect_anomaly": "anomaly",
    "set_detect_anomaly": "anomaly",
    "is_anomaly_enabled": "anomaly",
    "is_anomaly_check_nan_enabled": "anomaly",
    "anomaly": "anomaly",
    "function": "function",
    "GradcheckError": "check",
    "anomaly_mode": "anomaly",
    "profiler": ".profiler",
}


class _VariableMeta(type):
    def __instancecheck__(cls, t: object) -> bool:
        return isinstance(t, Tensor)


class Variable(metaclass=_VariableMeta):
    """The old name of tensors that take part in automatic differentiation: gives back the tensor itself."""

    def __new__(cls, data: Tensor, requires_grad: bool = False, volatile: bool = False) -> Any:
        if requires_grad:
            data.requires_grad_()  # type: ignore[attr-defined]
        return data


def __getattr__(name: str) -> Any:
    module = _LAZY.get(name)
    if module is None:
        raise AttributeError(f"module 'flambeau.autograd' has no attribute {name!r}")
    found = importlib.import_module("." + module, __name__)
    return found if name in (module, "anomaly_mode", "profiler") else getattr(found, name)


graph.install()
_ = engine
