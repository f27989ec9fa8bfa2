"""torch.types: names for annotations."""

from __future__ import annotations

import os
from typing import IO, Any, TypeAlias, Union

from .dtypes import device, dtype
from .shapes import Size
from .stream.value import Tensor as Tensor
from .symbolic import SymBool, SymFloat, SymInt
from .tensor.storage import UntypedStorage as Storage

__all__ = ["Device", "FileLike", "Number", "Storage"]

Number: TypeAlias = Union[int, float, bool]  # noqa: UP007  (a test for it works with both forms)
Device: TypeAlias = Union[device, str, int, None]  # noqa: UP007
FileLike: TypeAlias = Union[str, os.PathLike[str], IO[bytes]]  # noqa: UP007
IntLikeType, FloatLikeType, BoolLikeType = int, float, bool
py_sym_types = (SymInt, SymFloat, SymBool)
_Number = (int, float, bool)
_int, _float, _bool, _complex, _dtype, _device = int, float, bool, complex, dtype, device
_size: TypeAlias = Union[Size, list[int], tuple[int, ...]]  # noqa: UP007
_TensorOrTensors: TypeAlias = Any
