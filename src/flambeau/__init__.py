"""Flambeau: PyTorch's API, kernels generated as the program runs. `import flambeau as torch`."""

from __future__ import annotations

from . import config as _config
from . import device as _device_package  # first: afterwards the name is the class's
from .version import __version__ as __version__
from .dtypes import (
    bfloat16 as bfloat16,
    channels_last as channels_last,
    channels_last_3d as channels_last_3d,
    complex64 as complex64,
    complex128 as complex128,
    contiguous_format as contiguous_format,
    device as device,
    dtype as dtype,
    finfo as finfo,
    float16 as float16,
    float32 as float32,
    float64 as float64,
    iinfo as iinfo,
    int8 as int8,
    int16 as int16,
    int32 as int32,
    int64 as int64,
    layout as layout,
    memory_format as memory_format,
    preserve_format as preserve_format,
    promote_types as promote_types,
    sparse_coo as sparse_coo,
    sparse_csr as sparse_csr,
    strided as strided,
    uint8 as uint8,
    uint16 as uint16,
    uint32 as uint32,
    uint64 as uint64,
)
from .dtypes import bool_ as bool
from .errors import OutOfMemoryError as OutOfMemoryError
from .shapes import Size as Size
from .stream.value import Tensor as Tensor
from .tensor import namespace as _namespace

_namespace.fill(globals())


def __getattr__(name: str) -> object:
    return _namespace.lazy(name)
