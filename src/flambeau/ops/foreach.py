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

    grads, constant = None, ()

    def __init__(self, name: str):
        self.name = name


FORMS: dict[Any, Form] = {}


class Known:
    """What a call of `apply` found: another of the same metadata need not look for it."""

    __slots__ = ("form", "metas", "names", "rule", "statics", "types")

    form: Form
    metas: list[Any]
    names: list[str]
    rule: Any
    statics: dict[str, Any]
    types: list[type]


def apply(
    rule: Callable[..., Any],
    lists: Sequence[Sequence[Tensor]],
    numbers: dict[str, Any],
    statics: dict[str, Any],
    known: Known | None = None,
) -> Known | None:
    """Write new values into the tensors of `lists`, in place.

    lists = (parameters, gradients, *states), all of one length. rule(p, grad, *state, **numbers, **statics) returns
    (new p, *new state); one that it returns unchanged is not written. numbers are run-time arguments, statics structure.
    known: what the call before has returned.
    """
    if not lists[0]:
        return known
    S = LOCAL.s
    operands = [t for column in lists for t in column]
    metas, types = [t._meta for t in operands], list(map(type, numbers.values()))
    if (
        known is None
        or known.metas != metas
        or known.types != types
        or known.statics != statics
        or known.names != list(numbers)
        or known.rule is not rule
    ):
        known = Known()
        known.metas, known.types, known.statics, known.names = metas, types, dict(statics), list(numbers)
        known.rule, known.form = rule, form(rule, lists, numbers, statics)
    made = known.form
    operands += numbers.values()
    record.commit(S, made, tuple(operands))
    count = len(operands)
    for i in made.writes:
        if i < count:
            version_of(operands[i]).n += 1
    return known


def form(
    rule: Callable[..., Any],
    lists: Sequence[Sequence[Tensor]],
    numbers: dict[str, Any],
    statics: dict[str, Any],
) -> Form:
    """The form of a call, traced if it is new."""
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
    return made


def trace(
    rule: Callable[..., Any],
    lists: Sequence[Sequence[Tensor]],
    numbers: dict[str, Any],
    statics: dict[str, Any],
) -> Form:
    """The form of a rule over lists of tensors of these metadata: rows that are alike share what is traced."""
    t = Trace()
    for column in lists:
        for x in column:
            t.operand(x._meta)
    for v in numbers.values():
        t.number(type(v)) if type(v) in NUMBERS else t.operand(v._meta)
    count, start = len(lists[0]), len(lists) * len(lists[0])
    last = tuple(range(start, start + len(numbers)))
    known: dict[Any, Trace] = {}
    rows = []
    for i in range(count):
        metas = tuple([column[i]._meta for column in lists])
        if metas not in known:
            known[metas] = row(rule, metas, numbers, statics)
        rows.append((known[metas], (*range(i, start, count), *last)))
    t.rows = rows
    return Form(_Rule(getattr(rule, "__name__", "rule")), t, [], None, ([], ()), -1)


def row(
    rule: Callable[..., Any], metas: Sequence[Any], numbers: dict[str, Any], statics: dict[str, Any]
) -> Trace:
    """What a rule does to one row of tensors of these metadata; the numbers are its last operands."""
    t = Trace()
    t.each = True
    operands = [t.operand(meta) for meta in metas]
    values = {n: t.number(type(v)) if type(v) in NUMBERS else t.operand(v._meta) for n, v in numbers.items()}

    def body() -> None:
        olds = (operands[0], *operands[2:])
        for old, new in zip(olds, rule(*operands, **values, **statics)):
            if new is not old:
                write(old, new)

    traced(t, body, [])
    return t


def write(old: Val, new: Any) -> None:
    """Write a new value into an operand, broadcast and cast."""
    store(old, expand(cast(new, old.dtype), tuple(old.shape)))
