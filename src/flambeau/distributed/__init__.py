"""torch.distributed: the names are here; training on several processes is not there yet."""

from __future__ import annotations

from typing import Any, NoReturn

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


def destroy_process_group(group: Any = None) -> None:
    """ValueError: there is no process group."""
    _no_group("destroy_process_group")


def get_rank(group: Any = None) -> int:
    """ValueError: there is no process group."""
    _no_group("get_rank")


def get_world_size(group: Any = None) -> int:
    """ValueError: there is no process group."""
    _no_group("get_world_size")


def barrier(group: Any = None, async_op: bool = False, device_ids: Any = None) -> None:
    """ValueError: there is no process group."""
    _no_group("barrier")


def all_reduce(tensor: Any, op: Any = ReduceOp.SUM, group: Any = None, async_op: bool = False) -> None:
    """ValueError: there is no process group."""
    _no_group("all_reduce")


def broadcast(tensor: Any, src: int | None = None, group: Any = None, async_op: bool = False) -> None:
    """ValueError: there is no process group."""
    _no_group("broadcast")


def all_gather(tensor_list: Any, tensor: Any, group: Any = None, async_op: bool = False) -> None:
    """ValueError: there is no process group."""
    _no_group("all_gather")
