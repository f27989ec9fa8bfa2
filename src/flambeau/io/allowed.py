"""Which globals a file may name when only weights are loaded."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable
from typing import Any

import flambeau as torch

from ..errors import fail
from . import names, rebuild

_marked: dict[int, Any] = {}  # by identity: objects, or (object, name) pairs
_builtin: dict[str, Any] = {}


def _table() -> dict[str, Any]:
    if not _builtin:
        _builtin.update(rebuild.GLOBALS)
        _builtin.update({f"torch.{name}": names.storage_type(name) for name in names.DTYPE_OF})
        _builtin["torch.storage.UntypedStorage"] = names.storage_type("UntypedStorage")
        for name in (*names.STORAGES, *names.OTHER_DTYPES):
            if hasattr(torch, name):
                _builtin[f"torch.{name}"] = getattr(torch, name)
        _builtin.update(
            {
                "collections.OrderedDict": OrderedDict,
                "collections.Counter": Counter,
                "torch.nn.parameter.Parameter": torch.nn.Parameter,
                "torch.Size": torch.Size,
                "torch.Tensor": torch.Tensor,
                "torch.device": torch.device,
                "_codecs.encode": rebuild.encode,
                "builtins.bytearray": rebuild.make_bytearray,
                "builtins.set": set,
                "builtins.complex": complex,
            }
        )
    return _builtin


def lookup(module: str, name: str) -> Any:
    """What an allowed global is; None if it is not allowed."""
    path = f"{module}.{name}"
    found = _table().get(path)
    return found if found is not None else _user().get(path)


def is_allowed(obj: Any) -> bool:
    """Whether obj may be called. (A Tensor may be named, but not made: its constructor takes any size.)"""
    if obj is torch.Tensor:
        return False
    return any(obj is other for other in _table().values()) or is_marked(obj)


def is_marked(obj: Any) -> bool:
    """Whether the user has allowed obj."""
    return bool(_marked) and any(obj is other for other in _user().values())


def _user() -> dict[str, Any]:
    allowed: dict[str, Any] = {}
    for item in _marked.values():
        if isinstance(item, tuple):
            if len(item) != 2 or not isinstance(item[1], str):
                fail(
                    ValueError,
                    "add_safe_globals: Expected tuple of length 2 (global, str of callable full path)",
                    item=item,
                )
            allowed[item[1]] = item[0]
            continue
        allowed[f"{item.__module__}.{item.__qualname__}"] = item
        written = names.written_as(item)
        if written is not None:
            allowed[repr(written)] = item
            allowed["torch" + f"{item.__module__}.{item.__qualname__}"[len(names.PACKAGE) :]] = item
    return allowed


def add_safe_globals(safe_globals: Iterable[Any]) -> None:
    """Allow these classes and functions, or (object, "module.name") pairs, in files loaded with weights_only."""
    for item in safe_globals:
        _marked[hash(item)] = item


def clear_safe_globals() -> None:
    """Forget what `add_safe_globals` was given."""
    _marked.clear()


def get_safe_globals() -> list[Any]:
    """What `add_safe_globals` was given."""
    return list(_marked.values())


class safe_globals:
    """Allow classes and functions inside a `with` block."""

    def __init__(self, safe_globals: list[Any]):
        self.items = safe_globals

    def __enter__(self) -> None:
        self.added = [item for item in self.items if hash(item) not in _marked]
        add_safe_globals(self.items)

    def __exit__(self, *exc: Any) -> None:
        for item in self.added:
            _marked.pop(hash(item), None)
