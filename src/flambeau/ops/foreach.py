"""One instruction over lists of tensors: an optimiser's whole update is recorded once for all its parameters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..stream.graph import Trace, Val, cast, expand, store
from ..stream.value import LOCAL, NUMBERS, Tensor, version_of
from . import record
from .entry import traced
from .record import Form


class _Rule:
    """What a form needs to know of a rule."""

    grads = None

    def __init__(self, name: str):
        self.name = name


FORMS: dict[Any, Form] = {}


def apply(
    rule: Callable[..., Any],
    lists: Sequence[Sequence[Tensor]],
    numbers: dict[str, Any],
    statics: dict[str, Any],
) -> None:
    """Write new values into the tensors of `lists`, in place.

    lists = (parameters, gradients, *states), all of one length. rule(p, grad, *state, **numbers, **statics) returns
    (new p, *new state); one that it returns unchanged is not written. numbers are run-time arguments, statics structure.
    """
    if not lists[0]:
        return
    S = LOCAL.s
    key = (
        rule,
        tuple(statics.items()),
        tuple([(n, type(v)) for n, v in numbers.items()]),
        tuple([tuple([t._meta for t in column]) for column in lists]),
    )
    made = FORMS.get(key)
    if made is None:
        if len(FORMS) > 256:
            FORMS.clear()
        made = FORMS[key] = trace(rule, lists, numbers, statics)
    operands = tuple([t for column in lists for t in column]) + tuple(numbers.values())
    record.commit(S, made, operands)
    count = len(operands)
    for i in made.writes:
        if i < count:
            version_of(operands[i]).n += 1


def trace(
    rule: Callable[..., Any],
    lists: Sequence[Sequence[Tensor]],
    numbers: dict[str, Any],
    statics: dict[str, Any],
) -> Form:
    """The form of a rule over lists of tensors of these metadata."""
    t = Trace()
    t.each = True
    columns = [[t.operand(x._meta) for x in column] for column in lists]
    values = {n: t.number(type(v)) if type(v) in NUMBERS else t.operand(v._meta) for n, v in numbers.items()}

    def body() -> None:
        for row in zip(*columns):
            olds = (row[0], *row[2:])
            for old, new in zip(olds, rule(*row, **values, **statics)):
                if new is not old:
                    write(old, new)

    traced(t, body, [])
    return Form(_Rule(getattr(rule, "__name__", "rule")), t, [], None, ([], ()), -1)


def write(old: Val, new: Any) -> None:
    """Write a new value into an operand, broadcast and cast."""
    store(old, expand(cast(new, old.dtype), tuple(old.shape)))
