"""The functions that a file names to put tensors together, each checked against the storage it is given."""

from __future__ import annotations

from typing import Any

import flambeau as torch

from ..errors import fail
from . import memory
from .names import STORAGES, name, storage_type


class LoadedStorage:
    """A storage of a file: `base`, a 1-d tensor over all of it. What `map_location` functions are given."""

    def __init__(self, base: Any, location: str = "cpu"):
        self.base, self.location = base, location

    @property
    def dtype(self) -> Any:
        """The type of the elements."""
        return self.base.dtype

    @property
    def device(self) -> Any:
        """Where it is: in host memory."""
        return self.base.device

    def __len__(self) -> int:
        return self.base.numel()

    size = __len__

    def nbytes(self) -> int:
        """Bytes in all."""
        return self.base.numel() * self.base.element_size()

    def cpu(self) -> LoadedStorage:
        """Itself."""
        return self

    def cuda(self, *args: Any, **kwargs: Any) -> LoadedStorage:
        """Raises RuntimeError: there is no such device."""
        fail(RuntimeError, "load: CUDA is not available", "map to 'cpu'")


def _tensor(base: Any, offset: Any, size: Any, stride: Any, dtype: Any = None) -> Any:
    count = base.numel() if dtype is None else base.numel() // dtype.itemsize
    numbers = (offset, *size, *stride)
    if len(size) != len(stride) or any(type(n) is not int or n < 0 for n in numbers):
        fail(RuntimeError, f"load: tensor of size {size}, stride {stride} and offset {offset} is not valid")
    last = offset + sum((n - 1) * s for n, s in zip(size, stride))
    if 0 not in size and last >= count:
        fail(
            RuntimeError,
            f"load: tensor of size {tuple(size)}, stride {tuple(stride)} and offset {offset} does not fit into its "
            f"storage of {count} elements; the file is damaged",
        )
    return memory.alias(base, size, stride, offset, dtype)


def rebuild_tensor(storage: Any, offset: int, size: Any, stride: Any) -> Any:
    """The oldest form: no requires_grad."""
    _check(storage)
    return _tensor(storage.base, offset, size, stride)


def rebuild_tensor_v2(
    storage: Any, offset: int, size: Any, stride: Any, requires_grad: bool, hooks: Any, metadata: Any = None
) -> Any:
    """A tensor on a storage; offset and strides in elements."""
    tensor = rebuild_tensor(storage, offset, size, stride)
    if isinstance(metadata, dict):  # PyTorch's views that are conjugated or negated when they are read
        tensor = tensor.conj() if metadata.get("conj") else tensor
        tensor = -tensor if metadata.get("neg") else tensor
    tensor.requires_grad = requires_grad
    return tensor


def rebuild_tensor_v3(
    storage: Any, offset: int, size: Any, stride: Any, requires_grad: bool, hooks: Any, dtype: Any,
    metadata: Any = None,
) -> Any:  # fmt: skip
    """A tensor of a dtype that has no storage class of its own: the storage is bytes."""
    _check(storage)
    if storage.base.element_size() != 1:
        fail(RuntimeError, f"load: a storage of {storage.dtype} instead of bytes")
    tensor = _tensor(storage.base, offset, size, stride, dtype)
    tensor.requires_grad = requires_grad
    return tensor


def rebuild_meta_tensor(dtype: Any, size: Any, stride: Any, requires_grad: bool) -> Any:
    """A tensor on the device meta: it has no storage in the file."""
    return torch.empty_strided(size, stride, dtype=dtype, device="meta", requires_grad=requires_grad)


def _check(storage: Any) -> None:
    if not isinstance(storage, LoadedStorage):
        fail(
            RuntimeError, f"load: a tensor is to be built from {type(storage).__name__} instead of a storage"
        )


def rebuild_parameter(data: Any, requires_grad: bool, hooks: Any) -> Any:
    """An nn.Parameter."""
    return torch.nn.Parameter(data, requires_grad)


def rebuild_parameter_with_state(data: Any, requires_grad: bool, hooks: Any, state: Any) -> Any:
    """An nn.Parameter with attributes of its own."""
    return _with_state(rebuild_parameter(data, requires_grad, hooks), state)


def rebuild_from_type(func: Any, kind: Any, args: tuple[Any, ...], state: Any) -> Any:
    """A tensor with attributes of its own, or of a subclass."""
    if func not in FUNCTIONS.values():
        fail(
            RuntimeError, "load: a tensor is to be built by something else than a function for it", func=func
        )
    tensor = func(*args)
    if kind is not torch.Tensor and isinstance(kind, type) and type(tensor) is not kind:
        tensor = tensor.as_subclass(kind)
    if getattr(type(tensor), "__setstate__", None) not in (None, getattr(torch.Tensor, "__setstate__", None)):
        tensor.__setstate__(state)
        return tensor
    return _with_state(tensor, state)


def _with_state(tensor: Any, state: Any) -> Any:
    attributes, slots = state if isinstance(state, tuple) else (state, None)
    tensor.__dict__.update(attributes or {})
    for key, value in (slots or {}).items():
        if key.startswith("__"):
            fail(RuntimeError, f"load: a tensor is to be given the attribute {key!r}")
        setattr(tensor, key, value)
    return tensor


def layout_of(text: str) -> Any:
    """A layout by the name that it prints."""
    for known in (torch.strided, torch.sparse_coo):
        if text == str(known):
            return known
    fail(RuntimeError, f"load: the layout {text!r} is not there")


def rebuild_sparse_tensor(layout: Any, data: Any) -> Any:
    """A tensor of indices and values, both looked at."""
    if layout is not torch.sparse_coo:
        fail(RuntimeError, f"load: a sparse tensor of layout {layout} is not there")
    indices, values, size, *coalesced = data
    return torch.sparse_coo_tensor(indices, values, size, is_coalesced=any(coalesced))


def encode(text: str, encoding: str) -> bytes:
    """Bytes as protocol 2 writes them: text in latin-1."""
    if encoding.lower() not in ("latin1", "latin-1", "iso-8859-1"):
        fail(RuntimeError, f"load: bytes in the encoding {encoding!r}")
    return text.encode("latin-1")


def make_bytearray(data: Any = b"", encoding: str = "latin-1") -> bytearray:
    """A bytearray of given contents (never of a given size only)."""
    return bytearray(encode(data, encoding) if isinstance(data, str) else memoryview(data))


FUNCTIONS = {
    "torch._utils._rebuild_tensor": rebuild_tensor,
    "torch._utils._rebuild_tensor_v2": rebuild_tensor_v2,
    "torch._utils._rebuild_tensor_v3": rebuild_tensor_v3,
    "torch._utils._rebuild_meta_tensor_no_storage": rebuild_meta_tensor,
    "torch._utils._rebuild_parameter": rebuild_parameter,
    "torch._utils._rebuild_parameter_with_state": rebuild_parameter_with_state,
    "torch._utils._rebuild_sparse_tensor": rebuild_sparse_tensor,
    "torch._tensor._rebuild_from_type_v2": rebuild_from_type,
}
GLOBALS = FUNCTIONS | {"torch.serialization._get_layout": layout_of}  # with what makes no tensors


def described(tensor: Any, storages: Any) -> tuple[Any, ...]:
    """How a tensor stands in a file: (function, arguments). `storages` gives the reference to a tensor's storage."""
    kind = type(tensor)
    if kind is torch.nn.Parameter:
        arguments = (tensor.data, bool(tensor.requires_grad), _ordered())
        state = tensor.__dict__
        if state:
            return name("torch._utils", "_rebuild_parameter_with_state"), (*arguments, dict(state))
        return name("torch._utils", "_rebuild_parameter"), arguments
    if tensor.is_sparse:
        parts = (tensor._indices(), tensor._values().detach(), tensor.size(), tensor.is_coalesced())
        return name("torch._utils", "_rebuild_sparse_tensor"), (tensor.layout, parts)
    function, arguments = _plain(tensor, storages)
    if kind is torch.Tensor and not tensor.__dict__:
        return function, arguments
    state = dict(tensor.__dict__)
    return name("torch._tensor", "_rebuild_from_type_v2"), (function, kind, arguments, state)


def _plain(tensor: Any, storages: Any) -> tuple[Any, tuple[Any, ...]]:
    if tensor.is_meta:
        place = (tensor.dtype, (*tensor.size(),), (*tensor.stride(),), bool(tensor.requires_grad))
        return name("torch._utils", "_rebuild_meta_tensor_no_storage"), place
    dtype = str(tensor.dtype).removeprefix("torch.")
    reference = storages.reference(tensor, storage_type(STORAGES.get(dtype, "UntypedStorage")))
    place = (reference, tensor.storage_offset(), (*tensor.size(),), (*tensor.stride(),))
    grad = bool(tensor.requires_grad)
    if dtype in STORAGES:
        return name("torch._utils", "_rebuild_tensor_v2"), (*place, grad, _ordered())
    return name("torch._utils", "_rebuild_tensor_v3"), (*place, grad, _ordered(), tensor.dtype)


def _ordered() -> Any:
    from collections import OrderedDict

    return OrderedDict()
