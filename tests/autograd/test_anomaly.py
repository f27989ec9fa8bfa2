"""Anomaly detection names the line of the forward call."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest

import flambeau as torch


def line_of(text: str) -> str:
    """Where this file holds a line."""
    with open(__file__, encoding="utf-8") as file:
        number = next(n for n, line in enumerate(file, 1) if line.strip().endswith(text))
    return f'{__file__}", line {number},'


def failing(fn: Callable[[], Any]) -> tuple[str, str]:
    """(the error, the warning) of a program."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        with pytest.raises(RuntimeError) as error:
            fn()
    return str(error.value), "".join(str(w.message) for w in seen)


def test_a_nan_names_its_line() -> None:
    def program() -> None:
        x = torch.tensor([-1.0], requires_grad=True)
        with torch.autograd.detect_anomaly():
            y = x.sqrt()  # here
            (y * 0).sum().backward()

    error, warning = failing(program)
    assert error == "Function 'SqrtBackward0' returned nan values in its 0th output."
    assert line_of("# here") in warning and "Error detected in SqrtBackward0" in warning
    assert "src/flambeau" not in warning.replace("\\", "/")
    assert not torch.autograd.is_anomaly_enabled()


def test_a_saved_tensor_that_was_overwritten_names_its_line() -> None:
    def program() -> None:
        x = torch.ones(3, requires_grad=True)
        with torch.autograd.set_detect_anomaly(True, check_nan=False):
            y = x.exp()  # saved
            y.add_(1)
            y.sum().backward()

    error, warning = failing(program)
    assert "modified by an inplace operation" in error and line_of("# saved") in warning


def test_a_custom_function_names_its_line() -> None:
    class Bad(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x * 2

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return g * float("nan")

    def program() -> None:
        with torch.autograd.detect_anomaly():
            y = Bad.apply(torch.ones(2, requires_grad=True))  # custom
            y.sum().backward()

    error, warning = failing(program)
    assert "BadBackward" in error and line_of("# custom") in warning


def test_a_forward_outside_says_so() -> None:
    def program() -> None:
        y = torch.tensor([-1.0], requires_grad=True).sqrt()
        with torch.autograd.detect_anomaly():
            (y * 0).sum().backward()

    assert "No forward pass information" in failing(program)[1]


def test_switched_at_once_and_nested() -> None:
    torch.autograd.set_detect_anomaly(True)
    try:
        assert torch.autograd.is_anomaly_enabled() and torch.autograd.is_anomaly_check_nan_enabled()
        with torch.autograd.set_detect_anomaly(False):
            assert not torch.autograd.is_anomaly_enabled()
        x = torch.ones(2, requires_grad=True)
        assert "traceback_" in (x * 2).grad_fn.metadata
    finally:
        torch.autograd.set_detect_anomaly(False)
    assert "traceback_" not in (x * 2).grad_fn.metadata
