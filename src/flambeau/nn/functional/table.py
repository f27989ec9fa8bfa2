"""Where a functional finds its computation: the op of that name, or else a formula over other functions.

A functional of this package is the argument logic of PyTorch's function (legacy arguments, checks, warnings, in-place
variants). What it computes is asked of `ops`: an entry of the book of ops with the functional's name and signature,
without legacy arguments; while there is none, the formula in `formulas/`.
"""

from __future__ import annotations

from typing import Any

import flambeau as torch


class Ops:
    """Attributes are functions, found when first used."""

    def __getattr__(self, name: str) -> Any:
        found = find(name)
        if found is None:
            raise AttributeError(f"nn.functional.{name}: flambeau has no such function yet")
        setattr(self, name, found)
        return found


# Functions of the top namespace whose arguments are not those of the functional of the same name.
_DIFFERENT = frozenset(
    (
        "adaptive_max_pool1d",
        "batch_norm",
        "binary_cross_entropy_with_logits",
        "ctc_loss",
        "embedding",
        "embedding_bag",
        "instance_norm",
        "kl_div",
        "unfold",
    )
)


def find(name: str) -> Any:
    """The function that computes `name`: an op (one flagged functional first), or else a formula."""
    from ...ops.entry import FACES, FUNCTIONS

    found = FACES.get("nn.functional", {}).get(name)
    if found is None and name not in _DIFFERENT:
        found = FUNCTIONS.get(name)
    if found is None:
        from .. import formulas

        found = getattr(formulas, name, None)
    return getattr(torch, name, None) if found is None else found


ops = Ops()


def warn(message: str, category: type[Warning] = UserWarning, stacklevel: int = 3) -> None:
    """`warnings.warn`, imported when it is needed."""
    import warnings

    warnings.warn(message, category, stacklevel=stacklevel)


def in_place(input: Any, name: str, *args: Any) -> Any:
    """The in-place form of an op, or its result copied into `input`."""
    form = getattr(ops, name + "_", None)
    if form is not None:
        return form(input, *args)
    return input.copy_(getattr(ops, name)(input.clone(), *args))  # what the op saves must not be written
