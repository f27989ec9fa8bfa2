"""What the tests of nn share: flambeau.nn on PyTorch's tensors beside torch.nn."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

try:
    import torch

    from . import host
except ImportError:  # what compares with it is skipped, the other tests of the folder run
    torch = None


@pytest.fixture(scope="session")
def mirror() -> ModuleType:
    """flambeau.nn over PyTorch's tensors and ops: `mirror.nn`."""
    pytest.importorskip("torch")
    return host.load()


class Near:  # noqa: PLW1641
    """The elements of a tensor, equal to others up to rounding."""

    def __init__(self, tensor: Any):
        self.elements = tensor.double()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Near) and torch.allclose(
            self.elements, other.elements, 1e-5, 1e-6, equal_nan=True
        )

    def __repr__(self) -> str:
        return str(self.elements.tolist())


def described(value: Any) -> Any:
    """A value in a form that can be compared between the two sides."""
    if isinstance(value, torch.Tensor):
        if type(value).__name__ == "UninitializedParameter":
            return "uninitialised"
        return ("tensor", str(value.dtype), tuple(value.shape), Near(value.detach()), value.requires_grad)
    if isinstance(value, dict):
        return {k: described(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [described(v) for v in value]
    if isinstance(value, (str, int, float, bool, type(None))):
        return text(value) if isinstance(value, str) else value
    return text(repr(value))


def text(message: str) -> str:
    """A message without the names of the packages and addresses."""
    message = re.sub(r"(mirror|torch)\.nn\.(modules\.)?[a-z_.]*", "nn.", message)
    return re.sub(r"0x[0-9a-f]+", "0x", message).replace("mirror.", "torch.")


def outcome(program: Callable[[Any], Any], nn: Any) -> Any:
    """What a program returns, warns and raises, with `nn` as torch.nn."""
    torch.manual_seed(0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            result = ("returned", described(program(nn)))
        except Exception as error:
            result = ("raised", type(error).__name__, text(str(error)))
    return result, sorted({text(str(w.message)) for w in caught if w.category is not DeprecationWarning})


@pytest.fixture
def same(mirror: ModuleType) -> Callable[[Callable[[Any], Any]], Any]:
    """Runs a program with torch.nn and with flambeau's, and asserts that both do the same."""

    def check(program: Callable[[Any], Any]) -> Any:
        expected, got = outcome(program, torch.nn), outcome(program, mirror.nn)
        assert got == expected
        return got[0]

    return check
