"""A recording as a function that replays it: guards, one native call, and what the call leaves behind."""

from __future__ import annotations

import re
import struct
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

from .. import heap
from ..autograd.handles import EDITS
from ..device.memory import free_list
from ..device.pool import POOL
from ..dtypes import default_dtype
from ..ops.record import snapshot
from ..stream import explain, filling, flush
from ..stream import program as programs
from ..stream.access import pointer
from ..stream.backend import current
from ..stream.gradient import grad_fn
from ..stream.value import INFERENCE, STREAMS, Storage, Tensor
from .emit import Emitter
from .lists import MANY, Lists, in_order
from .record import Before, Recording, Refused
from .scalars import fits
from .state import PARTS, WHOLE, holds, same

MISS = object()


class Failed(Exception):
    """A check of the native call failed: entry number, error record."""


class Replay:
    """A captured call. call(S, args, options): the result, or MISS if this replay is not for that call."""

    def __init__(self, r: Recording):
        self.code = r.code
        self.lines, self.promised = r.lines, r.promised
        self.actions = r.session.actions
        self.module_facts = r.state.module_facts
        self.hits = 0
        self.edits = [EDITS[0]]
        self.program: Any = None
        self.flush: Any = None  # what explain says
        self.text = ""
        self.call: Callable[..., Any] = _Builder(self, r).build()
        heap.release()

    def modules_hold(self) -> bool:
        """Something was written to a module since: whether all is as it was for this one."""
        seen = EDITS[0]
        if not all(map(holds, self.module_facts)):
            return False
        self.edits[0] = seen
        return True

    def failed(self, at: int, error: Any) -> Any:
        """A check failed: where nothing was written yet the call is made again uncaptured, for its own error."""
        for action in self.actions:
            action.undo()
        progress = flush.Progress(_Known(self.lines, self.promised))
        found = programs.check_error(self.program, at, error, progress)
        if progress.failed is not None and flush.repeatable(progress.known, progress.failed):  # type: ignore[arg-type]
            return MISS
        raise found


class _Known:
    def __init__(self, lines: Any, promised: Any):
        self.lines, self.promised = lines, promised


def settle(storages: Any) -> None:
    """What other threads have recorded about these storages runs first; a poisoned one raises."""
    for st in storages:
        pointer(_Seen(st))


class _Seen:
    """As much of a tensor as `pointer` wants."""

    class _meta:
        class dtype:
            itemsize = 1

    _off = 0

    def __init__(self, st: Storage):
        self._st = st


def holds_float(x: Any) -> bool:
    """Whether a result is or holds a Python float."""
    if isinstance(x, dict):
        x = list(x.values())
    return any(map(holds_float, x)) if isinstance(x, (list, tuple)) else isinstance(x, float)


class _Builder:
    def __init__(self, replay: Replay, r: Recording):
        self.replay, self.r = replay, r
        self.e = e = Emitter(r)
        e.scope |= {
            "MISS": MISS, "same": same, "EDITS": EDITS, "STREAMS": STREAMS, "POISONED": flush.POISONED,
            "edits": replay.edits, "replay": replay, "settle": settle, "snapshot": snapshot, "POOL": POOL,
        }  # fmt: skip
        for i, x in enumerate(r.inputs.constants):
            e.scope[f"c{i}"] = x
        self.head: list[str] = []
        self.rows: dict[str, list[tuple[Any, ...]]] = {}  # tests of many alike: see `every`
        self.lists = Lists(e)
        self.moving: set[str] = set()  # names of the storages that may be others in each call

    def build(self) -> Callable[..., Any]:
        r, e = self.r, self.e
        self.sources()
        self.effects()
        result = e.result(r.result)
        if r.escaped(e.used):
            raise Refused("something keeps a tensor that the call makes")
        native = self.native()
        body = [*self.head, *self.facts(), *self.dropped(), *native, *e.lines, f"return {result}"]
        text = "def call(S, args, options):\n" + "".join(f" {line}\n" for line in body)
        exec(compile(text, "<flambeau replay>", "exec"), e.scope)
        self.replay.text = text
        made: Callable[..., Any] = e.scope["call"]
        return made

    def needed(self) -> list[Before]:
        """The tensors that were there before and have to do with the call: operands, and leaves whose .grad it sets."""
        r = self.r
        copied, given = set(r.copies.values()), {id(t) for _, t in r.inputs.tensors}
        return [
            b
            for b in r.tensors.values()
            if id(b.tensor._st) in r.sids
            or id(b.tensor._st) in copied
            or id(b.tensor) in given
            or self.touched(b)
        ]

    def touched(self, b: Before) -> bool:
        """Whether the call writes to a tensor or gives it another gradient."""
        t = b.tensor
        grad = None if t._x is None else t._x.grad
        return grad is not b.grad or (0 if t._ver is None else t._ver.n) != b.n

    def sources(self) -> None:
        """Names and tests of the tensors that were there before."""
        r, e = self.r, self.e
        grad, inference, kind = r.modes
        e.scope["default_dtype"] = default_dtype
        self.test(
            [f"S.grad is {grad}", f"S.inference == {inference!r}", f"default_dtype() is {e.constant(kind)}"]
        )
        tests = self.loosened(r.inputs.tests)
        arguments = {id(t): text for text, t in r.inputs.tensors}
        self.test(tests)
        seen: dict[int, str] = {}
        for text, t in r.inputs.tensors:
            if id(t) in seen:
                self.test([f"{text} is {seen[id(t)]}"])
                continue
            name = seen[id(t)] = e.names[id(t)] = e.fresh("a")
            if t._vw is not None:
                e.names.setdefault(id(t._vw[0]), f"{name}._vw[0]")
            self.head.append(f"{name} = {text}")
            self.argument(name, t, r.tensors[id(t)])
        self.fixed, self.grads = [], []
        needed = {id(b.tensor) for b in self.needed()}
        for key, b in r.tensors.items():
            if key not in arguments and key in r.state.tensors and (key in needed or b.grad is not None):
                self.state(b)
                e.names[key] = e.constant(b.tensor)
        self.head += self.tested()
        self.gradients(needed)
        self.apart()
        for b in r.tensors.values():
            v = b.tensor._ver
            if v is not None and id(b.tensor) in e.names:
                e.names.setdefault(id(v), f"version_of({e.names[id(b.tensor)]})")
        e.kept += [b.tensor._ver for b in r.tensors.values()]

    def gradients(self, needed: set[int]) -> None:
        """Names and tests of the gradients that were there before, of which `needed` holds the ids."""
        r, e = self.r, self.e
        found: list[Before] = []
        for b in list(r.tensors.values()):
            if (
                b.grad is None
                or id(b.grad) in e.names
                or id(b.grad) not in needed
                or id(b.tensor) not in e.names
            ):
                continue
            e.names[id(b.grad)] = ""
            found.append(b)
        fixed = [b for b in found if e.names[id(b.tensor)] in e.scope]
        fixed = fixed if len(fixed) >= MANY else []
        all_fixed = e.fresh("g")
        for i, b in enumerate(fixed):
            e.names[id(b.grad)] = f"{all_fixed}[{i}]"
        if fixed:
            owners = e.constant(tuple([b.tensor for b in fixed]))
            self.head.append(f"{all_fixed} = [x0._x.grad for x0 in {owners}]")
            self.lists.note(all_fixed, len(fixed))
        apart = [b for b in found if not e.names[id(b.grad)]]
        for b in apart:
            e.names[id(b.grad)] = e.fresh("g")
        self.head += [f"{e.names[id(b.grad)]} = {e.names[id(b.tensor)]}._x.grad" for b in apart]
        made = [(e.names[id(b.grad)], b) for b in found]
        before, self.head = self.head, []
        alike: dict[str, list[Any]] = {}
        for name, b in made:
            self.argument(name, b.grad, r.tensors[id(b.grad)], alike)
        rest, self.head = self.head, before
        for test, rows in alike.items():
            if len(rows) < MANY:
                self.test([test.replace("x0", name).replace("x1", e.constant(m)) for name, m in rows])
                continue
            tensors, metas = (
                self.lists.listed([name for name, _ in rows]),
                e.constant(tuple(m for _, m in rows)),
            )
            self.head += [f"for x0, x1 in zip(({tensors}), {metas}):", f" if not ({test}): return MISS"]
        if fixed:
            self.head.append(f"s_{all_fixed} = [x0._st for x0 in {all_fixed}]")
        self.head += [f"s_{e.names[id(b.grad)]} = {e.names[id(b.grad)]}._st" for b in apart]
        self.head += rest

    def loosened(self, tests: list[str]) -> list[str]:
        """The tests of the arguments; of a float that the numbers of the call follow, whether it is one of its kind."""
        r, e = self.r, self.e
        moved = {text: x for text, x in r.floats.items() if any(text in flow for flow in r.flows.values())}
        if not moved:
            return list(tests)
        if holds_float(r.result):
            raise Refused("the call returns a number that its arguments may have given")
        e.scope["fits"] = fits
        kept = [t for t in tests if not any(t.startswith(f"same({text},") for text in moved)]
        return kept + [f"fits({text}, {e.constant(x)})" for text, x in moved.items()]

    def test(self, tests: list[str]) -> None:
        if tests:
            self.head.append(f"if not ({' and '.join(tests)}): return MISS")

    def every(self, test: str, *row: Any) -> None:
        """Test a row of objects, which the text calls x0, x1 and so on."""
        self.rows.setdefault(test, []).append(row)

    def tested(self) -> list[str]:
        """The tests of the rows so far."""
        rows, self.rows = self.rows, {}
        return [line for test, found in rows.items() for line in self.loop(test, found)]

    def loop(self, test: str, rows: list[tuple[Any, ...]]) -> list[str]:
        """A test of rows of objects. Many are in a loop: source that names each takes a hundred times its size to
        compile."""
        if len(rows) >= MANY:
            names = "".join(f"x{i}, " for i in range(len(rows[0])))
            return [f"for {names}in {self.e.constant(tuple(rows))}:", f" if not ({test}): return MISS"]
        parts = re.split(r"(?<![\w.])x(\d)\b", test)  # text and number in turn
        form = "".join(f"{{{part}}}" if i % 2 else part for i, part in enumerate(parts))
        used = set(map(int, parts[1::2]))
        names = [[self.e.constant(x) if i in used else "" for i, x in enumerate(row)] for row in rows]
        return [f"if not ({form.format(*found)}): return MISS" for found in names]

    def argument(self, name: str, t: Tensor, b: Before, alike: dict[str, list[Any]] | None = None) -> None:
        """Tests of a tensor that is another in each call; its storage is s_NAME. alike: where tests are noted that many
        have in common, in words of x0 (the tensor) and x1 (its metadata)."""
        e = self.e
        st, meta, _, rg, gf, _, base = b.fields
        if gf is None and rg and base is not None:
            raise Refused("an argument that requires a gradient is a view, and no result of an operation")
        if alike is None:
            self.test(self.outside(name, e.constant(meta), t, b))
        else:
            alike.setdefault(" and ".join(self.outside("x0", "x1", t, b)), []).append((name, meta))
        if gf is not None:
            self.history(name, gf, t._nr, base is not None)
        if alike is None:
            self.head.append(f"s_{name} = {name}._st")
        if st.info is not None and (st.info.readonly or st.info.exported or st.info.owner is not None):
            if self.r.sids.get(id(st)) in self.r.written:
                raise Refused("memory of others is written")
        elif self.r.sids.get(id(st)) in self.r.written:
            self.test([f"(s_{name}.info is None or not s_{name}.info.readonly)"])
        e.storages.setdefault(id(st), f"s_{name}")
        self.moving.add(f"s_{name}")
        self.test(self.gradient(name, t, b))

    def outside(self, name: str, meta: str, t: Tensor, b: Before) -> list[str]:
        """Tests of what a tensor is, by its name and that of its metadata."""
        e, moving = self.e, self.r.moving
        st, _, off, rg, gf, _, base = b.fields
        return [
            f"type({name}) is {type(t).__name__}"
            if type(t) is Tensor
            else f"type({name}) is {e.constant(type(t))}",
            f"{name}._meta is {meta}",
            f"{name}._rg is {rg}",
            f"{name}._gf is None" if gf is None else f"{name}._gf is not None",
            f"{name}._vw is None" if base is None else f"{name}._vw is not None",
            f"{name}._ver is INFERENCE" if t._ver is INFERENCE else f"{name}._ver is not INFERENCE",
            f"not {name}._off"
            if not off
            else f"{name}._off"
            if id(st) in moving
            else f"{name}._off == {off}",
        ]

    def history(self, name: str, node: Any, number: int, view: bool) -> None:
        """The node whose result an argument is: edges of the graph that the call leaves lead to it."""
        e, found = self.e, f"{name}._gf"
        self.test([f"{name}._nr == {number}"])
        if view:  # its node may have to be made anew
            e.scope["grad_fn"], found = grad_fn, f"f_{name}"
            self.head.append(f"{found} = grad_fn({name})")
            self.test([f"{found} is not None"])
        known = e.names.setdefault(id(node), found)
        if known != found:
            self.test([f"{found} is {known}"])

    def gradient(self, name: str, t: Tensor, b: Before) -> list[str]:
        """Tests of whether a tensor has a gradient."""
        x = t._x
        if x is not None and (x.hooks or x.post_hooks):
            raise Refused("a tensor has hooks")
        if not b.fields[3]:
            return []
        if name == "x0":  # the same tensor in each call: leaves that get hooks say so
            self.r.state.module_facts.append(("hooked", t, None, False))
        else:
            self.test([f"({name}._x is None or not ({name}._x.hooks or {name}._x.post_hooks))"])
        if b.grad is None:
            return [f"({name}._x is None or {name}._x.grad is None)"]
        return [f"{name}._x is not None and {name}._x.grad is not None"]

    def state(self, b: Before) -> None:
        """Tests of a tensor that is the same in each call."""
        st, meta, off, rg, gf = b.fields[:5]
        tests = ["x0._st is x1", "x0._meta is x2", f"x0._rg is {rg}"]
        tests += ["x0._off == x3"] if off else []
        tests += [] if gf is None else ["x0._gf is x4"]
        tests += self.gradient("x0", b.tensor, b)
        self.every(" and ".join(tests), b.tensor, st, meta, off, gf)
        self.e.storages.setdefault(id(st), self.e.constant(st))

    def apart(self) -> None:
        """Storages that were different must be, those that were one must be: the arguments' and gradients'."""
        e, r = self.e, self.r
        if not self.moving:
            return
        groups: dict[int, list[str]] = {}
        for b in r.tensors.values():
            name = e.names.get(id(b.tensor))
            if name is not None and f"s_{name}" in self.moving:
                groups.setdefault(id(b.fields[0]), []).append(f"s_{name}")
        fixed = {st: n for st, n in e.storages.items() if n in e.scope}
        for st, names in groups.items():
            first = names[0]
            if st in fixed:
                self.test([f"{first} is {fixed[st]}"])
            self.test([f"{first} is {other}" for other in names[1:]])
        firsts = [names[0] for st, names in groups.items() if st not in fixed]
        if len(firsts) > 1 or (fixed and firsts):
            self.head.append(f"ids = {{{self.lists.listed(firsts, 'id')}}}")
            self.test([f"len(ids) == {len(firsts)}"])
        if fixed and firsts:
            self.test([f"{e.constant(frozenset(fixed))}.isdisjoint(ids)"])

    def facts(self) -> list[str]:
        """Tests of the Python values, and what else has to be so."""
        r, e = self.r, self.e
        for kind, holder, key, value in r.state.facts:
            if kind in WHOLE:
                self.every(WHOLE[kind], holder, value)
            elif kind != "keys":
                text = PARTS[kind].format(key)
                self.every(f"{text} is x2 or same({text}, x2)", holder, key, value)
        lines = self.tested()
        checks = " and ".join(f"{e.constant(a)}.ready()" for a in r.session.actions)
        if checks:
            lines.append(f"if not ({checks}): return MISS")
        return [
            *self.guarded(lines),
            "if EDITS[0] != edits[0] and not replay.modules_hold(): return MISS",
            "if S.code: S.flush()",
        ]

    @staticmethod
    def guarded(lines: list[str]) -> list[str]:
        if not lines:
            return []
        return [
            "try:",
            *[f" {line}" for line in lines],
            "except (ValueError, LookupError, AttributeError): return MISS",
        ]

    def effects(self) -> None:
        """Versions of tensors written in place, and gradients."""
        r, e = self.r, self.e
        raised = set()
        raises: dict[tuple[bool, int], list[Tensor]] = {}
        for b in r.tensors.values():
            t = b.tensor
            now = 0 if t._ver is None else t._ver.n
            if now != b.n and id(t._ver) not in raised:
                raised.add(id(t._ver))
                if id(t) not in e.names:
                    raise Refused("the call writes to a tensor that it cannot name")
                raises.setdefault((e.names[id(t)] in e.scope, now - b.n), []).append(t)
        for (fixed, more), tensors in raises.items():
            if fixed and len(tensors) >= MANY:
                e.lines.append(f"for x0 in {e.constant(tuple(tensors))}: version_of(x0).n += {more}")
            else:
                e.lines += [f"version_of({e.names[id(t)]}).n += {more}" for t in tensors]
        for b in r.tensors.values():
            t = b.tensor
            grad = None if t._x is None else t._x.grad
            if grad is not b.grad:
                value = "None" if grad is None else e.tensor(grad)
                e.lines.append(f"extras({e.names[id(t)]}).grad = {value}")
        for action in r.session.actions:
            if hasattr(action, "settle"):
                e.lines.append(f"{e.constant(action)}.settle()")

    def dropped(self) -> list[str]:
        """The gradients that the call replaces unread give their memory back before new ones take theirs."""
        r, lines = self.r, []
        for b in r.tensors.values():
            grad = None if b.tensor._x is None else b.tensor._x.grad
            unread = b.grad is not None and id(b.grad._st) not in r.sids and id(b.grad) not in self.e.names
            if grad is not b.grad and unread and id(b.tensor) in self.e.names:
                lines.append(f"{self.e.names[id(b.tensor)]}._x.grad = None")
        return lines

    def native(self) -> list[str]:
        """The one native call: memory, numbers, the table, the run."""
        r, e = self.r, self.e
        slots = r.S.slots
        used = e.used
        notes = explain.Flush([explain._instruction(form) for form, _ in r.lines], [])
        kept, held = used.__contains__, range(len(slots))  # the caller, or what it reaches, has the operands
        watch = partial(explain.note, notes, slots=slots)
        program: Any = programs.plan(r.lines, slots, kept, set(r.promised), held=held, watch=watch)
        self.replay.program, self.replay.flush = program, notes
        externals = program.externals
        ours = {sid for sid, _ in program.outputs}
        places = {n: e.storages.get(id(x)) for n, x in enumerate(slots) if type(x) is Storage}
        lines = []
        names: dict[int, str] = {}
        for sid in externals:
            if sid in ours:
                names[sid] = f"s{sid}"
                continue
            original = r.copies.get(id(slots[sid]))
            if original is not None:
                at = e.storages[original]
                names[sid] = f"s{sid}" if sid in e.copied else at
                if sid in e.copied:
                    lines.append(f"s{sid} = snapshot({at})")
                continue
            names[sid] = places.get(sid) or self.stranger(sid, slots[sid])
        watched = sorted({n for sid, n in names.items() if sid not in ours}, key=in_order)
        fixed = e.constant(tuple([e.scope[n] for n in watched if n in e.scope]))
        moving = self.lists.listed([n for n in watched if n not in e.scope])
        lines.append(f"if POISONED[0] or len(STREAMS) > 1: settle((*{fixed}, {moving}))")
        for sid, nbytes in program.outputs:
            if sid not in used:
                raise Refused("something keeps a tensor that the call makes")
            if program.parts:
                lines.append(f"s{sid} = Storage({slots[sid].nbytes})")
                continue
            lines += self.storage(sid, nbytes, slots[sid].nbytes)
        for sid in used - ours:
            lines.append(f"s{sid} = Storage({slots[sid].nbytes}, alloc({slots[sid].nbytes}))")
        e.scope["alloc"] = current().alloc
        arena = "0"
        if program.arena and not program.parts:
            lines.append(f"arena = alloc({program.arena})")
            arena = "arena.ptr"
        lines += self.numbers(program)
        lines += (self.in_parts if program.parts else self.table)(program, names, arena, slots)
        return lines

    def storage(self, sid: int, nbytes: int, size: int) -> list[str]:
        """A new storage with a block of nbytes."""
        home = free_list(nbytes)
        if home is not None:
            return [f"s{sid} = fresh({self.e.constant(home)}, {nbytes}, {size})"]
        return [f"b{sid} = alloc({nbytes})", f"s{sid} = holder({size}, b{sid}, b{sid}.ptr)"]

    def in_parts(self, program: Any, names: dict[int, str], arena: str, slots: list[Any]) -> list[str]:
        """Run a program whose memory comes and goes: it is given a table of names, as a flush gives it."""
        table = [f"{sid}: {name}" for sid, name in names.items()]
        table += [f"{sid}: {text}" for sid, text in self.given(program, slots).items()]
        self.e.scope |= {
            "run_parts": programs.run_parts,
            "fill": filling.filler(program),
            "program": program,
        }
        return self.run_all(f"run_parts(program, {{{', '.join(table)}}}, fill)")

    def run_all(self, text: str) -> list[str]:
        """Run a program of several native calls; an error in it takes the actions back."""
        actions = "".join(self.e.constant(a) + ", " for a in self.r.session.actions)
        return [f"try: {text}", "except BaseException:", f" for x in ({actions}): x.undo()", " raise"]

    def given(self, program: Any, slots: list[Any]) -> dict[int, str]:
        """The numbers that the program reads, as text."""
        r, e = self.r, self.e
        offsets = {slot: f"({e.names[key]}._off + {delta})" for slot, (key, delta) in r.offsets().items()}
        wanted = [
            *program.floats,
            *program.wholes,
            *(slot >> 4 for _, _, slot in program.pointers if slot >= 0),
        ]
        flows = {slot: f"({text})" for slot, text in r.flows.items()}
        return {
            s: self.moved.get(s) or offsets.get(s) or flows.get(s) or e.constant(slots[s]) for s in wanted
        }

    def stranger(self, sid: int, st: Storage) -> str:
        """A storage that belongs to no tensor known: a generator's state, a constant."""
        if sid in self.r.promised_set:
            raise Refused("a result is needed that the program does not give")
        return self.e.constant(st)

    def numbers(self, program: Any) -> list[str]:
        r, e = self.r, self.e
        lines = []
        self.moved: dict[int, str] = {}
        for k, action in enumerate(r.session.actions):
            name = e.constant(action)
            lines.append(f"{name}.advance()")
            if len(action.slots):
                if len(action.values) and len(action.values) != len(action.slots):
                    raise Refused("an optimizer's numbers have changed their count")
                lines.append(f"w{k} = {name}.values")
            for i, slot in enumerate(action.slots):
                self.moved[slot] = f"w{k}[{i}]"
        return lines

    def table(self, program: Any, names: dict[int, str], arena: str, slots: list[Any]) -> list[str]:
        """Fill the table of a frame and run the program."""
        e = self.e
        many = Counter(i for i, _, _ in program.pointers)
        once = {sid for i, sid in enumerate(program.externals) if many[i] == 1}
        lines = [f"p{sid} = {name}.ptr" for sid, name in names.items() if sid not in once]
        bases = [f"{names[sid]}.ptr" if sid in once else f"p{sid}" for sid in program.externals] + [arena]
        given = self.given(program, slots)
        values = []
        for i, off, slot in program.pointers:
            text = f"{bases[i]} + {off}" if off else bases[i]
            if slot >= 0:
                text += f" + {given[slot >> 4]} * {1 << ((slot & 15) - 1)}"
            values.append(text)
        values += [given[sid] for sid in (*program.floats, *program.wholes)]
        e.scope |= {"run_program": programs.execute, "program": program}
        if len(program.segments) == 1 and program.segments[0][0] is not None:
            native, idle, _ = program.segments[0]
            e.scope |= {
                "idle": idle, "frame_of": lambda: programs.new_frame(program, native), "native": native,
                "pack": struct.Struct(program.fill).pack_into,
            }  # fmt: skip
            lines += [
                "try: f = idle.pop()",
                "except IndexError: f = frame_of()",
                f"pack(f.table, 8, {', '.join(self.lists.addresses(values))})" if values else "pass",
                "r = native.run(f)",
                "if r >= 0: return replay.failed(r, f.error)",
                "idle.append(f)",
            ]
        elif program.launches:
            lines += self.run_all(f"run_program(program, ({', '.join(values)},))")
        return lines
