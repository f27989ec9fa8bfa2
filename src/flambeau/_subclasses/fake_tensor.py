"""torch._subclasses.fake_tensor: no tensor is one of these."""

from __future__ import annotations

from typing import Any

from ..absent import classes

_classes = classes("_subclasses.fake_tensor", "tracing by fake tensors", "FakeTensor", "FakeTensorMode")
FakeTensor, FakeTensorMode = _classes["FakeTensor"], _classes["FakeTensorMode"]


def is_fake(x: Any) -> bool:
    """Whether x is a tensor by which one traces: never."""
    return False
