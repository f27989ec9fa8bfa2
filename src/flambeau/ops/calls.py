"""The functions that users call, generated for each entry: one test, one look-up, one append; and every call that is not plain."""

from __future__ import annotations

import struct
from collections.abc import Callable
from types import FunctionType
from typing import TYPE_CHECKING, Any

from ..dtypes import complex128, number_dtype, result_type
from ..errors import fail
from ..stream import gradient
from ..stream.graph import Val
from ..stream.host import from_bytes
from ..stream.value import (
    AT_FIRST_KERNEL,
    AT_FLUSH,
    COMPLEX_NUMBER,
    LOCAL,
    NUMBERS,
    PLAIN,
    Tensor,
    check_writable,
    version_of,
)
from . import record
from .generate import builtin_source, letters_of, source_of
from .naming import ABSENT, in_order
from .places import apart
from .record import Form
from .registry import FUNCTIONS
from .rules import check_cast, scalar_name

if TYPE_CHECKING:
    from .entry import Entry


def finish_call(S: Any, form: Form, operands: tuple[Any, ...]) -> Any:
    """Record a form with or without gradient and build its result."""
    if S.grad:
        needs = 0
        for i, a in enumerate(operands):
            if type(a) not in NUMBERS and a._rg:
                needs |= 1 << i
        result = record.record_grad(S, form, operands, needs) if needs else record.commit(S, form, operands)
    else:
        result = record.commit(S, form, operands)
    structure = form.structure
    if structure is None:
        return result
    return tuple(result) if structure is tuple else structure(*result)


def finish_inplace(S: Any, form: Form, operands: tuple[Any, ...], name: str) -> Any:
    """Record the in-place form of an op on operands[0], with or without gradient, and return that tensor."""
    t = operands[0]
    check_writable(t)
    if S.grad:
        gradient.check_inplace(
            t, t._vw is not None and any(type(a) not in NUMBERS and a._rg for a in operands)
        )
        needs = 0
        for i, a in enumerate(operands):
            if type(a) not in NUMBERS and a._rg:
                needs |= 1 << i
        if t._vw is not None and t._vw[0]._rg:
            needs |= 1
        if needs and t._meta.dtype.is_inexact:
            record.record_grad(S, form, operands, needs) if form.entry.grads is not None else _untracked(
                S, form, operands
            )
            foreign_written(S, t)
            return t
    record.commit(S, form, operands)
    version_of(t).n += 1
    foreign_written(S, t)
    return t


def _untracked(S: Any, form: Form, operands: tuple[Any, ...]) -> None:
    record.commit(S, form, operands)
    version_of(operands[0]).n += 1


def foreign_written(S: Any, t: Tensor) -> None:
    """A write to memory that others see happens at once."""
    info = t._st.info
    if info is not None and (info.owner is not None or info.exported):
        S.flush()


def make_wrapper(
    entry: Entry, inplace: bool = False, slow: Callable[..., Any] | None = None
) -> Callable[..., Any]:
    """The function for one entry, generated when it is first called. slow: what takes every call that is not plain."""
    scope: dict[str, Any] = {
        "E": entry,
        "check": entry.check,
        "LOCAL": LOCAL,
        "PLAIN": PLAIN,
        "NUMBERS": NUMBERS,
        "slow": slow or slow_call,
        "commit": record.commit,
        "record_grad": record.record_grad,
        "structured": structured,
        "finish_call": finish_call,
        "finish_inplace": finish_inplace,
        "cache": entry.cache_inplace if inplace else entry.cache,
        "A": ABSENT,
        "in_order": in_order,
        **{f"_d_{p}": v for p, v in entry.defaults.items()},
    }
    name = entry.name + ("_" if inplace else "")
    stub = FunctionType(_STUB, scope, name)
    _STUBS.append(stub)

    left = [FIRST_CALLS]

    def first(args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        if left[0]:
            left[0] -= 1
            values = by_place(entry, args, options)
            if values is not None:
                return scope["slow"](entry, values, None, inplace)
        letters = letters_of(entry) if _BUILTIN[0] is not None else None
        text = source_of(entry, inplace) if letters is None else builtin_source(entry, inplace)
        exec(compile(text, f"<flambeau op {name}>", "exec"), scope)
        made = scope[name]
        if letters is not None:
            defaults = tuple([entry.defaults.get(p) for p in entry.params])
            known = (entry.grads is not None, entry, entry.kin, entry.sized, entry.check)
            context = (scope["cache"], scope["plain"], letters, defaults, *known)
            scope["builtin"] = _BUILTIN[0](context, inplace)
        stub.__defaults__, stub.__kwdefaults__ = made.__defaults__, made.__kwdefaults__
        stub.__code__ = made.__code__
        return stub(*args, **options)

    scope["_first"] = first
    stub.__doc__, stub.__module__, stub.__qualname__ = entry.doc, "torch", name
    return stub


# Calls of an op that are not worth a function of its own: its text is compiled in the time of so many that do without.
FIRST_CALLS = 16


def by_place(entry: Entry, args: tuple[Any, ...], options: dict[str, Any]) -> tuple[Any, ...] | None:
    """The arguments of a usual call, one for each parameter; None if the generated function has to look at it."""
    if len(args) > len(entry.positional):
        return None
    values, used = list(args), 0
    for p in entry.params[len(args) :]:
        if p in options:
            values.append(options[p])
            used += 1
        elif p in entry.defaults:
            values.append(entry.defaults[p])
        else:
            return None
    return tuple(values) if used == len(options) else None


def _stub(*args: Any, **options: Any) -> Any:
    return _first(args, options)  # type: ignore[name-defined]  # noqa: F821


_STUB = _stub.__code__
_STUBS: list[FunctionType] = []
_BUILTIN: list[Any] = [None]  # what makes the builtin function of an op from its context, once it is there


def use(commit: Any, record_grad: Any, builtin: Any) -> None:
    """Record by these functions from now on (see ops/builtins); what was generated is generated anew, when called."""
    record.commit, record.record_grad, _BUILTIN[0] = commit, record_grad, builtin
    for stub in _STUBS:
        stub.__globals__.update(commit=commit, record_grad=record_grad)
        stub.__code__ = _STUB
        stub.__defaults__ = stub.__kwdefaults__ = None


def _use_builtins() -> None:
    from . import builtins  # made of machine code, as kernels are

    builtins.begin()


# Before the second flush: what comes only once is done sooner without them.
AT_FIRST_KERNEL.append(lambda: AT_FLUSH.append(_use_builtins))


def structured(form: Form, result: Any) -> Any:
    """Several results in the op's own structure."""
    return tuple(result) if form.structure is tuple else form.structure(*result)


def slow_call(entry: Entry, values: tuple[Any, ...], out: Any, inplace: bool) -> Any:
    """Every call that is not plain: modes, subclasses, traced operands, lists, out=, a form not seen yet."""
    S = LOCAL.s
    if S.trace is not None and not inplace:
        return entry.inline(*values)
    if S.depth or any(type(v) not in PLAIN and hasattr(type(v), "__torch_function__") for v in _flat(values)):
        from . import modes

        handled = modes.dispatch(S, entry, values, out, inplace)
        if handled is not modes.NOT_HANDLED:
            return handled
    if type(values[0]) in NUMBERS and entry.name in NUMBER_FIRST:
        values = (number_first(*values[:2]), *values[1:])
    values = tuple([_normal(entry, p, v) for p, v in zip(entry.params, values)])
    if out is not None:
        return call_out(S, entry, values, out)
    form = entry.form(values, inplace)
    if entry.check is not None:
        entry.check(*values)
    operands = tuple(entry.split(values)[0])
    if inplace:
        return finish_inplace(S, form, operands, entry.name + "_")
    return finish_call(S, form, operands)


# Functions that take a number for the first tensor too.
NUMBER_FIRST = frozenset(
    (
        *("add", "sub", "mul", "div", "floor_divide", "remainder", "bitwise_and", "bitwise_or"),
        *("bitwise_xor", "bitwise_left_shift", "bitwise_right_shift"),
    )
)


def number_first(number: Any, other: Any) -> Any:
    """A number as a tensor of the dtype that it has beside the other operand."""
    if not isinstance(other, Tensor):
        return FUNCTIONS["tensor"](number)
    d = other._meta.dtype
    return FUNCTIONS["tensor"](number, dtype=result_type([(d, 2), (number_dtype(type(number)), 0)]))


def slow_operator(entry: Entry, values: tuple[Any, ...], out: Any, inplace: bool) -> Any:
    """As `slow_call` for an operator: NotImplemented for an operand of a foreign type, so that it is asked in turn."""
    other = values[1] if len(values) > 1 else None
    if type(other) not in PLAIN and type(other) not in NUMBERS and type(other) is not Val and len(values) > 1:
        import numpy as np

        if isinstance(other, np.ndarray) and other.ndim:
            return NotImplemented
        if not isinstance(other, (Tensor, int, float, complex, np.generic, np.ndarray)):
            return NotImplemented
    return slow_call(entry, values, out, inplace)


def _flat(values: tuple[Any, ...]) -> list[Any]:
    flat: list[Any] = []
    for v in values:
        if type(v) in (list, tuple):
            flat.extend(v)
        else:
            flat.append(v)
    return flat


def static_value(v: Any) -> Any:
    """Lists as tuples, so that a form's key can hold them."""
    return tuple(static_value(x) for x in v) if isinstance(v, (list, tuple)) and type(v) is not Val else v


def complex_number(value: complex) -> Tensor:
    """A complex Python number as an operand: a tensor that gives way in promotion as numbers do."""
    t = from_bytes(struct.pack("=dd", value.real, value.imag), complex128, ())
    t._meta = COMPLEX_NUMBER
    return t


def _normal(entry: Entry, p: str, v: Any) -> Any:
    """An argument in the form that keys want; TypeError as PyTorch's for one of the wrong kind."""
    kind = entry.kinds[p]
    if kind in ("T", "TN", "OT", "OTN", "N"):
        if isinstance(v, Tensor) or (v is None and kind[0] == "O"):
            if kind != "N" or v is None:
                return v
            v = v.item()  # type: ignore[attr-defined]
            return complex_number(v) if type(v) is complex else v
        if type(v) in NUMBERS and kind not in ("T", "OT"):
            return v
        if kind not in ("T", "OT"):
            import numpy as np

            if isinstance(v, (np.number, np.bool_)):
                return v.item() if not isinstance(v, np.complexfloating) else complex_number(v.item())
            if isinstance(v, (int, float)):
                return float(v) if isinstance(v, float) else int(v)
            if isinstance(v, complex):
                return complex_number(complex(v))
        at = entry.params.index(p) + 1
        wanted = (
            "Tensor"
            if kind in ("T", "OT")
            else "Number"
            if kind[-1:] == "N" and kind != "TN"
            else "Tensor or Number"
        )
        label = "input" if p == "self" else p
        raise TypeError(
            f"{entry.name}(): argument '{label}' (position {at}) must be {wanted}, not {type(v).__name__}"
        )
    if kind == "TS":
        if not isinstance(v, (list, tuple)):
            at = entry.params.index(p) + 1
            raise TypeError(
                f"{entry.name}(): argument '{p}' (position {at}) must be tuple of Tensors, not {type(v).__name__}"
            )
        for i, t in enumerate(v):
            if not isinstance(t, Tensor):
                raise TypeError(f"expected Tensor as element {i} in argument 0, but got {type(t).__name__}")
        return tuple(v)
    if isinstance(v, (list, tuple)):
        return tuple([normal_static(x) for x in v])
    return normal_static(v)


def normal_static(x: Any) -> Any:
    """A static argument as Python's own number, text or None."""
    if type(x) in NUMBERS or x is None or isinstance(x, str):
        return x
    if isinstance(x, Tensor) and x._meta.ndim == 0:
        return x.item()  # type: ignore[attr-defined]
    if hasattr(x, "__index__") and not isinstance(x, type):
        return int(x)
    return x


def call_out(S: Any, entry: Entry, values: tuple[Any, ...], out: Any) -> Any:
    """The out= form: the result is computed, out resized if its shape differs, and written."""
    outs = out if isinstance(out, (tuple, list)) else (out,)
    for o in outs:
        check_writable(o)
    if S.grad and (any(o._rg for o in outs) or any(isinstance(v, Tensor) and v._rg for v in _flat(values))):
        raise RuntimeError(
            f"{entry.name}(): functions with out=... arguments don't support automatic differentiation, but one of the arguments "
            "requires grad."
        )
    form = entry.form(values)
    if entry.check is not None:
        entry.check(*values)
    if entry.facts.get("exact_out"):
        for o in outs:
            apart(entry.name, o, *_flat(values))
    result = finish_call(S, form, tuple(entry.split(values)[0]))
    results = result if isinstance(result, tuple) else (result,)
    for o, r in zip(outs, results):
        if entry.facts.get("exact_out") and o._meta.dtype is not r._meta.dtype:
            fail(
                RuntimeError,
                f"{entry.name}: Expected the dtype for input and out to match, but got {scalar_name(r._meta.dtype)} for input's dtype and "
                f"{scalar_name(o._meta.dtype)} for out's dtype.",
            )
        check_cast(entry.name, r._meta.dtype, o._meta.dtype)
        if tuple(o._meta.shape) != tuple(r._meta.shape):
            o.resize_(tuple(r._meta.shape))
        FUNCTIONS["copy_"](o, r)
    return out
