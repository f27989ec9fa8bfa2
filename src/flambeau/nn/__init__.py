"""Neural networks: modules, their functions, initialisation, and tools for both."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from . import functional, init, utils
from .layers.loss import LinearCrossEntropyOptions
from .module import Module
from .parameter import Buffer, Parameter, UninitializedBuffer, UninitializedParameter

# The files of torch.nn.modules, and where their classes are here. A class says the public place (`__module__`), so
# that a pickled module names its class as PyTorch does.
FAMILIES: dict[str, tuple[str, ...]] = {
    "activation": ("layers.activation", "layers.attention"),
    "adaptive": ("layers.adaptive",),
    "batchnorm": ("layers.batchnorm",),
    "channelshuffle": ("layers.shape",),
    "container": ("containers",),
    "conv": ("layers.conv",),
    "distance": ("layers.distance",),
    "dropout": ("layers.dropout",),
    "flatten": ("layers.shape",),
    "fold": ("layers.shape",),
    "instancenorm": ("layers.batchnorm",),
    "lazy": ("layers.lazy",),
    "linear": ("layers.linear",),
    "loss": ("layers.loss",),
    "module": ("module",),
    "normalization": ("layers.normalization",),
    "padding": ("layers.padding",),
    "pixelshuffle": ("layers.shape",),
    "pooling": ("layers.pooling",),
    "rnn": ("layers.rnn",),
    "sparse": ("layers.sparse",),
    "transformer": ("layers.transformer",),
    "upsampling": ("layers.shape",),
    "utils": ("layers.sizes",),
}
# Where a file here serves several there, the beginning of a class's name decides.
_PLACES = {
    "layers.batchnorm": {"Instance": "instancenorm", "LazyInstance": "instancenorm", "": "batchnorm"},
    "layers.shape": {
        "Channel": "channelshuffle",
        "Flatten": "flatten",
        "Unflatten": "flatten",
        "Pixel": "pixelshuffle",
        "Upsampl": "upsampling",
        "": "fold",
    },
}


def _publish() -> list[str]:
    """Puts every public module class into this namespace and gives it its public address; returns their names."""
    names = []
    for family, files in FAMILIES.items():
        for path in files:
            file = import_module("." + path, __name__)
            for name, value in vars(file).items():
                if not (
                    isinstance(value, type)
                    and value.__module__ == file.__name__
                    and issubclass(value, Module)
                ):
                    continue
                places = _PLACES.get(path, {"": family})
                place = next(p for start, p in places.items() if name.lstrip("_").startswith(start))
                value.__module__ = f"{__name__}.modules.{place}"
                if not name.startswith("_") and name != "NonDynamicallyQuantizableLinear":  # as in PyTorch
                    globals()[name] = value
                    names.append(name)
    return names


__all__ = [
    "Buffer",
    "LinearCrossEntropyOptions",
    "Parameter",
    "UninitializedBuffer",
    "UninitializedParameter",
    "functional",
    "init",
    "utils",
]
__all__.extend(_publish())
import_module(".modules", __name__)  # where typing looks for the names in annotations of classes


def factory_kwargs(kwargs: dict[str, Any] | None) -> dict[str, Any]:
    """The device, dtype and memory_format among a constructor's keywords, those in `factory_kwargs` first."""
    if kwargs is None:
        return {}
    simple = {"device", "dtype", "memory_format"}
    given = {**kwargs}
    unknown = set(given) - simple - {"factory_kwargs"}
    if unknown:
        raise TypeError(f"unexpected kwargs {unknown}")
    result = dict(given.pop("factory_kwargs", {}))
    for key in simple & set(given):
        if key in result:
            raise TypeError(f"{key} specified twice, in **kwargs and in factory_kwargs")
        result[key] = given[key]
    return result


def __getattr__(name: str) -> Any:
    if name in ("attention", "parallel"):
        return import_module(f"{__name__}.{name}")
    if name == "DataParallel":
        return import_module(f"{__name__}.parallel").DataParallel
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
