"""The named results of ops that have several: `torch.return_types` of PyTorch."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Sequence
from typing import Any


def named(name: str, fields: Sequence[str]) -> Any:
    """The class of an op's results, called as the op is."""
    return namedtuple(name, fields)
