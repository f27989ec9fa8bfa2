"""The three tables of a module (parameters, buffers, children), mirrored in the module's own attributes.

`module.weight` is read far more often than it is written. A name found in the instance's `__dict__` costs one
dictionary look-up; a name found by `Module.__getattr__` costs a Python call. So every write to a table is repeated
in the owner's `__dict__`, unless the owner's class has an attribute of that name: then the class wins, as it does in
PyTorch.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Mapping
from typing import Any

from ..autograd.handles import EDITS

_ABSENT = object()


class Registry(dict):
    """A dictionary of names whose entries are also attributes of the module that owns it."""

    __slots__ = ("_owner",)

    def __init__(self, owner: Any, items: Mapping[str, Any] | Iterable[tuple[str, Any]] = ()):
        super().__init__()
        self._owner = weakref.ref(owner)
        self.update(items)

    def __setitem__(self, name: str, value: Any) -> None:
        EDITS[0] += 1
        dict.__setitem__(self, name, value)
        owner = self._owner()
        if owner is not None and not hasattr(type(owner), name):
            owner.__dict__[name] = value

    def __delitem__(self, name: str) -> None:
        self._unmirror(name, dict.pop(self, name, _ABSENT))

    def _unmirror(self, name: str, value: Any) -> None:
        if value is _ABSENT:
            raise KeyError(name)
        EDITS[0] += 1
        owner = self._owner()
        if owner is not None and owner.__dict__.get(name, _ABSENT) is value:
            del owner.__dict__[name]

    def pop(self, name: str, *default: Any) -> Any:
        """As dict's, and the module forgets the name."""
        if name not in self:
            return dict.pop(self, name, *default)
        value = self[name]
        del self[name]
        return value

    def popitem(self) -> tuple[str, Any]:
        """As dict's, and the module forgets the name."""
        name, value = dict.popitem(self)
        self._unmirror(name, value)
        return name, value

    def clear(self) -> None:
        """Remove every entry."""
        for name in list(self):
            del self[name]

    def update(self, items: Mapping[str, Any] | Iterable[tuple[str, Any]] = (), **more: Any) -> None:
        """Set every entry, as single assignments do."""
        for name, value in dict(items, **more).items():
            self[name] = value

    def setdefault(self, name: str, default: Any = None) -> Any:
        """As dict's; a new entry is set as by assignment."""
        if name not in self:
            self[name] = default
        return self[name]

    def __ior__(self, items: Any) -> Registry:
        self.update(items)
        return self

    def copy(self) -> dict:
        """The entries as a plain dict."""
        return dict(self)

    def __reduce_ex__(self, protocol: Any) -> tuple:
        return dict, (dict(self),)
