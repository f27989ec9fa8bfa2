"""Writing: the pickle of a saved file, with tensors as references to storages and our classes under PyTorch's names."""

from __future__ import annotations

import pickle
from types import FunctionType
from typing import Any

import flambeau as torch

from ..errors import fail
from . import memory, names
from .rebuild import described

_PLAIN = frozenset((int, float, str, bool, type(None), dict, list, tuple, bytes, set))


class Storages:
    """The storages that a file refers to: each once, numbered as they come."""

    def __init__(self) -> None:
        self.tensors: list[Any] = []  # one tensor for each storage; keeps it alive
        self.dtypes: list[Any] = []
        self.names: list[str] = []  # one object for each key: the pickle then writes it once
        self.keys: dict[Any, int] = {}

    def reference(self, tensor: Any, kind: names.StorageType) -> Reference:
        """The reference to the storage of a tensor, written as a storage of this type."""
        if tensor.device.type != "cpu":
            fail(NotImplementedError, f"save: tensors on device {tensor.device} cannot be saved")
        owner, nbytes = memory.storage_of(tensor)
        key = self.keys.get(owner)
        if key is None:
            key = self.keys[owner] = len(self.tensors)
            self.tensors.append(tensor)
            self.dtypes.append(tensor.dtype)
            self.names.append(str(key))
        elif self.dtypes[key] is not tensor.dtype:
            fail(
                RuntimeError,
                "save: Cannot save multiple tensors or storages that view the same data as different types",
                first=self.dtypes[key],
                second=tensor.dtype,
            )
        size = 1 if kind.name == "UntypedStorage" else tensor.element_size()
        return Reference(kind, self.names[key], nbytes // size)

    def bytes(self, key: int) -> memoryview:
        """The contents of a storage."""
        return memory.storage_bytes(self.tensors[key])


class Reference:
    """A storage as the pickle refers to it: type, key, number of elements."""

    __slots__ = ("count", "key", "kind")

    def __init__(self, kind: names.StorageType, key: str, count: int):
        self.kind, self.key, self.count = kind, key, count


class Pickler(pickle._Pickler):  # type: ignore[name-defined]
    """The pure-Python pickler: only it lets names be chosen that this process cannot import."""

    dispatch = dict(pickle._Pickler.dispatch)  # type: ignore[attr-defined]

    def __init__(self, file: Any, protocol: int, storages: Storages, legacy: bool = False):
        super().__init__(file, protocol)
        self.storages, self.legacy = storages, legacy

    def persistent_id(self, obj: Any) -> Any:
        """A storage: ("storage", type, key, location, number of elements)."""
        if type(obj) is not Reference:
            return None
        place = ("storage", obj.kind, obj.key, "cpu", obj.count)
        return (*place, None) if self.legacy else place

    def reducer_override(self, obj: Any) -> Any:
        """How tensors, sizes, devices and dtypes are written; NotImplemented for anything else."""
        kind = type(obj)
        if kind in _PLAIN:
            return NotImplemented
        if isinstance(obj, torch.Tensor):
            plain = kind is torch.Tensor or kind is torch.nn.Parameter or obj.is_sparse
            if not plain and kind.__reduce_ex__ is not torch.Tensor.__reduce_ex__:
                return NotImplemented  # a subclass that says itself how
            return described(obj, self.storages)
        if kind is torch.Size:
            return names.name("torch", "Size"), (tuple(obj),)
        if kind is torch.layout:
            return names.name("torch.serialization", "_get_layout"), (str(obj),)
        if kind is torch.device:
            index = () if obj.index is None else (obj.index,)
            return names.name("torch", "device"), (obj.type, *index)
        if issubclass(kind, dict) and kind.__module__.partition(".")[0] == names.PACKAGE:
            self.dispatch[kind] = self.dispatch[dict]  # a dict of ours with more methods: in a file, a dict
        return NotImplemented

    def save_name(self, obj: names.Name) -> None:
        """A global by its name."""
        self.write(f"c{obj.module}\n{obj.name}\n".encode())
        self.memoize(obj)

    def save_dtype(self, obj: Any) -> None:
        """A dtype: torch.float32."""
        self.write(f"ctorch\n{str(obj).removeprefix('torch.')}\n".encode())
        self.memoize(obj)

    def save_global(self, obj: Any, name: str | None = None) -> None:
        """A class or function: ours under PyTorch's name."""
        other = names.written_as(obj)
        if other is None:
            super().save_global(obj, name)
        else:
            self.write(f"c{other.module}\n{other.name}\n".encode())
            self.memoize(obj)

    dispatch[names.Name] = dispatch[names.StorageType] = save_name
    dispatch[FunctionType] = save_global


Pickler.dispatch[torch.dtype] = Pickler.save_dtype
