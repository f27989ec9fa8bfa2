"""The names of `import flambeau as torch`: ops, dtypes' aliases, and submodules on first use."""

from __future__ import annotations

import importlib
import sys
from types import FunctionType
from typing import Any

from .. import config, dtypes
from ..ops import families
from ..ops.entry import FUNCTIONS
from . import attributes, bind

SUBMODULES = (
    *(
        "nn",
        "optim",
        "autograd",
        "utils",
        "cuda",
        "compiler",
        "linalg",
        "fft",
        "special",
        "random",
        "func",
        "distributions",
        "backends",
    ),
    *(
        "jit",
        "amp",
        "distributed",
        "multiprocessing",
        "testing",
        "version",
        "overrides",
        "sparse",
        "onnx",
        "hub",
        "profiler",
    ),
    *(
        "serialization",
        "types",
        "library",
        "export",
        "fx",
        "quantization",
        "masked",
        "signal",
        "cpu",
        "mps",
        "xpu",
        "return_types",
        "accelerator",
        "functional",
        "futures",
        "quasirandom",
    ),
    *("_C", "__config__", "_dynamo", "_higher_order_ops", "_subclasses", "_tensor_str"),
)
LAZY: dict[str, tuple[str, str]] = {
    "save": ("flambeau.io", "save"),
    "load": ("flambeau.io", "load"),
    "autocast": ("flambeau.amp", "autocast"),
    "compile": ("flambeau.compiler", "compile"),
    "vmap": ("flambeau.func", "vmap"),
    "checkpoint": ("flambeau.utils.checkpoint", "checkpoint"),
    "explain": ("flambeau.stream.explain", "explain"),
    "GradScaler": ("flambeau.amp", "GradScaler"),
    **{name: ("math", name) for name in ("e", "inf", "nan", "pi")},
}
LAZY |= {
    name: ("flambeau.amp.casting", name)
    for name in (
        *(
            "is_autocast_enabled",
            "is_autocast_cpu_enabled",
            "set_autocast_enabled",
            "set_autocast_cpu_enabled",
        ),
        *("get_autocast_dtype", "get_autocast_cpu_dtype", "get_autocast_gpu_dtype", "set_autocast_dtype"),
        *("set_autocast_cpu_dtype", "is_autocast_cache_enabled", "set_autocast_cache_enabled"),
        "clear_autocast_cache",
    )
}
LAZY |= {
    name: ("flambeau.settings", name)
    for name in (
        *(
            "set_eager",
            "synchronize",
            "memory_stats",
            "reset_peak_memory_stats",
            "get_num_threads",
            "set_num_threads",
        ),
        *("get_num_interop_threads", "set_num_interop_threads"),
        *("use_deterministic_algorithms", "are_deterministic_algorithms_enabled"),
        *("get_deterministic_debug_mode", "set_deterministic_debug_mode", "set_warn_always"),
        *("is_deterministic_algorithms_warn_only_enabled", "is_warn_always_enabled", "set_flush_denormal"),
        *("get_float32_matmul_precision", "set_float32_matmul_precision"),
    )
}
LAZY |= {
    name: ("flambeau.symbolic", name)
    for name in (
        *(
            "SymBool",
            "SymFloat",
            "SymInt",
            "TensorType",
            "_assert_async",
            "_check",
            "_check_index",
            "_check_is_size",
        ),
        *("_check_not_implemented", "_check_tensor_all", "_check_tensor_all_with", "_check_type"),
        *(
            "_check_value",
            "_check_with",
            "_shape_as_tensor",
            "get_device_module",
            "sym_float",
            "sym_int",
            "sym_ite",
            "sym_max",
        ),
        *("sym_min", "sym_not", "sym_sqrt", "sym_sum"),
    )
}
LAZY |= {name: ("flambeau._higher_order_ops", name) for name in ("cond", "while_loop")}
LAZY |= {name: ("flambeau._C", name) for name in ("PyTorchFileReader", "PyTorchFileWriter")}
LAZY |= {name: ("flambeau.jit", name) for name in ("Future", "ScriptModule", "ScriptFunction")}
LAZY |= {name: ("flambeau.tensor.storage", name) for name in ("TypedStorage", "UntypedStorage")}
LAZY |= {name: ("flambeau.cpu", name) for name in ("Event", "Stream")}
LAZY |= {name: ("flambeau.tensor.factories", name) for name in ("get_default_device", "set_default_device")}
LAZY |= {
    f"{name}_window": ("flambeau.signal.older", f"{name}_window")
    for name in ("bartlett", "blackman", "hamming", "hann", "kaiser")
}
LAZY |= dict.fromkeys(
    ("grid_sampler", "grid_sampler_2d", "grid_sampler_3d"), ("flambeau.nn.functional", "grid_sampler")
)
# Functions of nn.functional that PyTorch has in its top namespace too.
LAZY |= {
    name: ("flambeau.nn.functional", name)
    for name in (
        *(
            "alpha_dropout",
            "bilinear",
            "channel_shuffle",
            "cosine_similarity",
            "feature_alpha_dropout",
            "group_norm",
        ),
        *(
            "layer_norm",
            "native_channel_shuffle",
            "pairwise_distance",
            "pdist",
            "pixel_shuffle",
            "pixel_unshuffle",
            "rms_norm",
        ),
    )
}


def found_by_pickle(name: str, fn: Any) -> None:
    """Make the name of a function that is not in the module it was defined in the public one."""
    if isinstance(fn, FunctionType) and fn.__name__ == name:
        module = sys.modules.get(fn.__module__ or "")
        if getattr(module, fn.__qualname__, None) is not fn:
            fn.__module__, fn.__qualname__ = "flambeau", name


def fill(scope: dict[str, Any]) -> None:
    """Import the families of ops, bind them, and put the public functions into the package's namespace."""
    families.load()
    from . import creation, exchange, indexing, public, random, sparse_csr, sparse_rules

    bind.bind()
    attributes.install()
    exchange.install()
    creation.install()
    indexing.install()
    sparse_rules.install()
    sparse_csr.install()
    FUNCTIONS.update(exchange.FUNCTIONS)
    FUNCTIONS.update(creation.FUNCTIONS)
    FUNCTIONS.update(random.FUNCTIONS)
    for name, d in (dtypes.ALL | dtypes.ALIASES | dtypes.LAYOUTS | dtypes.NAMED).items():
        scope.setdefault(name, d)
    scope["legacy_contiguous_format"] = dtypes.contiguous_format
    for name, fn in FUNCTIONS.items():
        if name not in scope or name == "tensor":  # the package of that name is not public
            scope[name] = fn
            found_by_pickle(name, fn)
    from ..autograd import modes

    for name in modes.NAMES:
        scope[name] = getattr(modes, name)
    scope["newaxis"] = None
    for name in public.NAMES:
        scope[name] = getattr(public, name)
    if config.debug:
        from ..stream.explain import trace

        trace(config.debug)


def lazy(name: str) -> Any:
    """A submodule, or a name that lives in one, imported when first used."""
    import flambeau

    if name in LAZY:
        module, attribute = LAZY[name]
        value = getattr(importlib.import_module(module), attribute)
        setattr(flambeau, name, value)
        return value
    if name == "torch":  # torch.torch, which PyTorch has by accident
        return flambeau
    if name in SUBMODULES:
        try:
            return importlib.import_module("flambeau." + name)
        except ModuleNotFoundError as error:
            if error.name != "flambeau." + name:
                raise
    raise AttributeError(f"module 'flambeau' has no attribute {name!r}")
