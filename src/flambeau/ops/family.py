"""Forms of one structure whose graphs are any: products, attention, what is joined, gradients.

The body of such an op (or the formulas of its gradient) is traced once for symbols (symbols.py) instead of extents, and
the instruction planned once for them. A form for other extents then takes some comparisons, and so does its program, as
long as each decision comes out as it did; there may be several of both, for the extents of each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..stream import derived as plans
from ..stream.value import NUMBERS, Meta, intern_meta
from ..symbols import Record
from .kin import NOWHERE, Kin, Stand, Symbolic, derived, signature
from .record import Form

WORTH = 4  # forms of a structure after which symbols are tried, and then twice as many
AGAIN = 64  # times an instruction is planned before symbols that did not serve are tried again
VARIANTS = 32  # of a graph and of a plan, each under conditions of its own
# Opaque nodes whose recipes compute with symbols.
KERNELS_ALONE = frozenset(
    ("contract", "convolve", "attend", "scatter", "scan", "sort", "select", "runs", "pool", "draw")
)


class Graph:
    """A form traced for symbols. of: the shape, strides and offset of each result, one after the other, and its bytes;
    None where the body would have done something else. all: likewise all numbers of the graph. plans: by the names in an
    instruction's line; met: how often such an instruction was planned for numbers."""

    __slots__ = ("all", "met", "of", "plans", "proof", "shapes")

    def __init__(self, form: Form, record: Record, extents: list[int]):
        self.all, self.proof = record.function(numbers_of(form)), plans.Proof(extents)
        self.shapes = [(v.dtype, len(v.shape)) for v in form.out_vals]
        numbers: list[Any] = []
        for v, (_, _, nbytes) in zip(form.out_vals, form.outs):
            numbers += (*v.shape, *v.strides, v.off, nbytes)
        self.of = record.function(numbers)
        self.plans: dict[Any, list[Any]] = {}
        self.met: dict[Any, int] = {}

    def forget(self) -> None:
        """The device has changed."""
        self.plans.clear()
        self.met.clear()

    def check(self, form: Form, extents: list[int]) -> bool:
        """Whether the numbers of a traced form are those that this graph would have."""
        numbers = self.all(*extents)
        return numbers is None or self.proof.note(extents, repr(numbers) == repr(numbers_of(form)))

    def outs(self, extents: Sequence[int]) -> Any:
        """The results of a form with these extents, as in `Form`; None: see `of`, or that is not proven yet."""
        numbers = self.of(*extents) if self.proof.serves(extents) else None
        if numbers is None:
            return None
        found, at = [], 0
        for dtype, n in self.shapes:
            shape, strides = tuple(numbers[at : at + n]), tuple(numbers[at + n : at + 2 * n])
            off, nbytes = numbers[at + 2 * n : at + 2 * n + 2]
            found.append((intern_meta(shape, strides, dtype), off, nbytes))
            at += 2 * n + 2
        return found


class Family:
    """Graphs of forms of one structure, each for the extents of its conditions."""

    __slots__ = ("graphs", "kin", "last", "later", "met", "missed")

    def __init__(self, kin: Kin):
        self.kin = kin
        self.graphs: list[Graph] = []
        self.met, self.later = 0, WORTH
        self.missed: Any = None  # what was asked for last and has to be planned
        self.last: Any = (None, None)  # the last form that was derived, by its key, and its graph

    def derived(self, key: Any, extents: list[int]) -> Form | None:
        """A form for these extents."""
        for graph in self.graphs:
            outs = graph.outs(extents)
            if outs is not None:
                self.last = key, graph
                return derived(self.kin, key, extents, outs)
        return None

    def graph(self, form: Form) -> Graph | None:
        """The graph of a derived form."""
        key, found = self.last
        if key is form.key and found in self.graphs:
            return found  # type: ignore[no-any-return]
        extents = memoryview(form.extents).cast("q")
        return next((graph for graph in self.graphs if graph.of(*extents) is not None), None)

    def program(self, form: Form, line: tuple[int, ...]) -> Any:
        """The program of an instruction of a derived form; None if it has to be planned for its numbers."""
        graph, extents = self.graph(form), memoryview(form.extents).cast("q")
        if graph is None or (form, line) == self.missed:
            return None
        known = graph.plans.get(line, [])
        for k, plan in enumerate(known):
            made = plan.program(form, extents)
            if made is not None:
                if k:
                    known.insert(0, known.pop(k))
                return made
        self.missed = form, line
        return None

    def note(self, key: Any, form: Form, extents: list[int]) -> None:
        """A form had to be traced."""
        self.met += 1
        self.graphs = [graph for graph in self.graphs if graph.check(form, extents)]
        if self.met < self.later or len(self.graphs) >= VARIANTS:
            return
        self.later = 2 * self.met
        made = attempted(lambda: graph_of(self.kin, form, key, extents))
        if made is not None:
            self.graphs.append(made)

    def bound(self, form: Form, line: tuple[int, ...]) -> None:
        """An instruction of an elementwise form was bound to its numbers: it was too large for the recipe."""
        if self.graph(form) is None:
            self.note(form.key, form, memoryview(form.extents).cast("q").tolist())
        else:
            self.planned(form, line, stand_ins(form, line))

    def planned(self, form: Form, line: tuple[int, ...], slots: Sequence[Any]) -> None:
        """An instruction of a derived form had to be planned."""
        graph = self.graph(form)
        if graph is None:
            return
        extents = memoryview(form.extents).cast("q")
        graph.plans[line] = known = [
            p for p in graph.plans.get(line, ()) if p.check(form, line, slots, extents)
        ]
        if any(p.of(*extents) is not None for p in known):
            return  # proven now
        met = graph.met[line] = graph.met.get(line, 0) + 1
        if met < WORTH // 2 * (1 + len(known)):
            return
        made = attempted(lambda: plan_of(self.kin, form, line, slots, extents.tolist()))
        if made is None:
            graph.met[line] = -AGAIN
            return
        known.insert(0, made)
        if len(known) > VARIANTS:  # the one that has not served for longest goes
            known.pop()
            graph.met[line] -= WORTH


def note(kin: Kin, extents: list[int], key: Any, form: Form) -> None:
    """A form of a structure was traced whose graph is not elementwise, or depends on extents."""
    if kin.family is None:
        if not suitable(form):
            return
        kin.family, kin.pattern, kin.first = Family(kin), NOWHERE, form
    kin.family.note(key, form, extents)


def suitable(form: Form) -> bool:
    """Whether symbols may serve: no lists, no writes but of the operand of a form in place, kernels alone."""
    nodes = form.trace.nodes
    alone = not any(n.kind == "opaque" and n.op not in KERNELS_ALONE for n in nodes)
    plain = not any(b.dtype.is_complex for b in form.trace.operands)
    own = bool(form.outs) if form.into < 0 else form.writes == (form.into,)
    return alone and plain and bool(nodes) and own and not form.trace.rows


def graph_of(kin: Kin, form: Form, key: Any, extents: list[int]) -> Graph | None:
    """The graph of a form for symbols, if it gives this form's results."""
    record = Record(extents)
    made = kin.symbolic(key, record)
    graph = None if made is None else Graph(made, record, extents)
    record.open = False
    return graph if graph is not None and graph.check(form, extents) else None


def plan_of(
    kin: Kin, form: Form, line: tuple[int, ...], slots: Sequence[Any], extents: list[int]
) -> plans.Plan | None:
    """The plan of an instruction of a form, for symbols."""
    record = Record(extents)
    again = kin.symbolic(form.key, record)
    made = None if again is None else plans.planned(again, line, slots, record, extents)
    record.open = False
    return made


Kin.families = Family


def stand_ins(form: Form, line: tuple[int, ...]) -> list[Any]:
    """What tells numbers among the slots of an instruction."""
    slots: list[Any] = [None] * form.slots * 2
    at = 0
    for i in range(form.arity):
        if i in form.trace.numbers:
            slots[line[at]] = 0
        at += 2 if line[at] < 0 else 1
    return slots


def attempted(make: Callable[[], Any]) -> Any:
    """What is made with symbols; None where a body or a recipe does what only plain numbers can."""
    try:
        return make()
    except Exception:
        return None


def numbers_of(form: Form) -> list[Any]:
    """All numbers of a form's graph, and what else its nodes are."""
    found: list[Any] = []
    for node in form.trace.nodes:
        found += (node.kind, node.op, *flat(node.attrs))
        for v in node.ins:
            found += (*v.shape, *v.strides, v.off)
        for b in node.outs:
            found += (*b.shape, *b.strides)
    for v in form.out_vals:
        found += (*v.shape, *v.strides, v.off)
    return found


def flat(attrs: Any) -> list[Any]:
    """The numbers and names in what is nested."""
    if isinstance(attrs, tuple):
        return [x for part in attrs for x in flat(part)]
    return [attrs] if type(attrs) in NUMBERS else [str(attrs)]


# --- gradients ----------------------------------------------------------------------------------------------------


class Like:
    """The metadata of a value of a graph."""

    __slots__ = ("dtype", "ndim", "shape", "strides")

    def __init__(self, x: Any):
        self.shape, self.strides, self.dtype, self.ndim = tuple(x.shape), x.strides, x.dtype, len(x.shape)


Tracer = Callable[[Form, Sequence[Any], list[Any]], tuple[Form, list[int | None]]]


class Back(Kin):
    """What the forms of one gradient share. Their key: that of the op's form, which inputs need a gradient, and the
    metadata of what is given. plan: what is saved; tracer: makes such a form of the op's form and of stand-ins of what is
    given and saved; where: the places of the results (see backward.py)."""

    __slots__ = ("given", "plan", "tracer", "where")

    def __init__(self, first: Form, extents: list[int], plan: Any, tracer: Tracer, where: Any, given: int):
        self.first, self.extents, self.outs, self.pattern = first, extents, None, NOWHERE
        self.refused, self.varied, self.template, self.like, self.large = True, set(), None, -1, None
        self.plan, self.tracer, self.where, self.given = plan, tracer, where, given
        self.family = Family(self)

    def values(self, form: Form) -> tuple[Any, ...]:
        """Stand-ins of all that has metadata."""
        return tuple([Stand(part) for part in form.key if type(part) is Meta])

    def traced(self, form: Form) -> Form:
        """A derived form with its graph."""
        of = self.first.entry.trace(super().values(form), False)
        grads = [None if part is None else Stand(part) for part in form.key[-self.given :]]
        return self.tracer(of, grads, self.saved(of))[0]

    def symbolic(self, key: Any, record: Record) -> Form | None:
        """The form of a key, traced for symbols; None if its results have other places."""
        of = super().symbolic(key, record)
        if of is None:
            return None
        numbers = {int(s): k for k, s in enumerate(record.symbols)}
        grads = [
            None if part is None else Stand(Symbolic(part, numbers, record.symbols))
            for part in key[-self.given :]
        ]
        made, where = self.tracer(of, grads, self.saved(of))
        return made if where == self.where else None

    def saved(self, of: Form) -> list[Any]:
        """Stand-ins of what the op's form saves."""
        found: list[Any] = []
        for i in self.plan.saved_args:
            operand = of.trace.operands[i]
            number = {"f64": 1.0, "i64": 1}.get(operand.dtype.short, True)
            found.append(number if i in of.trace.numbers else Stand(Like(operand)))
        return found + [Stand(Like(of.out_vals[i])) for i in self.plan.results]


def gradient(form: Form, plan: Any, key: Any, traced: Callable[[], Any], tracer: Tracer) -> Any:
    """(form, places) of a gradient, derived from its kin if they are known. key: which inputs need one, and the
    metadata of what is given; traced: makes the same by itself."""
    whole: Any = (*getattr(form, "key", ()), *key)
    found = signature(form.entry, whole) if len(whole) > len(key) else None
    if found is None:
        return traced()
    name, extents = found
    table, name = form.entry.kin, ("gradient" if form.into < 0 else "gradient in place", *name)
    kin = table.get(name)
    if type(kin) is tuple:
        return kin
    made = None if kin is None else kin.family.derived(whole, extents)
    if made is not None:
        return made, kin.where
    back, where = traced()
    if kin is not None:
        kin.family.note(whole, back, extents)
    elif not back.outs:  # nothing is computed
        table[name] = back, where
    elif suitable(back):
        table[name] = Back(back, extents, plan, tracer, where, len(key) - 1)
    return back, where
