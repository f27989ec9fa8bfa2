"""Running the gradient formulas of an entry: recorded as one instruction, or op by op when they must be differentiable."""

from __future__ import annotations

from typing import Any

from ..stream.graph import Trace, Val, cast
from ..stream.value import LOCAL, NUMBERS, PLAIN, Tensor
from . import family, record
from .entry import Entry, grad_plan, own_results, traced
from .record import Form, OpNode
from .widening import widen


def run(entry: Entry, node: OpNode, grads: tuple[Tensor | None, ...]) -> tuple[Tensor | None, ...]:
    """The gradients of the node's inputs, aligned with its edges."""
    form = node.form
    if not any(g is not None for g in grads):
        return (None,) * len(node.edges)
    plan = grad_plan(form, node.needs)
    saved = node.unpack()
    lead = (None,) if len(node.edges) > len(plan.inputs) else ()
    S = LOCAL.s
    if any(g is not None and type(g) not in PLAIN for g in grads) or (
        S.grad and differentiable(grads, saved)
    ):
        return (*lead, *evaluate(entry, form, plan, grads, saved))
    if len(grads) == 1:  # what is saved has the metadata of the form: it is no part of the key
        key: Any = (node.needs, grads[0]._meta)  # type: ignore[union-attr]
        inputs = (grads[0], *saved)
    else:
        key = (node.needs, *[None if g is None else g._meta for g in grads])
        inputs = (*[g for g in grads if g is not None], *saved)
    if form.backward is None:
        form.backward = {}
    made = form.backward.get(key)
    if made is None:
        made = form.backward[key] = family.gradient(
            form,
            plan,
            key,
            lambda: trace_backward(entry, form, plan, grads, saved),
            lambda of, *values: trace_backward(entry, of, plan, *values),
        )
    back, where = made
    if not back.outs:
        result: Any = ()
    else:
        result = record.commit(S, back, inputs)
        if len(back.outs) == 1:
            result = (result,)
    return (*lead, *[None if i is None else result[i] if i >= 0 else inputs[~i] for i in where])


def trace_backward(entry: Entry, form: Form, plan: Any, grads: Any, saved: list[Any]) -> Any:
    """(form, places): an entry's formulas traced for these metadata, and where each input's gradient is."""
    trace = Trace()
    g = [None if x is None else trace.operand(x._meta) for x in grads]
    values = [trace.number(type(a)) if type(a) in NUMBERS else trace.operand(a._meta) for a in saved]
    found = traced(trace, lambda: [evaluate(entry, form, plan, g, values)], [])[0]
    where: list[int | None] = []
    vals: list[Val] = []
    S = LOCAL.s
    before, S.trace = S.trace, trace
    try:
        for v in found:
            if v is None:
                where.append(None)
            elif handed_back(v, len(operands_of(g))):
                where.append(~v.buf.src)
            else:
                where.append(len(vals))
                vals.append(v)
        vals = own_results(vals)
    finally:
        S.trace = before
    widen(trace, vals)
    back = Form(entry, trace, vals, None, ([], ()))
    back.name = plan.node_type.__name__
    return back, where


def differentiable(grads: Any, saved: list[Any]) -> bool:
    """Whether a gradient or a saved value has a history, so that the formulas must run on tensors."""
    return any(g is not None and g._rg for g in grads) or any(type(a) not in NUMBERS and a._rg for a in saved)


def operands_of(grads: list[Any]) -> list[Any]:
    """The gradients that are there."""
    return [g for g in grads if g is not None]


def handed_back(v: Val, grads: int) -> bool:
    """Whether a formula's result is a gradient that it was given, unchanged."""
    buf = v.buf
    return (
        isinstance(buf.src, int)
        and buf.src < grads
        and v.off == 0
        and (v.shape, v.strides) == (buf.shape, buf.strides)
    )


def evaluate(entry: Entry, form: Form, plan: Any, grads: Any, saved: list[Any]) -> list[Any]:
    """Each input's gradient by the entry's formulas, on tensors or on traced values alike.

    Formulas are those of real functions: grad times the derivative. Of an analytic function of complex numbers the
    gradient is grad times the conjugate of the derivative: the conjugate of what the formula makes of the conjugate of
    grad. Entries whose formulas know of complex numbers say wirtinger=True."""
    names = entry.operand_names(form)
    turned = not entry.facts.get("wirtinger") and any(
        x is not None and x.dtype.is_complex for x in (*grads, *form.trace.operands)
    )
    if turned:
        grads = [g if g is None else g.conj() for g in grads]
    scope = bind(entry, form, plan, grads, saved, names)
    by_name: dict[str, Any] = {}
    for inputs, fn, params in plan.formulas:
        value = fn(*[scope[p] for p in params])
        if turned:
            value = conjugate(value)
        if len(inputs) == 1:
            by_name[inputs[0]] = value
        else:
            by_name.update(zip(inputs, value))
    result = []
    for i in plan.inputs:
        value = by_name.get(names[i])
        if isinstance(value, (list, tuple)):
            value = value[i - names.index(names[i])]
        result.append(None if value is None else fit(value, form.trace.operands[i]))
    return result


def bind(
    entry: Entry, form: Form, plan: Any, grads: Any, saved: list[Any], names: list[str]
) -> dict[str, Any]:
    """What a formula may name: grad, grads, parameters, results, needs."""
    scope: dict[str, Any] = dict(zip(entry.params, form.args[1]))
    lists = {p for p in entry.params if entry.kinds[p] == "TS"}
    for p in lists:
        scope[p] = []
    for i, value in zip(plan.saved_args, saved):
        if names[i] in lists:
            scope[names[i]].append(value)
        else:
            scope[names[i]] = value
    for i, value in zip(plan.results, saved[len(plan.saved_args) :]):
        scope[entry.result_names(form)[i]] = value
    scope["grad"] = grads[0]
    scope["grads"] = grads
    scope["needs"] = {names[i] for i in plan.inputs}
    scope["form"] = form
    return scope


def conjugate(value: Any) -> Any:
    """The conjugates of gradients."""
    if isinstance(value, (list, tuple)):
        return [conjugate(v) for v in value]
    return value if value is None or type(value) in NUMBERS else value.conj()


def fit(value: Any, operand: Any) -> Any:
    """A gradient in the shape and dtype of its input: summed over broadcast dimensions, its real part, cast."""
    from .entry import FUNCTIONS

    if type(value) in NUMBERS:
        value = FUNCTIONS["full"](tuple(operand.shape), value, dtype=operand.dtype)
    if value.dtype.is_complex and not operand.dtype.is_complex:
        value = FUNCTIONS["real"](value)
    shape = tuple(operand.shape)
    if tuple(value.shape) != shape:
        value = FUNCTIONS["sum_to_size"](value, shape)
    if value.dtype is not operand.dtype:
        value = cast(value, operand.dtype) if type(value) is Val else value.to(operand.dtype)
    return value
