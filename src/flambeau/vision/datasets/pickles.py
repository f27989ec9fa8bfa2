"""Pickles of arrays, strings, numbers, lists and dicts, read without running anything that they name."""

from __future__ import annotations

import io
import math
import pickle
from typing import Any

import numpy as np

from ...errors import fail

MAX_BYTES = 1 << 30


class _DType:
    """Stands for `numpy.dtype` while a pickle is read: plain numbers only."""

    def __init__(self, text: Any, *rest: Any):
        name = text.decode("ascii") if isinstance(text, bytes) else str(text)
        self.dtype = np.dtype(name)
        if self.dtype.kind not in "biuf":
            fail(pickle.UnpicklingError, f"the pickle holds an array of {name!r}, not of numbers")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        order = state[1].decode("ascii") if isinstance(state[1], bytes) else state[1]
        if order in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(order)


class _Array:
    """Stands for `numpy.ndarray` while a pickle is read; its `value` is the array."""

    def __init__(self, *ignored: Any):
        self.value = np.empty(0)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, kind, fortran, data = state
        if not isinstance(kind, _DType):
            fail(pickle.UnpicklingError, "the pickle holds an array without a dtype")
        raw = data.encode("latin1") if isinstance(data, str) else data
        sizes = tuple(int(n) for n in shape)
        if min(sizes, default=0) < 0 or math.prod(sizes) * kind.dtype.itemsize != len(raw):
            fail(pickle.UnpicklingError, "the pickle holds an array whose bytes do not fill its shape")
        self.value = np.frombuffer(raw, kind.dtype).reshape(sizes, order="F" if fortran else "C")


def _encode(text: str, encoding: str = "latin1") -> bytes:
    """What Python 2's strings become in pickles that Python 3 wrote."""
    if encoding not in ("latin1", "latin-1"):
        fail(pickle.UnpicklingError, f"the pickle asks for the encoding {encoding!r}")
    return text.encode("latin1")


class ArrayUnpickler(pickle.Unpickler):
    """Knows the four names that pickled arrays need and refuses every other."""

    def find_class(self, module: str, name: str) -> Any:
        """What stands for a global of the pickle; UnpicklingError for an unknown one."""
        if (module, name) in (
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy._core.multiarray", "_reconstruct"),
        ):
            return _Array
        known = {("numpy", "ndarray"): _Array, ("numpy", "dtype"): _DType, ("_codecs", "encode"): _encode}
        if (module, name) not in known:
            fail(pickle.UnpicklingError, f"the pickle names {module}.{name}, which a data set has no need of")
        return known[module, name]


def load_dict(path: str) -> dict[str, Any]:
    """The dict that a pickle file holds, its keys and strings decoded."""
    with open(path, "rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        fail(RuntimeError, f"{path}: more than {MAX_BYTES:,} bytes")
    found = _plain(ArrayUnpickler(io.BytesIO(data), encoding="latin1").load())
    if not isinstance(found, dict):
        fail(RuntimeError, f"{path}: holds no dict", found=type(found))
    return found


def _plain(value: Any) -> Any:
    """The value with arrays in place of their stand-ins and text in place of bytes."""
    if isinstance(value, _Array):
        return value.value
    if isinstance(value, bytes):
        return value.decode("latin1")
    if isinstance(value, dict):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value
