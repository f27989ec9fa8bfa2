"""PyTorch's names in saved files, and what they mean here."""

from __future__ import annotations

import sys
from typing import Any

import flambeau as torch

PACKAGE = __name__.partition(".")[0]

# dtype -> name of the typed storage that stands for it in a file
STORAGES = {
    "float32": "FloatStorage",
    "float64": "DoubleStorage",
    "float16": "HalfStorage",
    "bfloat16": "BFloat16Storage",
    "uint8": "ByteStorage",
    "int8": "CharStorage",
    "int16": "ShortStorage",
    "int32": "IntStorage",
    "int64": "LongStorage",
    "bool": "BoolStorage",
    "complex64": "ComplexFloatStorage",
    "complex128": "ComplexDoubleStorage",
}
DTYPE_OF = {name: dtype for dtype, name in STORAGES.items()}
OTHER_DTYPES = ("uint16", "uint32", "uint64", "complex32")

# where a class or function of ours may stand under its public name
_HOMES = (
    "nn",
    "optim",
    "optim.lr_scheduler",
    "optim.swa_utils",
    "utils.data",
    "nn.functional",
    "nn.init",
    "",
)
_EXACT = {"Parameter": "torch.nn.parameter", "Tensor": "torch", "Size": "torch", "device": "torch"}


class Name:
    """A global of a file that is written (or read) by name only. One object for each name."""

    def __init__(self, module: str, name: str):
        self.module, self.name = module, name

    def __call__(self, *args: Any) -> Any:
        raise TypeError(f"{self.module}.{self.name} is a name, not a function")

    def __repr__(self) -> str:
        return f"{self.module}.{self.name}"


_names: dict[tuple[str, str], Name] = {}


def name(module: str, attribute: str) -> Name:
    """The Name of module.attribute."""
    found = _names.get((module, attribute))
    if found is None:
        found = _names[module, attribute] = Name(module, attribute)
    return found


class StorageType(Name):
    """A typed storage class of a file: FloatStorage, ..., or UntypedStorage (bytes)."""

    def __init__(self, module: str, attribute: str):
        super().__init__(module, attribute)
        self.dtype = getattr(torch, DTYPE_OF.get(attribute, "uint8"))


STORAGE_TYPES: dict[str, StorageType] = {}


def storage_type(attribute: str) -> StorageType | None:
    """The storage class called so, None if there is none."""
    if attribute not in DTYPE_OF and attribute != "UntypedStorage":
        return None
    found = STORAGE_TYPES.get(attribute)
    if found is None:
        module = "torch.storage" if attribute == "UntypedStorage" else "torch"
        found = STORAGE_TYPES[attribute] = StorageType(module, attribute)
    return found


def written_as(obj: Any) -> Name | None:
    """The name under which PyTorch finds what is a class or function of ours; None for anything else."""
    module = getattr(obj, "__module__", None)
    if not isinstance(module, str) or module.partition(".")[0] != PACKAGE:
        return None
    attribute = getattr(obj, "__qualname__", obj.__name__)
    if attribute in _EXACT and getattr(torch, attribute, None) in (obj, None):
        return name(_EXACT[attribute], attribute)
    if getattr(torch.nn, attribute, None) is obj and attribute == "Parameter":
        return name("torch.nn.parameter", attribute)
    for home in _HOMES:
        loaded = sys.modules.get(f"{PACKAGE}.{home}" if home else PACKAGE)
        if loaded is not None and getattr(loaded, attribute, None) is obj:
            return name(f"torch.{home}" if home else "torch", attribute)
    return name("torch" + module[len(PACKAGE) :], attribute)


def found_as(module: str, attribute: str) -> Any:
    """What PyTorch's `module.attribute` is here: looked for in the module of that name, then in those around it.

    Raises AttributeError if there is none.
    """
    import importlib

    path = PACKAGE + module[len("torch") :]
    while True:
        try:
            home = importlib.import_module(path)
        except ModuleNotFoundError:
            home = None
        target: Any = home
        for part in attribute.split("."):
            target = getattr(target, part, None)
        if target is not None:
            return target
        path, dot, _ = path.rpartition(".")
        if not dot:
            raise AttributeError(f"there is no {module}.{attribute} here")
