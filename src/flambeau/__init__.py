"""Flambeau: PyTorch's API, kernels generated as the program runs. `import flambeau as torch`."""

from __future__ import annotations

from . import config as _config  # noqa: F401  (flambeau.config)
from . import device as _device_package  # noqa: F401  (first: afterwards the name is the class's)
from .dtypes import (
    bfloat16 as bfloat16,
)
from .dtypes import bool_ as bool  # noqa: F401
from .dtypes import (
    channels_last as channels_last,
)
from .dtypes import (
    channels_last_3d as channels_last_3d,
)
from .dtypes import (
    complex64 as complex64,
)
from .dtypes import (
    complex128 as complex128,
)
from .dtypes import (
    contiguous_format as contiguous_format,
)
from .dtypes import (
    device as device,
)
from .dtypes import (
    dtype as dtype,
)
from .dtypes import (
    finfo as finfo,
)
from .dtypes import (
    float16 as float16,
)
from .dtypes import (
    float32 as float32,
)
from .dtypes import (
    float64 as float64,
)
from .dtypes import (
    iinfo as iinfo,
)
from .dtypes import (
    int8 as int8,
)
from .dtypes import (
    int16 as int16,
)
from .dtypes import (
    int32 as int32,
)
from .dtypes import (
    int64 as int64,
)
from .dtypes import (
    layout as layout,
)
from .dtypes import (
    memory_format as memory_format,
)
from .dtypes import (
    preserve_format as preserve_format,
)
from .dtypes import (
    promote_types as promote_types,
)
from .dtypes import (
    sparse_coo as sparse_coo,
)
from .dtypes import (
    sparse_csr as sparse_csr,
)
from .dtypes import (
    strided as strided,
)
from .dtypes import (
    uint8 as uint8,
)
from .dtypes import (
    uint16 as uint16,
)
from .dtypes import (
    uint32 as uint32,
)
from .dtypes import (
    uint64 as uint64,
)
from .errors import OutOfMemoryError as OutOfMemoryError
from .shapes import Size as Size
from .stream.value import Tensor as Tensor
from .tensor import namespace as _namespace
from .version import __version__ as __version__

_namespace.fill(globals())


def __getattr__(name: str) -> object:
    return _namespace.lazy(name)
