"""Modules that are imported when one of their names is first used: `np` is NumPy, half the time of an import."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any


class Nothing:
    """A class without objects: the type of a module's values as long as nobody has imported the module."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Nothing:
        raise TypeError("there are no objects of this class")


class Late(ModuleType):
    """A module by name. types: classes that are only asked for to test objects, which needs no import."""

    def __init__(self, name: str, types: frozenset[str] = frozenset()):
        super().__init__(name)
        self._types = types

    def __getattr__(self, name: str) -> Any:
        if name in self._types and self.__name__ not in sys.modules:
            return Nothing
        value = getattr(importlib.import_module(self.__name__), name)
        setattr(self, name, value)
        return value


np = Late("numpy", frozenset({"bool_", "generic", "ndarray", "number"}))
