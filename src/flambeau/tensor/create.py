"""torch.tensor: a tensor that holds a copy of data. What it is made with lives in stream/host.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
else:
    from ..late import np

from ..ops.entry import FUNCTIONS
from ..stream.capture import outside
from ..stream.host import as_numpy as as_numpy
from ..stream.host import check_device as check_device
from ..stream.host import check_rectangular as check_rectangular
from ..stream.host import empty_of as empty_of
from ..stream.host import encode as encode
from ..stream.host import from_bytes as from_bytes
from ..stream.host import from_data as from_data
from ..stream.host import infer_dtype as infer_dtype
from ..stream.host import new_storage as new_storage
from ..stream.host import plain_array as plain_array
from ..stream.value import Tensor


def tensor(
    data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False, pin_memory: bool = False
) -> Tensor:
    """A tensor that holds a copy of data: numbers, nested sequences, NumPy arrays, tensors.

    The dtype is that of the data: bool, int64, or the default floating-point type for Python numbers.
    """
    if isinstance(data, Tensor):
        t = FUNCTIONS["clone"](data.detach())  # type: ignore[attr-defined]
        t = t.to(dtype) if dtype is not None else t
    else:
        if isinstance(data, np.ndarray):
            outside("a NumPy array is read")
        t = from_data(data, dtype)
    if requires_grad:
        t.requires_grad_()
    return t
