"""`nn.modules`: the addresses that PyTorch gives to the layers; programs and pickled models name them."""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType

from .. import FAMILIES
from ..module import Module

__all__: list[str] = []


def _address(family: str, paths: tuple[str, ...]) -> ModuleType:
    """A module `nn.modules.<family>` that has everything the given files define."""
    files = [import_module(f"{__name__.rpartition('.')[0]}.{path}") for path in paths]
    module = ModuleType(f"{__name__}.{family}", files[0].__doc__)
    for file in files:
        vars(module).update((k, v) for k, v in vars(file).items() if not k.startswith("__"))
    module.__file__ = files[0].__file__
    sys.modules[module.__name__] = module
    return module


for _family, _paths in FAMILIES.items():
    _made = globals()[_family] = _address(_family, _paths)
    for _name, _value in vars(_made).items():
        if isinstance(_value, type) and issubclass(_value, Module) and not _name.startswith("_"):
            globals()[_name] = _value
            __all__.append(_name)
