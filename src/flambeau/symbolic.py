"""Names of PyTorch for sizes that are not known while a program is traced, and its checks of conditions.

Here a size is always a number: the classes have no objects, and the functions are those of numbers.
"""

from __future__ import annotations

import builtins
import math
from collections.abc import Callable, Iterable
from typing import Any

from .absent import classes
from .ops.entry import FUNCTIONS
from .stream.value import Tensor

_classes = classes("symbolic", "a size that is not known", "SymInt", "SymFloat", "SymBool")
SymInt, SymFloat, SymBool = _classes["SymInt"], _classes["SymFloat"], _classes["SymBool"]

TensorType = classes("symbolic", "TorchScript's type of tensors", "TensorType")["TensorType"]

Message = Callable[[], Any] | str | None


def sym_int(a: Any) -> int:
    """The whole number next to a towards zero."""
    return int(a)


def sym_float(a: Any) -> float:
    """The number as a float."""
    return float(a)


def sym_not(a: Any) -> bool:
    """not a."""
    return not a


def sym_max(a: Any, b: Any) -> Any:
    """The larger number, a float if one of them is."""
    return type(a + b)(builtins.max(a, b))


def sym_min(a: Any, b: Any) -> Any:
    """The smaller number, a float if one of them is."""
    return type(a + b)(builtins.min(a, b))


def sym_sum(args: Iterable[Any]) -> Any:
    """The sum of numbers."""
    return builtins.sum(args)


def sym_ite(b: Any, t: Any, f: Any) -> Any:
    """t if b, else f."""
    return t if b else f


def sym_sqrt(a: Any) -> float:
    """The square root of a number."""
    return math.sqrt(a)


def _check_with(error_type: type[Exception], cond: Any, message: Message = None) -> None:
    """Raise an error of this type, with the message, if a condition is false."""
    if not isinstance(cond, builtins.bool):
        hint = "; for tensor conditions, use torch._check_tensor_all()" if isinstance(cond, Tensor) else ""
        raise TypeError(f"cond must be a bool, but got {type(cond)}{hint}")
    if not cond:
        text = "Expected cond to be True, but got False." if message is None else message
        raise error_type(str(text() if callable(text) else text))


def _check(cond: Any, message: Message = None) -> None:
    """RuntimeError if a condition is false."""
    _check_with(RuntimeError, cond, message)


def _check_index(cond: Any, message: Message = None) -> None:
    """IndexError if a condition is false."""
    _check_with(IndexError, cond, message)


def _check_value(cond: Any, message: Message = None) -> None:
    """ValueError if a condition is false."""
    _check_with(ValueError, cond, message)


def _check_type(cond: Any, message: Message = None) -> None:
    """TypeError if a condition is false."""
    _check_with(TypeError, cond, message)


def _check_not_implemented(cond: Any, message: Message = None) -> None:
    """NotImplementedError if a condition is false."""
    _check_with(NotImplementedError, cond, message)


def _check_is_size(i: Any, message: Message = None, *, max: int | None = None) -> None:
    """RuntimeError if a number is not a size (at most `max`)."""
    _check(bool(i >= 0), message)
    _check(max is None or bool(i <= max), message)


def _check_tensor_all_with(error_type: type[Exception], cond: Any, message: Message = None) -> None:
    """An error of this type if a tensor of bool is not true everywhere."""
    if not isinstance(cond, Tensor):
        raise TypeError(f"cond must be a tensor, but got {type(cond)}")
    _check_with(error_type, bool(FUNCTIONS["all"](cond).item()), message)


def _check_tensor_all(cond: Any, message: Message = None) -> None:
    """RuntimeError if a tensor of bool is not true everywhere."""
    _check_tensor_all_with(RuntimeError, cond, message)


def _assert_async(
    input: Any, assert_msg: str = "Expected Tensor with single nonzero value, but got zero"
) -> None:
    """RuntimeError if the only element of a tensor is zero."""
    if input.numel() != 1:
        raise RuntimeError("Boolean value of Tensor with more than one value is ambiguous")
    if not bool(input):
        raise RuntimeError(assert_msg)


def _shape_as_tensor(input: Any) -> Any:
    """The shape as a tensor of int64."""
    return FUNCTIONS["tensor"](list(input.shape))


def get_device_module(device: Any = None) -> Any:
    """The module of a kind of device, torch.cpu by default. RuntimeError if there is none."""
    import importlib

    kind = "cpu" if device is None else str(device).partition(":")[0]
    try:
        return importlib.import_module(f"flambeau.{kind}")
    except ModuleNotFoundError:
        raise RuntimeError(
            f"Device '{kind}' does not have a corresponding module registered as 'torch.{kind}'."
        ) from None
