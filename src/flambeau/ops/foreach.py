"""One instruction over lists of tensors: an optimiser's whole update is recorded once for all its parameters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..shapes import contiguous_strides, expand_strides, is_contiguous, numel
from ..stream.graph import Buffer, GNode, Trace, Val, cast, expand, store
from ..stream.value import LOCAL, NUMBERS, Meta, Tensor, version_of
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
    dense: dict[Any, Trace | None] = {}  # by dtypes: a row of tensors of one shape, in row-major order
    rows = []
    for i in range(count):
        metas = tuple([column[i]._meta for column in lists])
        if metas not in known:
            kind = tuple([meta.dtype for meta in metas]) if alike(metas) else None
            pattern = dense.get(kind)
            known[metas] = resized(pattern, metas) if pattern else row(rule, metas, numbers, statics)
            if kind is not None and kind not in dense:
                dense[kind] = known[metas] if elementwise(known[metas]) else None
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


def alike(metas: Sequence[Meta]) -> bool:
    """Whether the tensors of a row have one shape, of several elements in row-major order."""
    shape = metas[0].shape
    return numel(shape) > 1 and all(m.shape == shape and is_contiguous(shape, m.strides) for m in metas)


def elementwise(t: Trace) -> bool:
    """Whether a row is made of scalar operations on whole tensors, and so is the same for any extents."""
    shape = tuple(t.operands[0].shape)

    def whole(v: Val | Buffer) -> bool:
        return not v.shape or (tuple(v.shape) == shape and is_contiguous(shape, v.strides))

    return not any(b.parts for b in t.operands) and all(
        node.kind in ("map", "const", "store")
        and all(not v.off and (whole(v) or not v.buf.shape) for v in node.ins)
        and all(whole(b) for b in node.outs)
        for node in t.nodes
    )


def resized(pattern: Trace, metas: Sequence[Meta]) -> Trace:
    """An elementwise row for tensors of another shape."""
    t = Trace()
    t.each, t.like, t.numbers = True, pattern, pattern.numbers
    shape = metas[0].shape
    dense, spread = contiguous_strides(shape), expand_strides((), (), shape)
    made: dict[int, Buffer] = {}

    def buffer(b: Buffer, src: Any) -> Buffer:
        strides = metas[src].strides if type(src) is int and src < len(metas) else dense
        made[id(b)] = Buffer(src, shape, strides, b.dtype) if b.shape else Buffer(src, (), (), b.dtype)
        return made[id(b)]

    def view(v: Val) -> Val:
        buf = made[id(v.buf)]
        if not v.shape:
            return Val(buf, (), (), 0, v.level)
        return Val(buf, shape, buf.strides if buf.shape else spread, 0, v.level)

    t.operands = [buffer(b, b.src) for b in pattern.operands]
    for node in pattern.nodes:
        new = GNode(node.kind, node.op, tuple([view(v) for v in node.ins]), node.attrs)
        new.outs = [buffer(b, new) for b in node.outs]
        t.nodes.append(new)
    return t


def write(old: Val, new: Any) -> None:
    """Write a new value into an operand, broadcast and cast."""
    store(old, expand(cast(new, old.dtype), tuple(old.shape)))
