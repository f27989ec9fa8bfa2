"""Forward mode, `torch.autograd.forward_ad`, by two reverse passes: the tangent is the gradient of v^T J by v.

A dual tensor is a leaf of the graph that remembers its tangent while its level lasts.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ..ops.entry import FUNCTIONS
from ..stream.value import Tensor
from . import engine
from .modes import enable_grad

LEVELS: list[list[tuple[Tensor, Tensor]]] = []  # of each level entered: (input, tangent)


class UnpackedDualTensor(NamedTuple):
    """What `unpack_dual` gives: the value and its tangent, None if nothing of the level leads to it."""

    primal: Any
    tangent: Any


def enter_dual_level() -> int:
    """Begin a level; its number. RuntimeError if one is open: levels do not nest."""
    if LEVELS:
        raise RuntimeError("Nested forward mode AD is not supported at the moment")
    LEVELS.append([])
    return 0


def exit_dual_level(*, level: int | None = None) -> None:
    """End the level: its tangents are forgotten. RuntimeError if none is open."""
    if not LEVELS:
        raise RuntimeError("Trying to exit a forward AD level but no level is currently active.")
    LEVELS.pop()


class dual_level:
    """The context in which dual tensors exist.

    >>> import flambeau as torch
    >>> import flambeau.autograd.forward_ad as fwAD
    >>> with fwAD.dual_level():
    ...     x = fwAD.make_dual(torch.tensor([2.0]), torch.tensor([1.0]))
    ...     print(fwAD.unpack_dual(x**3).tangent)
    tensor([12.])
    """

    def __enter__(self) -> int:
        return enter_dual_level()

    def __exit__(self, *error: object) -> None:
        exit_dual_level()


def make_dual(tensor: Tensor, tangent: Tensor, *, level: int | None = None) -> Tensor:
    """`tensor` with a tangent of its shape and dtype; operations under gradient recording carry it on.

    RuntimeError outside of a level, or where shapes or dtypes differ.
    """
    if not LEVELS:
        raise RuntimeError(
            "Trying to create a dual Tensor for forward AD but no level exists, make sure to enter_dual_level() first."
        )
    if not tensor._meta.dtype.is_floating_point:
        raise ValueError(f"Expected primal to be floating point or complex, but got: {tensor._meta.dtype}")
    if tuple(tensor._meta.shape) != tuple(tangent._meta.shape):
        raise RuntimeError(
            f"Expected tangent to have the same shape as the primal; got {tuple(tangent._meta.shape)} and "
            f"{tuple(tensor._meta.shape)}"
        )
    with enable_grad():
        x: Any = tensor
        dual = FUNCTIONS["alias"](x) if x.requires_grad else x.detach().requires_grad_()
    LEVELS[-1].append((dual, tangent))
    return dual


def unpack_dual(tensor: Tensor, *, level: int | None = None) -> UnpackedDualTensor:
    """(primal, tangent): the tangent is J v, by the gradients of the inputs that `make_dual` made."""
    pairs = LEVELS[-1] if LEVELS else []
    for x, tangent in pairs:
        if x is tensor:
            return UnpackedDualTensor(tensor, tangent)
    if not pairs or not tensor._rg:
        return UnpackedDualTensor(tensor, None)
    zeros, grad = FUNCTIONS["zeros_like"], engine.grad
    with enable_grad():
        seed = zeros(tensor).requires_grad_()
        found = grad(
            tensor, [x for x, _ in pairs], seed, retain_graph=True, create_graph=True, allow_unused=True
        )
        reached = [(g, v) for g, (_, v) in zip(found, pairs) if g is not None]
        if not reached:
            return UnpackedDualTensor(tensor, None)
        linear = [(g, v) for g, v in reached if g.requires_grad]
        if not linear:
            return UnpackedDualTensor(tensor, zeros(tensor))
        (made,) = grad([g for g, _ in linear], seed, [v for _, v in linear], allow_unused=True)
    return UnpackedDualTensor(tensor, zeros(tensor) if made is None else made)
