"""Recording: a `Form` is one op with its metadata fixed; a call appends it to the thread's stream, with slot numbers.

Nothing here touches bytes. `record` is the way without gradients, `record_grad` the way with a node.
"""

from __future__ import annotations

from typing import Any

from .. import config
from ..device import threads
from ..errors import fail, site
from ..shapes import numel
from ..stream import gradient
from ..stream.access import settle
from ..stream.graph import LOOKING, Buffer, GNode, Trace, Val
from ..stream.kept import fingerprint
from ..stream.value import (
    ABSENT,
    ENTERING,
    LOCAL,
    NUMBERS,
    RELEASED,
    Meta,
    Node,
    Storage,
    Stream,
    Tensor,
    Version,
    make_tensor,
    new_object,
    version_of,
)
from . import absent
from .rules import SCALAR_NAMES


class Form:
    """One op with metadata and static arguments fixed: its graph, and what a call has to make.

    outs: (Meta, offset, bytes of the storage) of each new tensor; out_vals: the graph values they are.
    into: the operand that is written in place, or -1. structure: None (one tensor), or builds the result from a tuple.
    tensors: which operands are tensors that can have a gradient, as bit numbers. unit: the plan of this form alone.
    kin: None, or what a form that was derived without a trace shares with others (ops/kin.py).
    """

    __slots__ = (
        *(
            "arity",
            "args",
            "backward",
            "diff",
            "entry",
            "fresh",
            "into",
            "key",
            "moved_unit",
            "name",
            "out_vals",
            "outs",
            "plans",
            "slots",
            "structure",
        ),
        *("checks", "effects", "kin", "extents", "plain_unit", "print", "trace", "unit", "weight", "writes"),
    )

    extents: bytes  # words, of a form derived from another: see kin.py
    key: Any

    def __init__(
        self,
        entry: Any,
        trace: Trace,
        out_vals: list[Val],
        structure: Any,
        args: tuple[Any, ...],
        into: int = -1,
    ):
        self.entry, self.trace, self.out_vals, self.structure, self.into = (
            entry,
            trace,
            out_vals,
            structure,
            into,
        )
        self.name = entry.name
        self.args = args  # the op's arguments with operand numbers for tensors and numbers
        self.outs = [(v.meta, v.off, _bytes(v.buf)) for v in out_vals] if into < 0 else []
        self.arity = len(trace.operands)
        self.slots = self.arity + len(self.outs)
        names = entry.result_names(self) if entry.constant else [""] * len(self.outs)
        self.diff = [out[0].dtype.is_inexact and n not in entry.constant for out, n in zip(self.outs, names)]
        self.plans: dict[int, Any] = {}
        # (needs, metadata of the gradients) -> form of the gradient, where its results go; made when one is wanted
        self.backward: dict[Any, Any] | None = None
        self.unit: Any = None
        self.plain_unit: Any = None  # the program of one such instruction without offsets
        self.moved_unit: Any = None  # that of one whose tensors have all an offset
        self.fresh = True  # it has stood in no sequence yet
        self.kin: Any = None
        written = {i for n in trace.nodes for i in written_operands(n)}
        written |= {row[i] for part, row in trace.rows for n in part.nodes for i in written_operands(n)}
        self.writes = tuple(sorted(written))
        self.checks = any(n.kind == "take" or n.op in LOOKING for n in trace.nodes)
        self.effects = bool(self.writes) or self.checks

    def __getattr__(self, name: str) -> Any:
        """What few need: the graph of a derived form, which is traced now; the bytes that a form moves (weight); what
        it is to the planner of any process (print)."""
        if name == "weight":
            self.weight = _moved(self)
            return self.weight
        if name == "print":
            self.print = fingerprint(self)
            return self.print
        if name not in ("trace", "out_vals"):
            raise AttributeError(name)
        traced = self.kin.traced(self)
        self.trace, self.out_vals = traced.trace, traced.out_vals
        return getattr(self, name)

    def __repr__(self) -> str:
        return f"<{self.name} {', '.join(str(out[0]) for out in self.outs)}>"


def written_operands(node: GNode) -> list[int]:
    """The operands that a node writes: a store's destination, what an opaque node's attributes name."""
    if node.kind == "store":
        at: tuple[int, ...] = (0,)
    elif (
        node.kind == "opaque"
        and node.attrs
        and isinstance(node.attrs[0], tuple)
        and node.attrs[0][:1] == ("writes",)
    ):
        at = node.attrs[0][1]
    else:
        return []
    return [node.ins[i].buf.src for i in at if isinstance(node.ins[i].buf.src, int)]


def _moved(form: Form) -> int:
    """The bytes of results and operands, about; of what is read at an index, those of the results."""
    total = sum([nbytes for _, _, nbytes in form.outs])
    if form.checks:
        return total
    if form.kin is None:
        return total + sum([numel(b.shape) * b.dtype.itemsize for b in form.trace.operands])
    return total + sum([v._meta.nbytes for v in form.kin.values(form) if hasattr(v, "_meta")])


def _bytes(buf: Buffer) -> int:
    n = 1 + sum((e - 1) * s for e, s in zip(buf.shape, buf.strides)) if 0 not in buf.shape else 0
    return n * buf.dtype.itemsize


def commit(S: Stream, form: Form, operands: tuple[Any, ...]) -> Any:
    """Append one instruction; the new tensors (a tuple if the op has several), or () for an in-place form."""
    if S.place is not None:
        return absent.results(S, form, operands)
    code = S.code  # before the name table: see `late`
    slots = S.slots
    line: list[Any] = [form]
    for a in operands:
        if type(a) in NUMBERS:
            line.append(len(slots))
            slots.append(a)
            continue
        st = a._st
        if st.info is None:
            sid = st.sid  # before its home: see `enter`
            if st.home is not slots:
                sid = enter(S, st)
        elif st.info is ABSENT:
            return absent.results(S, form, operands)
        else:
            sid = guarded(S, form, len(line) - 1, st)
        if a._off:
            line += (~sid, len(slots))
            slots.append(a._off)
        else:
            line.append(sid)
    if form.effects:
        note_effects(S, form, operands)
    outs = form.outs
    if len(outs) == 1:
        meta, off, nbytes = outs[0]
        st = new_object(Storage)
        sid = len(slots)
        st.ptr = 0
        st.nbytes = nbytes
        st.pend = S
        st.home = slots
        st.info = None
        st.block = None
        st.sid = sid
        line.append(sid)
        slots.append(st)
        result: Any = make_tensor(st, meta, off)
        result._ver = S.fresh
        S.pending_bytes += nbytes
    elif not outs:
        result = ()
    else:
        result = [promised(S, slots, out, line) for out in outs]
    code += line
    if S.code is not code:
        return late(S, form, operands, code, result)
    if len(code) > S.bound or S.pending_bytes > S.byte_bound or S.eager or S.flush_after:
        S.flush_at_bound()
    return result


def promised(S: Stream, slots: list[Any], out: tuple[Meta, int, int], line: list[Any]) -> Tensor:
    """A new tensor of several that an instruction makes."""
    meta, off, nbytes = out
    st = Storage(nbytes)
    st.pend, st.home, st.sid = S, slots, len(slots)
    line.append(st.sid)
    slots.append(st)
    S.pending_bytes += nbytes
    t = make_tensor(st, meta, off)
    t._ver = S.fresh
    return t


def late(S: Stream, form: Form, operands: tuple[Any, ...], code: list[Any], result: Any) -> Any:
    """The code was taken while an instruction was recorded, by a flush of its own or of another thread. What a flush has
    taken it has removed from the list: if the instruction is still there, it was too late, and is recorded again."""
    with S.lock:  # that flush is over
        missed = bool(code)
    return commit(S, form, operands) if missed else result


def note_effects(S: Stream, form: Form, operands: tuple[Any, ...]) -> None:
    """Note what an instruction does besides computing: checks (with the line of the call) and writes."""
    if form.checks:
        S.sites.append(site())
    for i in form.writes:
        st = operands[i]._st
        if st.info is not None and st.info.readonly:
            refuse_write(form.name if form.into < 0 else form.name + "_", operands[i])
        S.written.add(st.sid)


def refuse_write(name: str, t: Tensor) -> None:
    """The error of writing to a read-only tensor."""
    fail(
        RuntimeError,
        f"{name}: the tensor is read-only and cannot be written in place",
        "clone() it first",
        x=t,
    )


SNAPSHOT_BYTES = (
    4 << 20
)  # foreign memory up to this size is copied when an op reads it; more of it is read at once


def guarded(S: Stream, form: Form, operand: int, st: Storage) -> int:
    """The slot of a storage that is not ours alone. What others may write is copied now, so that no write is seen early."""
    info = st.info
    if info.poison is not None:
        raise info.poison.with_traceback(None)
    if not (info.owner is not None or info.exported) or operand in form.writes:
        if info.plain():
            st.info = None  # a view that NumPy had is gone
        return enter(S, st)
    if st.home is S.slots and st.sid in S.written:
        S.flush()  # the instruction under way is recorded again
    if st.nbytes > SNAPSHOT_BYTES:
        S.flush_after = True
        return enter(S, st)
    copy = S.snapshots[id(st)] = snapshot(st)
    copy.home, copy.sid = S.slots, len(S.slots)
    S.slots.append(copy)
    return copy.sid


def snapshot(st: Storage) -> Storage:
    """A copy, made now, of memory that others may write."""
    from ..stream.backend import current

    device = current()
    if st.pend is not None:
        st.pend.flush_for_other()
    block = device.alloc(st.nbytes)
    if st.nbytes:
        device.copy(block.ptr, st.ptr, st.nbytes)
    return Storage(st.nbytes, block, block.ptr)


def keep_snapshots(copies: dict[int, Storage], saved: list[Any]) -> None:
    """What is saved of foreign memory is the copy that the op has read."""
    for i, a in enumerate(saved):
        if type(a) in NUMBERS or a._st.info is None or id(a._st) not in copies:
            continue
        t = saved[i] = make_tensor(copies[id(a._st)], a._meta, a._off)
        t._rg, t._gf, t._nr, t._ver, t._vw, t._x = a._rg, a._gf, a._nr, a._ver, a._vw, a._x


def enter(S: Stream, st: Storage) -> int:
    """The number of a storage in this stream's name table; another thread's promise is kept first."""
    if st.info is not None and st.info.poison is not None:
        raise st.info.poison.with_traceback(None)
    if st.pend is not None and st.pend is not S:
        st.pend.flush_for_other()
    elif st.home and st.home is not S.slots:
        settle(st)
    slots, ids = S.slots, S.ids
    sid = ids.get(id(st), -1)
    if sid < 0 or sid >= len(slots) or slots[sid] is not st:
        sid = ids[id(st)] = len(slots)
        slots.append(st)
    with ENTERING:
        st.home, st.sid = slots, sid
    return sid


class GradPlan:
    """For one form and one set of inputs that need a gradient: which edges, and what to save."""

    __slots__ = ("formulas", "inputs", "node_type", "results", "saved_args")

    def __init__(self, form: Form, needs: int):
        rules = form.entry.grads
        self.node_type = form.entry.node_type
        self.inputs = [i for i in range(form.arity) if needs >> i & 1]
        wanted = {form.entry.operand_names(form)[i] for i in self.inputs}
        self.formulas = [(names, fn, params) for names, fn, params in rules if wanted & set(names)]
        used = {p for _, _, params in self.formulas for p in params}
        names = form.entry.operand_names(form)
        self.saved_args = [i for i, n in enumerate(names) if n in used]
        self.results = [i for i, n in enumerate(form.entry.result_names(form)) if n in used]


def record_grad(S: Stream, form: Form, operands: tuple[Any, ...], needs: int) -> Any:
    """As `commit`, with a gradient node; needs: bit i is set if operand i requires grad."""
    entry = form.entry
    plan = form.plans.get(needs)
    if plan is None:
        if entry.grads is None:
            return commit(S, form, operands)
        plan = form.plans[needs] = GradPlan(form, needs)
    node = new_object(plan.node_type)
    node.form = form
    node.needs = needs
    node.result_version = None
    node.hooks = None
    node.metadata_ = None
    edges = []
    for i in plan.inputs:
        t = operands[i]
        gf = t._gf
        edges.append((gf, t._nr) if gf is not None and t._vw is None else gradient.edge(t))
    node.edges = tuple(edges)
    versions: Any = None
    saved = []
    for i in plan.saved_args:
        a = operands[i]
        saved.append(a)
        if type(a) not in NUMBERS and a._ver is not None and a._ver.n:
            versions = True
    if versions:
        gradient.check_saved(saved)
        versions = tuple([0 if type(a) in NUMBERS or a._ver is None else a._ver.n for a in saved])
    node.versions = versions
    if form.into >= 0:
        return _inplace(S, form, operands, plan, node, saved)
    copies = S.snapshots
    result = commit(S, form, operands)
    if copies or S.snapshots:
        keep_snapshots(copies | S.snapshots, saved)
    if len(form.outs) == 1:
        if not form.diff[0]:
            return result
        node.out = result._meta
        if plan.results:
            saved.append((result._st, result._off, result._meta, 0))
        result._gf, result._rg = node, True
    else:
        node.out = tuple([t._meta for t in result])
        for i in plan.results:  # each result has a version of its own
            t = result[i]
            t._ver = Version()
            saved.append((t._st, t._off, t._meta, 0, t._ver))
        for i, t in enumerate(result):
            if form.diff[i]:
                t._gf, t._nr, t._rg = node, i, True
    node.saved = saved
    return result


def _inplace(
    S: Stream, form: Form, operands: tuple[Any, ...], plan: GradPlan, node: Node, saved: list[Any]
) -> None:
    t = operands[form.into]
    if form.into in plan.saved_args:  # the gradient uses what is overwritten
        from .elementwise import clone

        i = plan.saved_args.index(form.into)
        saved[i] = clone(t)
        if node.versions is not None:
            node.versions = (*node.versions[:i], 0, *node.versions[i + 1 :])
    if form.into != 0 or not plan.inputs or plan.inputs[0] != 0:
        node.edges = (None, *node.edges)  # the first edge is always that of the tensor written
    commit(S, form, operands)
    version_of(t).n += 1  # no name for it here: `wake_views` counts who refers to it
    if plan.results:
        saved.append((t._st, t._off, t._meta, version_of(t).n))
    node.out, node.saved = t._meta, saved
    gradient.rebase_history(t, node)


def edge_of(t: Tensor) -> Any:
    """The edge that leads to a tensor's node."""
    gf = t._gf
    if t._vw is not None or gf is None:
        return gradient.edge(t)
    return (gf, t._nr)


class OpNode(Node):
    """The node of an entry: its gradient is the entry's formulas, recorded as one instruction."""

    __slots__ = ()

    def apply(self, grads: tuple[Tensor | None, ...]) -> tuple[Tensor | None, ...]:
        return self.form.entry.backward(self, grads)

    @property
    def next_functions(self) -> tuple[tuple[Node | None, int], ...]:
        """The edges, with (None, 0) for each tensor that could have had a gradient and needs none."""
        inputs = grad_inputs(self)
        if inputs is None:
            return super().next_functions
        return tuple([(None, 0) if e is None else e for e in inputs])

    def unpack(self) -> list[Any]:
        """The saved operands and results, after the check that none was overwritten."""
        saved = self.saved
        if saved is RELEASED:
            raise RuntimeError(
                "Trying to backward through the graph a second time (or directly access saved tensors after they have already "
                "been freed). Saved intermediate values of the graph are freed when you call .backward() or autograd.grad(). "
                "Specify retain_graph=True if you need to backward through the graph a second time or if you need to access "
                "saved tensors after calling backward."
            )
        values = []
        if self.versions is None and self.result_version is None and not LOCAL.s.grad:
            for a in saved:
                if type(a) is tuple:
                    if len(a) == 5 and a[4].n:
                        raise_overwritten(self, 0, a[2], a[4].n, 0)
                    a = make_tensor(a[0], a[2], a[1])
                elif type(a) not in NUMBERS and a._ver is not None and a._ver.n:
                    raise_overwritten(a._gf, a._nr, a._meta, a._ver.n, 0)
                values.append(a)
            return values
        for i, a in enumerate(saved):
            if type(a) is tuple:
                a = self._result(a, i - len(saved))
            elif type(a) not in NUMBERS:
                then = self.versions[i] if self.versions is not None else 0
                if a._ver is not None and a._ver.n != then:
                    raise_overwritten(a._gf, a._nr, a._meta, a._ver.n, then)
            values.append(a)
        return values

    def _result(self, kept: tuple[Any, ...], position: int) -> Tensor:
        """A saved result; position: where it is among what is saved, from the end."""
        st, off, meta, then = kept[:4]
        version = kept[4] if len(kept) == 5 else self.result_version
        if version is not None and version.n != then:
            raise_overwritten(self, 0, meta, version.n, then)
        t = make_tensor(st, meta, off)
        t._ver = version
        number = self.form.plans[self.needs].results[position] if type(self.out) is tuple else 0
        if LOCAL.s.grad and meta.dtype.is_inexact and (self.form.into >= 0 or self.form.diff[number]):
            t._gf, t._nr, t._rg = self, number, True
        return t


def grad_inputs(node: Node) -> list[Any] | None:
    """The edges of all parameters that the entry has a gradient for, in their order; None if it has lists."""
    form, entry = node.form, node.form.entry
    names = entry.operand_names(form)
    needed = [i for i in range(form.arity) if node.needs >> i & 1]
    edges = list(node.edges)[len(node.edges) - len(needed) :]
    by_name = {names[i]: e for i, e in zip(needed, edges)}
    wanted = {n for inputs, _, _ in entry.grads for n in inputs}
    if any(entry.kinds[p] == "TS" for p in entry.params) or len(by_name) < len(needed):
        return None
    return [
        by_name.get(p) for p in entry.params if p in wanted and entry.kinds[p] in ("T", "TN", "OT", "OTN")
    ]


def raise_overwritten(node: Node | None, number: int, meta: Meta, now: int, then: int) -> None:
    """The error of a saved tensor, output `number` of `node` (None: a leaf), that was written since."""
    kind = SCALAR_NAMES.get(meta.dtype.name, meta.dtype.name)
    by = (
        ""
        if node is None
        else f", which is output {number} of {node.name().removesuffix('0').removesuffix('Backward')},"
    )
    raise RuntimeError(
        "one of the variables needed for gradient computation has been modified by an inplace operation: "
        f"[torch.{kind}Tensor {list(meta.shape)}]{by} is at version {now}; expected version "
        f"{then} instead. Hint: enable anomaly detection to find the operation that failed to compute its gradient, with "
        "torch.autograd.set_detect_anomaly(True, check_nan=False)."
    )


def forget_programs() -> None:
    """Drop every program that was made: those of the streams' keys, of fragments and of single forms."""
    import gc

    from ..stream import fragments
    from ..stream.flush import CACHE
    from ..stream.rebind import Pattern
    from .family import Graph

    CACHE.clear()
    fragments.forget()
    for holder in gc.get_objects():
        if type(holder) in (Pattern, Graph):
            holder.forget()
        for form in gc.get_referents(holder):  # the collector does not know the derived ones themselves
            if type(form) is Form:
                form.unit = form.plain_unit = form.moved_unit = None


config.watch("backend", lambda name: forget_programs())
threads.watch(lambda count: forget_programs())  # a plan divides its work by their number
