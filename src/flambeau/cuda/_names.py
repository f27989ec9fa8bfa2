"""What torch.cuda and torch.xpu have when no such device is there: PyTorch's answers and its error."""

from __future__ import annotations

from collections import OrderedDict
from contextlib import nullcontext
from typing import Any

from ..errors import fail

# What a call gives, for each name: a value is made anew.
ANSWERS: dict[Any, tuple[str, ...]] = {
    bool: (
        *("is_available", "is_bf16_supported", "is_current_stream_capturing", "is_initialized"),
        "is_tf32_supported",
    ),
    int: (
        *("device_count", "max_memory_allocated", "max_memory_cached", "max_memory_reserved"),
        *("memory_allocated", "memory_cached", "memory_reserved"),
    ),
    list: ("get_arch_list", "get_rng_state_all", "memory_snapshot"),
    str: ("get_gencode_flags",),
    dict: ("host_memory_stats_as_nested_dict", "memory_stats_as_nested_dict"),
    OrderedDict: ("host_memory_stats", "memory_stats"),
    # PyTorch keeps seeds for a device that may come.
    type(None): (
        *("empty_cache", "manual_seed", "manual_seed_all", "reset_accumulated_memory_stats"),
        *("reset_max_memory_allocated", "reset_max_memory_cached", "reset_peak_host_memory_stats"),
        *("reset_peak_memory_stats", "seed", "seed_all", "set_rng_state_all"),
    ),
    nullcontext: ("device_of",),
}
REFUSED = (
    *(
        "can_device_access_peer",
        "clock_rate",
        "cudart",
        "current_blas_handle",
        "current_device",
        "current_stream",
    ),
    *(
        "default_stream",
        "device_memory_used",
        "get_device_capability",
        "get_device_name",
        "get_device_properties",
    ),
    *("get_per_process_memory_fraction", "get_rng_state", "get_stream_from_external", "get_sync_debug_mode"),
    *("graph_pool_handle", "init", "initial_seed", "ipc_collect", "make_graphed_callables", "mem_get_info"),
    *("memory_summary", "memory_usage", "power_draw", "set_device", "set_per_process_memory_fraction"),
    *("set_rng_state", "set_stream", "set_sync_debug_mode", "synchronize", "temperature", "utilization"),
)
CLASSES = ("Event", "ExternalStream", "MemPool", "Stream", "StreamContext", "device", "graph")


def names(module: str, label: str, *classes: str, error: type[Exception] = AssertionError) -> dict[str, Any]:
    """The functions, and the classes whose objects cannot be made: those of both modules and `classes`."""

    def refuse(name: str) -> Any:
        fail(
            error,
            f"{module}.{name}: Torch not compiled with {label} enabled",
            "flambeau computes on the CPU for now",
        )

    def function(name: str, make: Any) -> Any:
        def absent(*args: Any, **options: Any) -> Any:
            return make()

        absent.__doc__ = (
            f"{make()!r}: there is no such device." if make is not nullcontext else "Nothing happens."
        )
        absent.__name__ = absent.__qualname__ = name
        return absent

    def refused(name: str) -> Any:
        def absent(*args: Any, **options: Any) -> Any:
            refuse(name)

        absent.__doc__ = f"{error.__name__}: there is no device of {label}."
        absent.__name__ = absent.__qualname__ = name
        return absent

    def stream(stream: Any) -> Any:
        """The context of a stream; of None, which is all there is, one that does nothing."""
        return nullcontext() if stream is None else refuse("stream")

    made: dict[str, Any] = {n: function(n, make) for make, known in ANSWERS.items() for n in known}
    made |= {n: refused(n) for n in REFUSED}
    for n in (*CLASSES, *classes):
        body = {"__init__": refused(n), "__module__": f"flambeau.{module}"}
        made[n] = type(
            n, (), body | {"__doc__": f"{error.__name__} when made: there is no device of {label}."}
        )
    return made | {"stream": stream, "default_generators": ()}
