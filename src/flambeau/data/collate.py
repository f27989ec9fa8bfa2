"""From samples to batches."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, MutableMapping, MutableSequence, Sequence
from typing import Any

import numpy as np

import flambeau as torch

from ..errors import fail
from ..io import memory

_WRONG = "default_collate: batch must contain tensors, numpy arrays, numbers, dicts or lists; found {}"


def default_convert(data: Any) -> Any:
    """NumPy arrays and scalars as tensors, also inside containers; anything else as it is."""
    if isinstance(data, torch.Tensor):
        return data
    if isinstance(data, (np.ndarray, np.generic)):
        return data if data.dtype.kind in "SUOV" else torch.as_tensor(data)
    if isinstance(data, Mapping):
        return _like(data, {key: default_convert(data[key]) for key in data})
    if isinstance(data, tuple):
        parts = [default_convert(d) for d in data]
        return type(data)(*parts) if hasattr(data, "_fields") else parts
    if isinstance(data, Sequence) and not isinstance(data, (str, bytes)):
        return _like(data, [default_convert(d) for d in data])
    return data


def _like(data: Any, new: Any) -> Any:
    """A container of data's type with new contents, or `new` where the type cannot be made so."""
    try:
        if isinstance(data, MutableMapping):
            clone = copy.copy(data)
            clone.update(new)
            return clone
        if isinstance(data, MutableSequence):
            clone = copy.copy(data)
            for i, value in enumerate(new):
                clone[i] = value
            return clone
        return type(data)(new)
    except TypeError:
        return new


def default_collate(batch: Sequence[Any]) -> Any:
    """One batch of samples: tensors, arrays and numbers stacked along a new first dimension, containers kept."""
    return collate(batch, collate_fn_map=default_collate_fn_map)


def collate(batch: Sequence[Any], *, collate_fn_map: dict[Any, Callable[..., Any]] | None = None) -> Any:
    """As `default_collate`, with a table of functions f(batch, collate_fn_map=...) by type."""
    first = batch[0]
    table = collate_fn_map or {}
    function = table.get(type(first))
    if function is None:
        function = next((f for kind, f in table.items() if isinstance(first, kind)), None)
    if function is not None:
        return function(batch, collate_fn_map=collate_fn_map)
    again = lambda samples: collate(samples, collate_fn_map=collate_fn_map)
    if isinstance(first, Mapping):
        return _like(first, {key: again([sample[key] for sample in batch]) for key in first})
    if isinstance(first, tuple) and hasattr(first, "_fields"):
        return type(first)(*(again(samples) for samples in zip(*batch)))
    if isinstance(first, Sequence):
        if any(len(sample) != len(first) for sample in batch):
            fail(RuntimeError, "default_collate: each element in list of batch should be of equal size")
        parts = [again(samples) for samples in zip(*batch)]
        return parts if isinstance(first, tuple) else _like(first, parts)
    fail(TypeError, _WRONG.format(type(first)))


def collate_tensor_fn(batch: Sequence[Any], *, collate_fn_map: Any = None) -> Any:
    """The tensors along a new first dimension."""
    first = batch[0]
    kind, shape = first.dtype, first.shape
    for t in batch:
        plain = type(t) is torch.Tensor and t.dtype is kind and t.shape == shape
        if not plain or t.requires_grad or t.device.type != "cpu":
            return torch.stack(list(batch), 0)
    return stacked([memory.array_of(t) for t in batch], kind)


def stacked(arrays: list[Any], kind: Any) -> Any:
    """Arrays of one shape and the NumPy type of `kind` as one tensor, copied once."""
    first = arrays[0]
    shape = (len(arrays), *first.shape)
    base, raw = memory.blank(len(arrays) * first.size, kind)
    if first.size:
        np.stack(arrays, out=np.frombuffer(raw, first.dtype).reshape(shape))
    return memory.shaped(base, shape)


def rows(tensors: Sequence[Any], indices: Sequence[int]) -> list[Any] | None:
    """The rows of each tensor at the indices, as new tensors; None for tensors that are not plain host memory."""
    found = []
    for t in tensors:
        if type(t) is not torch.Tensor or t.requires_grad or t.device.type != "cpu" or t.dim() == 0:
            return None
        array = memory.array_of(t)
        base, raw = memory.blank(len(indices) * array[:1].size, t.dtype)
        shape = (len(indices), *array.shape[1:])
        np.take(array, indices, 0, out=np.frombuffer(raw, array.dtype).reshape(shape))
        found.append(memory.shaped(base, shape))
    return found


def collate_numpy_array_fn(batch: Sequence[Any], *, collate_fn_map: Any = None) -> Any:
    """The arrays as one tensor."""
    first = batch[0]
    if first.dtype.kind in "SUOV":
        fail(TypeError, _WRONG.format(first.dtype))
    if all(a.dtype == first.dtype and a.shape == first.shape for a in batch) and first.dtype.isnative:
        return stacked(list(batch), torch.as_tensor(np.empty(0, first.dtype)).dtype)
    return torch.stack([torch.as_tensor(a) for a in batch], 0)


def collate_numpy_scalar_fn(batch: Sequence[Any], *, collate_fn_map: Any = None) -> Any:
    """The scalars as a 1-d tensor."""
    return torch.tensor(np.array(batch))


def collate_float_fn(batch: Sequence[Any], *, collate_fn_map: Any = None) -> Any:
    """A 1-d float64 tensor."""
    return torch.tensor(list(batch), dtype=torch.float64)


def collate_int_fn(batch: Sequence[Any], *, collate_fn_map: Any = None) -> Any:
    """A 1-d int64 (or bool) tensor."""
    return torch.tensor(list(batch))


def collate_str_fn(batch: Sequence[Any], *, collate_fn_map: Any = None) -> Any:
    """The texts as they are."""
    return batch


default_collate_fn_map: dict[Any, Callable[..., Any]] = {
    torch.Tensor: collate_tensor_fn,
    np.ndarray: collate_numpy_array_fn,
    (np.bool_, np.number, np.object_): collate_numpy_scalar_fn,
    float: collate_float_fn,
    int: collate_int_fn,
    str: collate_str_fn,
    bytes: collate_str_fn,
}
