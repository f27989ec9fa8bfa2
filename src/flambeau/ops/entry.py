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

from ..dtypes import promote_types
from ..errors import fail
from ..stream import gradient
from ..stream.graph import Trace, Val, as_val, cast, contiguous, store
from ..stream.value import LOCAL, NUMBERS, PLAIN, Tensor, make_tensor, version_of
from . import record
from .record import Form, GradPlan, OpNode

T = Any  # a tensor
OT = Any  # a tensor or None
TN = Any  # a tensor or a number
N = Any  # a number
OTN = Any  # a tensor, a number or None
ON = Any  # a number or None
TS = Any  # a list of tensors

OPERANDS = ("T", "TN", "OT", "N", "OTN", "ON")
ENTRIES: dict[str, Entry] = {}


class _Functions(dict[str, Callable[..., Any]]):
    """Public functions by name (ops, views, composites); a private op is found too, but not listed."""

    def __missing__(self, name: str) -> Callable[..., Any]:
        return gradient.BOOK[name]


FUNCTIONS = _Functions()
METHODS: dict[str, Callable[..., Any]] = {}
FACES: dict[str, dict[str, Callable[..., Any]]] = {}  # "nn.functional", "special", "linalg", "fft" -> name -> function
NONE = "not differentiable"
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
        self.defaults: dict[str, Any] = dict(zip(self.positional[len(self.positional) - len(defaults) :], defaults))
        self.defaults |= fn.__kwdefaults__ or {}
        self.results: tuple[str, ...] = facts.get("results", ("result",))
        self.grads: list[tuple[tuple[str, ...], Callable[..., Any], tuple[str, ...]]] | None = None
        self._read_grads(facts.get("grad"))
        self.cache: dict[Any, Form] = {}
        self.cache_inplace: dict[Any, Form] = {}
        self._node_type: type[OpNode] | None = None
        self.wrapper: Callable[..., Any] | None = None

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
        if self._node_type is None:
            title = self.facts.get("node") or "".join(w[:1].upper() + w[1:] for w in self.name.split("_")) + "Backward0"
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
            elif type(v) is float or type(v) is bool:
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
        operands, parts = self.split(values)
        key = (*parts, LOCAL.default) if hasattr(LOCAL, "default") else tuple(parts)
        cache = self.cache_inplace if into else self.cache
        form = cache.get(key)
        if form is None:
            if len(cache) > 4096:
                cache.clear()
            form = cache[key] = self.trace(values, into)
        return form

    def trace(self, values: tuple[Any, ...], into: bool) -> Form:
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
        result = traced(trace, self.inline, args)
        if into:
            write_back(trace, self, args[0], result)
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
        return self.finish(Form(self, trace, vals, structure, (names, values)))

    def finish(self, form: Form) -> Form:
        """Static values stay with the form (formulas may name them); tensors do not."""
        names, values = form.args
        form.args = (names, tuple(v if n is None else None for n, v in zip(names, values)))
        return form

    def call(self, *args: Any) -> Any:
        n = len(self.positional)
        return self.fn(*args[:n], **dict(zip(self.keyword, args[n:])))

    def inline(self, *args: Any) -> Any:
        """The body on traced operands; numbers that stand for operands become constants."""
        S = LOCAL.s
        S.depth += 1
        try:
            return self.call(*[self.inline_value(p, v) for p, v in zip(self.params, args)])
        finally:
            S.depth -= 1

    def inline_value(self, p: str, v: Any) -> Any:
        kind = self.kinds[p]
        if kind in ("N", "TN", "OTN", "ON") and type(v) in NUMBERS:
            return as_val(v)
        return v if kind in OPERANDS or kind == "TS" else _static(v)

    def operand_names(self, form: Form) -> list[str]:
        """The parameter each operand belongs to."""
        names = [""] * form.arity
        for p, at in zip(self.params, form.args[0]):
            for i in at or ():
                names[i] = p
        return names

    def result_names(self, form: Form) -> list[str]:
        if form.into >= 0:
            return ["result"]
        return list(self.results) if len(form.outs) > 1 else [self.results[0]]

    # --- backward -------------------------------------------------------------------------------------------------

    def backward(self, node: OpNode, grads: tuple[Tensor | None, ...]) -> tuple[Tensor | None, ...]:
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
        src = v.buf.src
        if isinstance(src, int) or id(v.buf) in seen or src.kind in ("const",) or 0 in [s for s, n in zip(v.strides, v.shape) if n > 1]:
            from ..stream.graph import empty

            fresh = empty(tuple(v.shape), v.dtype)
            store(fresh, v)
            v = fresh
        seen.add(id(v.buf))
        out.append(v)
    return out


def write_back(trace: Trace, entry: Entry, dest: Val, result: Val) -> None:
    """The end of an in-place form: the result, cast, goes into the first operand."""
    S = LOCAL.s
    before, S.trace = S.trace, trace
    try:
        if type(result) is not Val:
            result = result[0]
        if tuple(result.shape) != tuple(dest.shape):
            fail(
                RuntimeError,
                f"{entry.name}_: output with shape {list(dest.shape)} doesn't match the broadcast shape {list(result.shape)}",
            )
        if not can_cast(result.dtype, dest.dtype):
            fail(
                RuntimeError,
                f"{entry.name}_: result type {_scalar_name(result.dtype)} can't be cast to the desired output type "
                f"{_scalar_name(dest.dtype)}",
            )
        if result is dest:
            return  # the body has written it
        if result.buf.src.__class__ is int and result.buf is dest.buf:
            result = contiguous(result)
        store(dest, cast(result, dest.dtype))
    finally:
        S.trace = before


SCALAR_NAMES = {"float32": "Float", "float64": "Double", "float16": "Half", "bfloat16": "BFloat16", "int64": "Long", "int32": "Int"}
SCALAR_NAMES |= {"int16": "Short", "int8": "Char", "uint8": "Byte", "bool": "Bool", "complex64": "ComplexFloat"}
SCALAR_NAMES |= {"complex128": "ComplexDouble"}


def _scalar_name(d: Any) -> str:
    return SCALAR_NAMES.get(d.name, d.name)


def can_cast(a: Any, b: Any) -> bool:
    """Whether a result of dtype a may be written into a tensor of dtype b."""
    return a._rank <= b._rank or (a._rank == 1 and b._rank == 1) or promote_types(a, b) is b


# --- the functions that users call --------------------------------------------------------------------------------


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
    t = operands[0]
    if S.grad:
        gradient.check_inplace(t, name)
        needs = 0
        for i, a in enumerate(operands):
            if type(a) not in NUMBERS and a._rg:
                needs |= 1 << i
        if t._vw is not None and t._vw[0]._rg:
            needs |= 1
        if needs and t._meta.dtype.is_floating_point:
            record.record_grad(S, form, operands, needs) if form.entry.grads is not None else _untracked(S, form, operands)
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


def make_wrapper(entry: Entry, inplace: bool = False, slow: Callable[..., Any] | None = None) -> Callable[..., Any]:
    """The function for one entry, generated: one test, one look-up, one append. slow: what takes every other call."""
    params, tests, keys, operands, needs = [], ["S.depth"], [], [], []
    star = sure = False
    sure = True  # operand numbers are known here
    for p in entry.params:
        if p in entry.keyword and not star:
            params.append("*")
            star = True
        params.append(f"{p}=_d_{p}" if p in entry.defaults else p)
        kind = entry.kinds[p]
        bit = 1 << len(operands)
        if kind == "T":
            tests.append(f"type({p}) not in PLAIN")
            keys.append(f"{p}._meta")
            operands.append(p + ",")
            needs.append(f"({bit} if {p}._rg else 0)")
        elif kind == "OT":
            tests.append(f"({p} is not None and type({p}) not in PLAIN)")
            keys.append(f"(None if {p} is None else {p}._meta)")
            operands.append(f"*(() if {p} is None else ({p},)),")
            needs.append(f"({bit} if {p} is not None and {p}._rg else 0)")
            sure = p == entry.params[-1] or all(entry.kinds[q] not in OPERANDS for q in entry.params[entry.params.index(p) + 1 :])
        elif kind == "TN":
            tests.append(f"(type({p}) not in PLAIN and type({p}) not in NUMBERS)")
            keys.append(f"({p}._meta if type({p}) in PLAIN else type({p}))")
            operands.append(p + ",")
            needs.append(f"({bit} if type({p}) in PLAIN and {p}._rg else 0)")
        elif kind == "N" and p in entry.defaults:
            tests.append(f"{p} is not _d_{p}")
            keys.append("None")
        elif kind == "N":
            tests.append(f"type({p}) not in NUMBERS")
            keys.append(f"type({p})")
            operands.append(p + ",")
        elif kind == "TS":
            tests.append(f"(type({p}) is not tuple and type({p}) is not list) or not PLAIN.issuperset(map(type, {p}))")
            keys.append(f"tuple([t._meta for t in {p}])")
            operands.append(f"*{p},")
            needs.append("")
            sure = False
        elif kind in ("OTN", "ON"):
            return make_general(entry, inplace)
        else:
            keys.append(f"(type({p}), {p})" if kind in ("float", "number") else p)
    if not inplace and not entry.facts.get("no_out"):
        params.append("out=None" if star else "*, out=None")
        tests.append("out is not None")
    name = entry.name + ("_" if inplace else "")
    values = ", ".join(entry.params) + ","
    out = "None" if inplace or entry.facts.get("no_out") else "out"
    taken = "(" + " ".join(operands) + ")"
    if inplace:
        end = f"    return finish_inplace(S, form, {taken}, {name!r})"
    elif not needs or not sure or entry.grads is None:
        end = f"    return finish_call(S, form, {taken})" if entry.grads is not None else PLAIN_END.format(taken=taken)
    else:
        end = GRAD_END.format(taken=taken, needs=" | ".join(needs))
    source = f"""
def {name}({", ".join(params)}):
    S = LOCAL.s
    if {" or ".join(tests)}:
        return slow(E, ({values}), {out}, {inplace})
    try:
        form = cache[{", ".join(keys)},]
    except (KeyError, TypeError):
        return slow(E, ({values}), None, {inplace})
{end}
"""
    scope: dict[str, Any] = {
        "E": entry,
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
        **{f"_d_{p}": v for p, v in entry.defaults.items()},
    }
    exec(compile(source, f"<flambeau op {name}>", "exec"), scope)
    made = scope[name]
    made.__doc__, made.__module__, made.__qualname__ = entry.doc, "torch", name
    return made


PLAIN_END = """    if form.structure is None:
        return commit(S, form, {taken})
    return structured(form, commit(S, form, {taken}))"""
GRAD_END = """    if S.grad:
        needs = {needs}
        if needs:
            result = record_grad(S, form, {taken}, needs)
            return result if form.structure is None else structured(form, result)
    result = commit(S, form, {taken})
    return result if form.structure is None else structured(form, result)"""


def structured(form: Form, result: Any) -> Any:
    """Several results in the op's own structure."""
    return tuple(result) if form.structure is tuple else form.structure(*result)


def make_general(entry: Entry, inplace: bool) -> Callable[..., Any]:
    """As `make_wrapper` for entries with optional tensors or lists."""
    params = []
    star = False
    for p in entry.params:
        if p in entry.keyword and not star:
            params.append("*")
            star = True
        params.append(f"{p}=_d_{p}" if p in entry.defaults else p)
    if not inplace and not entry.facts.get("no_out"):
        params.append("out=None" if star else "*, out=None")
    out = "None" if inplace or entry.facts.get("no_out") else "out"
    name = entry.name + ("_" if inplace else "")
    source = f"def {name}({', '.join(params)}):\n    return slow(E, ({', '.join(entry.params)},), {out}, {inplace})\n"
    scope: dict[str, Any] = {"E": entry, "slow": slow_call, **{f"_d_{p}": v for p, v in entry.defaults.items()}}
    exec(compile(source, f"<flambeau op {name}>", "exec"), scope)
    made = scope[name]
    made.__doc__, made.__module__, made.__qualname__ = entry.doc, "torch", name
    return made


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
    values = tuple([_normal(entry, p, v) for p, v in zip(entry.params, values)])
    if out is not None:
        return call_out(S, entry, values, out)
    form = entry.form(values, inplace)
    operands = tuple(entry.split(values)[0])
    if inplace:
        return finish_inplace(S, form, operands, entry.name + "_")
    return finish_call(S, form, operands)


def slow_operator(entry: Entry, values: tuple[Any, ...], out: Any, inplace: bool) -> Any:
    """As `slow_call` for an operator: NotImplemented for an operand of a foreign type, so that it is asked in turn."""
    other = values[1] if len(values) > 1 else None
    if type(other) not in PLAIN and type(other) not in NUMBERS and type(other) is not Val and len(values) > 1:
        import numpy as np

        if isinstance(other, np.ndarray) and other.ndim:
            return NotImplemented
        if not isinstance(other, (Tensor, int, float, np.generic, np.ndarray)):
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


def _static(v: Any) -> Any:
    return tuple(_static(x) for x in v) if isinstance(v, (list, tuple)) and type(v) is not Val else v


def _normal(entry: Entry, p: str, v: Any) -> Any:
    """An argument in the form that keys want; TypeError as PyTorch's for one of the wrong kind."""
    kind = entry.kinds[p]
    if kind in ("T", "TN", "OT", "OTN", "N", "ON"):
        if isinstance(v, Tensor) or (v is None and kind[0] == "O"):
            return v if kind not in ("N", "ON") or v is None else v.item()
        if type(v) in NUMBERS and kind not in ("T", "OT"):
            return v
        if kind not in ("T", "OT"):
            import numpy as np

            if isinstance(v, (np.number, np.bool_)):
                return v.item()
            if isinstance(v, (int, float)):
                return float(v) if isinstance(v, float) else int(v)
            if isinstance(v, complex):
                fail(NotImplementedError, f"{entry.name}: complex numbers are not supported yet; got {v}")
        at = entry.params.index(p) + 1
        wanted = "Tensor" if kind in ("T", "OT") else "Number" if kind[-1:] == "N" and kind != "TN" else "Tensor or Number"
        label = "input" if p == "self" else p
        raise TypeError(f"{entry.name}(): argument '{label}' (position {at}) must be {wanted}, not {type(v).__name__}")
    if kind == "TS":
        if not isinstance(v, (list, tuple)):
            at = entry.params.index(p) + 1
            raise TypeError(f"{entry.name}(): argument '{p}' (position {at}) must be tuple of Tensors, not {type(v).__name__}")
        for i, t in enumerate(v):
            if not isinstance(t, Tensor):
                raise TypeError(f"expected Tensor as element {i} in argument 0, but got {type(t).__name__}")
        return tuple(v)
    if isinstance(v, (list, tuple)):
        return tuple([_number(x) for x in v])
    return _number(v)


def _number(x: Any) -> Any:
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
    if S.grad and (any(o._rg for o in outs) or any(isinstance(v, Tensor) and v._rg for v in _flat(values))):
        raise RuntimeError(
            f"{entry.name}(): functions with out=... arguments don't support automatic differentiation, but one of the arguments "
            "requires grad."
        )
    form = entry.form(values)
    result = finish_call(S, form, tuple(entry.split(values)[0]))
    results = result if isinstance(result, tuple) else (result,)
    for o, r in zip(outs, results):
        if not can_cast(r._meta.dtype, o._meta.dtype):
            fail(
                RuntimeError,
                f"{entry.name}: result type {_scalar_name(r._meta.dtype)} can't be cast to the desired output type "
                f"{_scalar_name(o._meta.dtype)}",
            )
        if tuple(o._meta.shape) != tuple(r._meta.shape):
            FUNCTIONS["resize_"](o, tuple(r._meta.shape))
        FUNCTIONS["copy_"](o, r)
    return out


def op(**facts: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Declare an op. Facts: grad ({inputs: formula} or NONE), results (names), aliases, method, function, inplace,
    inplace="public": the name_ form alone is public,
    nn (also in nn.functional), faces ({"special": name}), node (title of the gradient node), no_out."""

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
            publish(entry.name + "_", made_, facts | public | {"aliases": [a + "_" for a in facts.get("aliases", ())], "faces": {}})
        return made

    return declare


def publish(name: str, made: Callable[..., Any], facts: dict[str, Any]) -> None:
    gradient.BOOK[name] = made
    for alias in (name, *facts.get("aliases", ())):
        if facts.get("function", True):
            FUNCTIONS[alias] = made
        if facts.get("method", True):
            METHODS[alias] = made
        if facts.get("nn"):
            FACES.setdefault("nn.functional", {})[alias] = made
    for face, names in facts.get("faces", {}).items():
        for alias in (names,) if isinstance(names, str) else names:
            FACES.setdefault(face, {})[alias] = made


def composite(**facts: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Declare a public function that only calls other ops (no node of its own, as in PyTorch)."""

    def declare(fn: Callable[..., Any]) -> Callable[..., Any]:
        publish(facts.get("name") or fn.__name__, fn, facts)
        return fn

    return declare


# --- views --------------------------------------------------------------------------------------------------------


class ViewNode(OpNode):
    """The node of a view: its gradient is the entry's formula; nothing is saved but the geometry."""

    __slots__ = ()


def view(grad: Callable[..., Any], **facts: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Declare a view: the body maps (shape, strides, offset, *arguments) to (shape, strides, offset added).

    grad(grad, meta, *arguments) gives the gradient of the base from that of the view; meta is the base's.
    """

    def declare(rule: Callable[..., Any]) -> Callable[..., Any]:
        made = make_view(rule, grad, facts)
        publish(facts.get("name") or rule.__name__, made, facts)
        return made

    return declare


class ViewBackward(record.Node):
    __slots__ = ("args", "meta")
    rule: Any = None

    def apply(self, grads: tuple[Tensor | None, ...]) -> tuple[Tensor | None, ...]:
        if grads[0] is None:
            return (None,)
        return (type(self).rule(grads[0], self.meta, *self.args),)

    def release(self) -> None:
        pass


def make_view(rule: Callable[..., Any], grad: Callable[..., Any], facts: dict[str, Any]) -> Callable[..., Any]:
    from ..stream.value import intern_meta

    name = facts.get("name") or rule.__name__
    title = facts.get("node") or "".join(w[:1].upper() + w[1:] for w in name.split("_")) + "Backward0"
    node_type = type(title, (ViewBackward,), {"__slots__": (), "rule": staticmethod(grad), "__module__": "torch.autograd"})
    cache: dict[Any, Any] = {}
    mode_name = "multi" if facts.get("multi") else ""

    def made(self: Any, *args: Any) -> Any:
        S = LOCAL.s
        if S.depth or type(self) not in PLAIN:
            if type(self) is Val:
                shape, strides, off = rule(tuple(self.shape), self.strides, *args)
                return self.view_as(shape, strides, self.off + off)
            if S.depth or not isinstance(self, Tensor) or hasattr(type(self), "__torch_function__"):
                from . import modes

                handled = modes.dispatch_view(S, name, made, self, args)
                if handled is not modes.NOT_HANDLED:
                    return handled
        meta = self._meta
        try:
            out, off = cache[meta, args]
        except (KeyError, TypeError):
            args = tuple([tuple([_number(x) for x in a]) if isinstance(a, (list, tuple)) else _number(a) for a in args])
            shape, strides, off = rule(tuple(meta.shape), meta.strides, *args)
            out = intern_meta(tuple(shape), tuple(strides), meta.dtype, meta.device)
            if len(cache) > 8192:
                cache.clear()
            cache[meta, args] = out, off
        t = make_tensor(self._st, out, self._off + off)
        attach_view(S, self, t, mode_name)
        if self._rg and S.grad:
            node = node_type()
            node.edges, node.args, node.meta, node.out = (record.edge_of(self),), args, meta, out
            t._gf, t._rg = node, True
        return t

    made.__name__ = made.__qualname__ = name
    made.__doc__, made.__module__ = rule.__doc__, "torch"
    return made


def attach_view(S: Any, source: Tensor, t: Tensor, mode: str) -> None:
    """t is a view of source: they share the version counter, and t knows its base."""
    version = source._ver or version_of(source)
    t._ver = version
    vw = source._vw
    if not S.grad and not mode and source._rg:
        mode = "no_grad"
    if vw is None:
        t._vw = (source, mode, version.n)
    else:
        t._vw = (vw[0], mode or vw[1], version.n)


def grad_plan(form: Form, needs: int) -> GradPlan:
    plan = form.plans.get(needs)
    if plan is None:
        plan = form.plans[needs] = GradPlan(form, needs)
    return plan
