"""torch.distributed: the names are here; training on several processes is not there yet."""

from __future__ import annotations

import importlib
from typing import Any, NoReturn

from ..absent import classes
from ..errors import fail

__all__ = [
    "ReduceOp",
    "all_gather",
    "all_reduce",
    "barrier",
    "broadcast",
    "destroy_process_group",
    "get_rank",
    "get_world_size",
    "init_process_group",
    "is_available",
    "is_initialized",
]


class ReduceOp:
    """How tensors of several processes are combined."""

    SUM, AVG, PRODUCT, MIN, MAX = "sum", "avg", "product", "min", "max"


def is_available() -> bool:
    """Whether several processes can train together: not yet."""
    return False


def is_initialized() -> bool:
    """Whether a process group exists: no."""
    return False


def init_process_group(backend: str | None = None, *args: Any, **options: Any) -> None:
    """NotImplementedError: there are no process groups yet."""
    text = "init_process_group: distributed training is not there yet"
    fail(NotImplementedError, text, "run the program as one process", backend=backend)


def _no_group(name: str) -> NoReturn:
    """PyTorch's error of a collective without a process group."""
    what = f"{name}: Default process group has not been initialized"
    fail(ValueError, what, "distributed training is not there yet")


def _collective(name: str) -> Any:
    def function(*args: Any, **options: Any) -> Any:
        _no_group(name)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = "ValueError: there is no process group."
    return function


globals().update(
    (name, _collective(name))
    for name in (
        *("all_gather", "all_gather_into_tensor", "all_gather_object", "all_reduce", "all_to_all"),
        *("all_to_all_single", "barrier", "batch_isend_irecv", "broadcast", "broadcast_object_list"),
        *("destroy_process_group", "gather", "gather_object", "get_backend", "get_global_rank"),
        *("get_group_rank", "get_process_group_ranks", "get_rank", "get_world_size", "irecv", "isend"),
        *("monitored_barrier", "new_group", "recv", "reduce", "reduce_scatter", "reduce_scatter_tensor"),
        *("scatter", "scatter_object_list", "send"),
    )
)
globals().update(classes("distributed", "distributed training", "P2POp", "ProcessGroup", "Store", "Work"))


class GroupMember:
    """The group of all processes: none."""

    WORLD = None
    NON_GROUP_MEMBER = -100


group = GroupMember


def is_gloo_available() -> bool:
    """Whether processes can talk to each other by this library: no."""
    return False


is_mpi_available = is_nccl_available = is_ucc_available = is_xccl_available = is_gloo_available


def is_backend_available(backend: str) -> bool:
    """Whether processes can talk to each other by this library: no."""
    return False


def is_torchelastic_launched() -> bool:
    """Whether torchrun started this process: no."""
    return False


def __getattr__(name: str) -> Any:
    if name in ("DeviceMesh", "init_device_mesh"):
        return getattr(importlib.import_module(f"{__name__}.device_mesh"), name)
    if name in ("device_mesh", "nn", "rpc", "tensor"):
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
