"""Files of the safetensors format, through the package of that name (an extra)."""

from __future__ import annotations

import os
from typing import Any

import flambeau as torch

from ..errors import fail
from . import memory
from .save import replacing

# the format's names of element types, and ours
_FROM = {
    **{"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "BOOL": "bool"},
    **{"I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8", "C64": "complex64"},
    **{"U64": "uint64", "U32": "uint32", "U16": "uint16", "U8": "uint8"},
}


def _package() -> Any:
    try:
        import safetensors
    except ImportError:
        fail(
            ImportError,
            "safetensors: the package safetensors is not installed",
            "pip install safetensors",
        )
    return safetensors


def save(tensors: dict[str, Any], metadata: dict[str, str] | None = None) -> bytes:
    """The tensors by name as the bytes of a file. Each must own its storage (ValueError for two that share one)."""
    specs, owners, keep = {}, {}, []
    package = _package()
    for name, tensor in tensors.items():
        dtype = str(tensor.dtype).removeprefix("torch.")
        owner, _ = memory.storage_of(tensor)
        if owners.setdefault(owner, name) != name and tensor.numel():
            fail(
                ValueError,
                f"safetensors: tensors {owners[owner]!r} and {name!r} share memory",
                "save copies (clone()) or only one of them",
            )
        array = memory.array_of(tensor.detach())
        array = array.copy() if not array.flags.c_contiguous else array
        keep.append(array)
        specs[name] = package.TensorSpec(
            dtype=dtype, shape=tuple(tensor.shape), data_ptr=array.ctypes.data, data_len=array.nbytes
        )
    return bytes(package.serialize(specs, metadata=metadata))


def save_file(tensors: dict[str, Any], filename: Any, metadata: dict[str, str] | None = None) -> None:
    """`save` to a path, whole or not at all."""
    data = save(tensors, metadata)
    with replacing(os.fspath(filename)) as file:
        file.write(data)


def load(data: bytes) -> dict[str, Any]:
    """The tensors by name in the bytes of a file."""
    out = {}
    for name, entry in _package().deserialize(data):
        dtype = getattr(torch, _FROM[entry["dtype"]])
        base, raw = memory.blank(len(entry["data"]) // dtype.itemsize, dtype)
        raw[:] = entry["data"]
        out[name] = memory.shaped(base, tuple(entry["shape"]))
    return out


def load_file(filename: Any, device: Any = "cpu") -> dict[str, Any]:
    """The tensors by name in a file, on a device."""
    with open(filename, "rb") as file:
        tensors = load(file.read())
    return {name: tensor.to(device) for name, tensor in tensors.items()}
