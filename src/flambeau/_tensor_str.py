"""torch._tensor_str: the parts of a tensor's printed form."""

from __future__ import annotations

from typing import Any

from .tensor.display import OPTIONS as PRINT_OPTS  # noqa: F401
from .tensor.display import contents as _tensor_str  # noqa: F401
from .tensor.display import set_printoptions as set_printoptions
from .tensor.display import with_suffixes as _add_suffixes  # noqa: F401


def _str(self: Any, *, tensor_contents: Any = None) -> str:
    return repr(self)
