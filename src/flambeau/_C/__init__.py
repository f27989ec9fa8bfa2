"""torch._C: functions of PyTorch's extension that programs reach for though they are private."""

from __future__ import annotations

import importlib
from typing import Any

from ..absent import classes
from ..dtypes import device
from ..func.batched import levels
from ..ops.modes import disabled_torch_function as _disabled_torch_function_impl  # noqa: F401
from ..overrides import DisableTorchFunction as DisableTorchFunction
from ..overrides import DisableTorchFunctionSubclass as DisableTorchFunctionSubclass
from ..stream.value import Tensor

_TensorMeta = type(Tensor)
globals().update(classes("_C", "PyTorch's access to archives", "PyTorchFileReader", "PyTorchFileWriter"))
globals().update(classes("_C", "TorchScript's graph", "Graph", "Node", "ScriptFunction", "Value"))


def _get_tracing_state() -> None:
    """None: TorchScript traces nothing here."""


def _log_api_usage_once(event: str) -> None:
    """Nothing: nobody is told what a program uses."""


def _get_accelerator(check: bool | None = None) -> Any:
    """The device that programs run on."""
    return device("cpu")


def _get_default_device() -> str:
    """The device on which tensors are made unless one is given."""
    from ..tensor.factories import get_default_device

    return str(get_default_device())


def _get_privateuse1_backend_name() -> str:
    """The name of a device that somebody else adds: none has."""
    return "privateuseone"


def _are_functorch_transforms_active() -> bool:
    """Whether a function runs under vmap."""
    return bool(levels())


def _jit_set_profiling_executor(value: bool) -> bool:
    """What it was: False, as everything that TorchScript could be told."""
    return False


_jit_set_profiling_mode = _jit_set_texpr_fuser_enabled = _jit_set_nvfuser_enabled = (
    _jit_set_profiling_executor
)
_jit_override_can_fuse_on_cpu = _jit_override_can_fuse_on_gpu = _jit_set_nvfuser_guard_mode = (
    _jit_set_profiling_executor
)


def _jit_can_fuse_on_cpu() -> bool:
    """False: TorchScript does nothing here."""
    return False


_jit_can_fuse_on_gpu = _jit_can_fuse_on_cpu


def __getattr__(name: str) -> Any:
    if name == "_nn":  # imports the layers
        return importlib.import_module("._nn", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
