"""The entry of an op, and what is derived from it: the function, the method, the in-place and out= forms, the node.

    @op(grad={"self": lambda grad, result: grad * result})
    def exp(self: T) -> Any:
        \"\"\"e raised to each element ...\"\"\"
        return map_("exp", as_float(self))

The body runs on `Val` operands, once for each combination of metadata and static arguments. Annotations say what a
parameter is: T tensor, OT tensor or None, TN tensor or number, N number (an argument of the kernel, never part of its
structure), TS list of tensors; anything else is static. Gradients name what they use: grad (grads if the op has several
results), parameters, result (results): that is what is saved. A formula returns the gradient of its key; a key
"a, b" returns both. Gradients are brought to the input's shape and dtype by the machinery.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import fail
from ..stream import pairs
from ..stream.graph import NoSuchOperation, Trace, Val, as_val, cast, contiguous, once, store
from ..stream.value import LOCAL, NUMBERS, Tensor
from . import family, kin
from .calls import make_wrapper as make_wrapper
from .calls import slow_operator as slow_operator
from .calls import static_value
from .places import distinct
from .record import Form, GradPlan, OpNode
from .registry import ENTRIES as ENTRIES
from .registry import FACES as FACES
from .registry import FUNCTIONS as FUNCTIONS
from .registry import METHODS as METHODS
from .registry import NONE as NONE
from .registry import OPERANDS as OPERANDS
from .registry import OT as OT
from .registry import OTN as OTN
from .registry import TN as TN
from .registry import TS as TS
from .registry import N as N
from .registry import T as T
from .registry import composite as composite
from .registry import publish as publish
from .rules import SCALAR_NAMES as SCALAR_NAMES
from .rules import check_cast, unsupported
from .viewing import view as view
from .widening import widen

_run_backward: Any = None  # ops.backward.run, which imports this module


class Entry:
    """Everything known of one op. kinds: (parameter, kind) in order; grads: (inputs, formula, names used)."""

    def __init__(self, fn: Callable[..., Any], facts: dict[str, Any]):
        code = fn.__code__
        self.fn, self.name, self.doc = fn, facts.get("name") or fn.__name__, fn.__doc__ or ""
        self.facts = facts
        count = code.co_argcount
        self.positional = code.co_varnames[:count]
        self.keyword = code.co_varnames[count : count + code.co_kwonlyargcount]
        self.params = (*self.positional, *self.keyword)
        notes = fn.__annotations__
        self.kinds = {p: str(notes.get(p, "")) for p in self.params}
        defaults = fn.__defaults__ or ()
        self.defaults: dict[str, Any] = dict(
            zip(self.positional[len(self.positional) - len(defaults) :], defaults)
        )
        self.defaults |= fn.__kwdefaults__ or {}
        self.results: tuple[str, ...] = facts.get("results", ("result",))
        self.constant: tuple[str, ...] = facts.get("constant", ())
        self.grads: list[tuple[tuple[str, ...], Callable[..., Any], tuple[str, ...]]] | None = None
        self._read_grads(facts.get("grad"))
        self.cache: dict[Any, Form] = {}
        self.cache_inplace: dict[Any, Form] = {}
        self.kin: dict[Any, kin.Kin] = {}
        self.sized = self.params.index(facts["sized"]) if "sized" in facts else -1
        self._node_type: type[OpNode] | None = None
        self.wrapper: Callable[..., Any] | None = None
        self.check: Callable[..., None] | None = facts.get("check")  # of values that exist, in the call

    def _read_grads(self, given: Any) -> None:
        if given is None or given == NONE:
            return
        self.grads = []
        for key, fn in given.items():
            code = fn.__code__
            names = code.co_varnames[: code.co_argcount]
            inputs = tuple(k.strip() for k in key.split(","))
            self.grads.append((inputs, fn, names))

    @property
    def node_type(self) -> type[OpNode]:
        """The class of the entry's gradient nodes, made on first need."""
        if self._node_type is None:
            title = (
                self.facts.get("node")
                or "".join(w[:1].upper() + w[1:] for w in self.name.split("_")) + "Backward0"
            )
            self._node_type = type(title, (OpNode,), {"__slots__": (), "__module__": "torch.autograd"})
        return self._node_type

    # --- from arguments to operands -------------------------------------------------------------------------------

    def split(self, values: tuple[Any, ...]) -> tuple[list[Any], list[Any]]:
        """(operands, key) of a call: tensors and numbers in order; metadata, kinds of numbers and static values."""
        operands: list[Any] = []
        key: list[Any] = []
        for p, v in zip(self.params, values):
            kind = self.kinds[p]
            if kind in OPERANDS:
                if v is None or (kind == "N" and self.is_default(p, v)):
                    key.append(None)
                elif type(v) in NUMBERS:
                    operands.append(v)
                    key.append(type(v))
                else:
                    operands.append(v)
                    key.append(v._meta)
            elif kind == "TS":
                operands.extend(v)
                key.append(tuple([t._meta for t in v]))
            elif kind in ("float", "number"):
                key.append((type(v), v))
            else:
                key.append(v)
        return operands, key

    def is_default(self, p: str, v: Any) -> bool:
        """A number left at its default is baked into the kernel."""
        d = self.defaults.get(p)
        return v is d or (type(v) is type(d) and v == d)

    def form(self, values: tuple[Any, ...], into: bool = False) -> Form:
        """The form of a call, traced now if this combination is new."""
        _, parts = self.split(values)
        key = tuple(parts)
        cache = self.cache_inplace if into else self.cache
        form = cache.get(key)
        if form is None:
            if len(cache) > 4096:
                cache.clear()
            form = kin.derive(self, key, into)
            if form is None:
                form = self.trace(values, into)
                form.key = key
                more = kin.note(key, form)
                if more is not None:
                    family.note(*more, key, form)
            cache[key] = form
        return form

    def derived(self, key: Any) -> Form | None:
        """The form of a call with this key, if its kin are known and it need not be traced."""
        form = kin.derive(self, key)
        if form is not None:
            if len(self.cache) > 4096:
                self.cache.clear()
            self.cache[key] = form
        return form

    def trace(self, values: tuple[Any, ...], into: bool) -> Form:
        """The form of a call: the body run on traced operands; into: the in-place form."""
        trace = Trace()
        args: list[Any] = []
        names: list[Any] = []
        for p, v in zip(self.params, values):
            kind = self.kinds[p]
            if kind == "TS":
                names.append([len(trace.operands) + i for i in range(len(v))])
                args.append([trace.operand(t._meta) for t in v])
            elif v is not None and kind == "N" and self.is_default(p, v):
                names.append(None)
                args.append(v)
            elif v is not None and kind in OPERANDS:
                names.append((len(trace.operands),))
                args.append(trace.number(type(v)) if type(v) in NUMBERS else trace.operand(v._meta))
            else:
                names.append(None)
                args.append(v)
        try:
            result = traced(trace, self.inline, args)
        except NoSuchOperation as error:
            name = self.name.strip("_")
            fail(NotImplementedError, f"{name}: {unsupported(name, error.dtype)}")
        if into:
            write_back(trace, self, args[0], result)
            if not self.facts.get("stepwise"):
                widen(trace, [])
            return self.finish(Form(self, trace, [], None, (names, values), 0))
        structure = None
        if type(result) is not Val:
            structure = type(result) if hasattr(result, "_fields") else tuple
        vals = [result] if structure is None else list(result)
        S = LOCAL.s
        before, S.trace = S.trace, trace
        try:
            vals = own_results(vals)
        finally:
            S.trace = before
        if not self.facts.get("stepwise"):
            widen(trace, vals)
        return self.finish(Form(self, trace, vals, structure, (names, values)))

    def finish(self, form: Form) -> Form:
        """Static values stay with the form (formulas may name them); tensors do not."""
        names, values = form.args
        form.args = (names, tuple(v if n is None else None for n, v in zip(names, values)))
        return form

    def call(self, *args: Any) -> Any:
        """The body, with its keyword arguments given by position."""
        n = len(self.positional)
        return self.fn(*args[:n], **dict(zip(self.keyword, args[n:])))

    def inline(self, *args: Any) -> Any:
        """The body on traced operands; numbers that stand for operands become constants."""
        S = LOCAL.s
        S.depth += 1
        trace: Any = S.trace
        alone, trace.each = trace.each, False
        start = len(trace.nodes)
        given = [self.inline_value(p, v) for p, v in zip(self.params, args)]
        if alone:
            trace.given = {v.buf for v in given if type(v) is Val and v.level == 0}
        try:
            result = self.call(*given)
        finally:
            S.depth -= 1
            trace.each = alone
        if alone and not self.facts.get("stepwise"):
            widen(trace, [result] if type(result) is Val else list(result), start)
        return result

    def inline_value(self, p: str, v: Any) -> Any:
        """An argument as the body wants it while it is traced."""
        kind = self.kinds[p]
        if kind in ("N", "TN", "OTN") and (type(v) in NUMBERS or type(v) is complex):
            return as_val(v)
        return v if kind in OPERANDS or kind == "TS" else static_value(v)

    def operand_names(self, form: Form) -> list[str]:
        """The parameter each operand belongs to."""
        names = [""] * form.arity
        for p, at in zip(self.params, form.args[0]):
            for i in at or ():
                names[i] = p
        return names

    def result_names(self, form: Form) -> list[str]:
        """The name of each result, as gradients refer to them."""
        if form.into >= 0:
            return ["result"]
        return list(self.results) if len(form.outs) > 1 else [self.results[0]]

    # --- backward -------------------------------------------------------------------------------------------------

    def backward(self, node: OpNode, grads: tuple[Tensor | None, ...]) -> tuple[Tensor | None, ...]:
        """The gradients of a node's inputs, aligned with its edges."""
        global _run_backward
        if _run_backward is None:
            from .backward import run as _run_backward
        return _run_backward(self, node, grads)


def traced(trace: Trace, fn: Callable[..., Any], args: list[Any]) -> Any:
    """Run an op's body; prims it reaches go to `trace`."""
    S = LOCAL.s
    before, grad, S.trace, S.grad = S.trace, S.grad, trace, False
    S.depth += 1
    try:
        return fn(*args)
    finally:
        S.trace, S.grad = before, grad
        S.depth -= 1


def own_results(vals: list[Val]) -> list[Val]:
    """Results must be buffers of their own: an operand handed back, or one buffer twice, is copied."""
    seen: set[int] = set()
    out = []
    for v in vals:
        if v.dtype.is_complex:
            v = pairs.in_memory(v)
        src = v.buf.src
        if (
            isinstance(src, int)
            or id(v.buf) in seen
            or src.kind in ("const",)
            or 0 in [s for s, n in zip(v.strides, v.shape) if n > 1]
        ):
            from ..stream.graph import empty

            fresh = empty(tuple(v.shape), v.dtype)
            store(fresh, v)
            v = fresh
        seen.add(id(v.buf))
        out.append(v)
    return out


def write_back(trace: Trace, entry: Entry, dest: Val, result: Any) -> None:
    """The end of an in-place form: the result, cast, goes into the first operand."""
    S = LOCAL.s
    before, S.trace = S.trace, trace
    try:
        if type(result) is not Val:
            result = result[0]
        name = f"{entry.name.strip('_').removesuffix('_direct')}_"
        dest, result = once(dest, result)
        distinct(name, dest)
        if tuple(result.shape) != tuple(dest.shape):
            fail(
                RuntimeError,
                f"{name}: output with shape {list(dest.shape)} doesn't match the broadcast shape {list(result.shape)}",
            )
        check_cast(name, result.dtype, dest.dtype)
        if result is dest:
            return  # the body has written it
        if result.buf.src.__class__ is int and result.buf is dest.buf:
            result = contiguous(result)
        store(dest, cast(result, dest.dtype))
    finally:
        S.trace = before


def op(**facts: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Declare an op. Facts: grad ({inputs: formula} or NONE), results (names), constant (results without gradient),
    aliases, method, function, inplace,
    inplace="public": the name_ form alone is public,
    nn (also in nn.functional), faces ({"special": name}), node (title of the gradient node), no_out,
    stepwise (bfloat16 and float16: every step of the body is rounded, as in PyTorch),
    wirtinger (the gradient formulas are those of complex numbers, see ops/backward.py),
    check (a function of the arguments that is called each time: what can be seen of values at once),
    sized (the static argument that is a shape: other extents are the same structure)."""

    def declare(fn: Callable[..., Any]) -> Callable[..., Any]:
        entry = Entry(fn, facts)
        made = entry.wrapper = make_wrapper(entry)
        made.entry = entry  # type: ignore[attr-defined]
        ENTRIES[entry.name] = entry
        publish(entry.name, made, facts)
        if facts.get("inplace"):
            made_ = make_wrapper(entry, inplace=True)
            made_.entry = entry  # type: ignore[attr-defined]
            public = {"method": True, "function": True} if facts["inplace"] == "public" else {}
            publish(
                entry.name + "_",
                made_,
                facts | public | {"aliases": [a + "_" for a in facts.get("aliases", ())], "faces": {}},
            )
        return made

    return declare


def grad_plan(form: Form, needs: int) -> GradPlan:
    """Which gradients a form computes if the inputs of these bits need one."""
    plan = form.plans.get(needs)
    if plan is None:
        plan = form.plans[needs] = GradPlan(form, needs)
    return plan
