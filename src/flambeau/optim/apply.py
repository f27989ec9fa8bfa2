"""How a rule of an optimizer is run over its tensors.

A rule is a pure function of one parameter: rule(p, grad, *state, **numbers, **statics) -> (new p, *new state).
`numbers` are run-time values (a learning rate that changes each step), `statics` are part of the structure.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import flambeau as torch

from ..ops import foreach
from ..stream.capture import outside
from ..stream.value import LOCAL, NUMBERS


def apply(
    rule: Callable[..., tuple[Any, ...]],
    lists: Sequence[Sequence[Any]],
    numbers: dict[str, Any],
    statics: dict[str, Any],
    elementwise: bool = True,
    known: Any = None,
) -> Any:
    """Write rule's results in place: lists = (parameters, gradients, *states), all of one length.

    An elementwise rule of Python numbers is one instruction over all tensors; `known` is what its last call returned.
    """
    if elementwise and not LOCAL.s.grad and NUMBERS.issuperset(map(type, numbers.values())):
        return foreach.apply(rule, lists, numbers, statics, known)
    if any(type(v) is float for v in numbers.values()):
        outside("the optimizer computes its rule tensor by tensor")
    for p, grad, *state in zip(*lists):
        for old, new in zip((p, *state), rule(p, grad, *state, **numbers, **statics)):
            if new is not old:
                old.copy_(new)
    return known


def step_boundary() -> None:
    """The end of a step: the place where the recorded instructions run."""
    S = LOCAL.s
    if S.capture is None:
        S.flush()


def number(value: Any) -> Any:
    """An option as a Python number; a tensor that requires a gradient stays one (differentiable=True)."""
    if isinstance(value, torch.Tensor):
        return value.squeeze() if value.requires_grad else value.item()
    return value


def plus(x: Any, y: Any, scale: Any) -> Any:
    """x + scale * y."""
    return x + scale * y if isinstance(scale, torch.Tensor) else torch.add(x, y, alpha=scale)


def plus_product(x: Any, y: Any, z: Any, scale: Any) -> Any:
    """x + scale * y * z."""
    return x + scale * y * z if isinstance(scale, torch.Tensor) else torch.addcmul(x, y, z, value=scale)


def plus_quotient(x: Any, y: Any, z: Any, scale: Any) -> Any:
    """x + scale * (y / z)."""
    return x + scale * (y / z) if isinstance(scale, torch.Tensor) else torch.addcdiv(x, y, z, value=scale)


def direction(p: Any, grad: Any, weight_decay: Any, decay: bool, maximize: bool) -> Any:
    """The gradient to descend: negated to maximize, plus weight_decay * p (`decay`: weight_decay is not 0)."""
    grad = -grad if maximize else grad
    return plus(grad, p, weight_decay) if decay else grad
