"""Bugs to plant in the stream, and whether the oracle of programs.py finds one.

python tests/fuzz/planted.py NAME [PROGRAMS]     prints the seed that found it; run in a process of its own
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import programs

from flambeau.autograd import engine
from flambeau.ops import builtins, record
from flambeau.ops.builtins import walking
from flambeau.stream import flush, fragments, kept, nests, nodes, placing, ranges
from flambeau.stream import program as planning
from flambeau.stream.value import Node

BUGS: dict[str, Callable[[], None]] = {}


def bug(plant: Callable[[], None]) -> Callable[[], None]:
    BUGS[plant.__name__] = plant
    return plant


def give_bytes() -> None:
    """Storages that a program leaves without bytes get some: the process would end otherwise."""
    run = planning.run

    def run_and_fill(program: Any, slots: list[Any], progress: Any = None) -> None:
        run(program, slots, progress)
        for st in slots:
            if type(st).__name__ == "Storage" and not st.ptr and st.nbytes:
                st.block = planning.current().alloc(st.nbytes)
                st.ptr = st.block.ptr

    planning.run = run_and_fill


@bug
def views_of_one_memory_are_taken_for_disjoint() -> None:
    """A wrong alias decision."""
    right = ranges.overlap
    ranges.overlap = lambda a, b: right(a, b) and a.view == b.view  # type: ignore[assignment]


@bug
def offsets_known_at_run_time_are_taken_for_different() -> None:
    """`x[i].mul_(2); x[j]` as if i were never j."""
    right = ranges.overlap
    ranges.overlap = lambda a, b: a.offslot == b.offslot and right(a, b)  # type: ignore[assignment]


@bug
def a_write_is_dropped() -> None:
    """Of two writes to one buffer only the last stays."""
    right = planning.drop_dead

    def drop(found: list[Any]) -> list[Any]:
        last: set[int] = set()
        kept = []
        for node in reversed(right(found)):
            if node.kind != "store" or node.ins[0].buf.id not in last:
                kept.append(node)
            if node.kind == "store":
                last.add(node.ins[0].buf.id)
        return kept[::-1]

    planning.drop_dead = drop


@bug
def equal_expressions_are_merged_across_a_write() -> None:
    key = nodes.PVal.key.fget  # type: ignore[attr-defined]
    nodes.PVal.key = property(lambda v: (key(v)[0], 0, *key(v)[2:]))  # type: ignore[assignment]


@bug
def a_draw_that_nobody_uses_is_dead() -> None:
    """A dead effect."""
    right = planning.drop_dead

    def drop(found: list[Any]) -> list[Any]:
        needed = right(found)
        used = {v.buf.id for node in needed for v in node.ins if not nodes.opaque_writes(node)}
        return [
            node
            for node in needed
            if not (nodes.opaque_writes(node) and node.outs)  # a seed draws nothing
            or any(b.kept or b.id in used for b in node.outs)
        ]

    planning.drop_dead = drop


@bug
def a_tensor_that_is_seen_is_taken_for_dead() -> None:
    """Wrong liveness; what a program leaves without bytes gets some, or the process would end."""
    right = planning.plan

    def plan(lines: Any, slots: Any, kept: Any, promised: set[int], *rest: Any) -> Any:
        forgotten = max((sid for sid in promised if kept(sid)), default=-1) if len(lines) > 3 else -1
        return right(lines, slots, lambda sid: sid != forgotten and kept(sid), promised, *rest)

    planning.plan = plan
    give_bytes()


@bug
def a_temporary_ends_too_early() -> None:
    """A wrong lifetime in the arena."""
    right = placing.Space.fit
    placing.Space.fit = lambda space, nbytes, last: right(space, nbytes, space.now)  # type: ignore[method-assign]


@bug
def a_gradient_is_not_added_to_the_one_before() -> None:
    """Wrong accumulation."""

    def receive(self: Any, node: Any, nr: int, g: Any) -> None:
        if type(node.out) is not tuple:
            self.buffers[node] = self.buffers.get(node) if g is None else g
            return
        slots = self.buffers.setdefault(node, [None] * len(node.out))
        if g is not None:
            slots[nr] = g

    def receive_slot(buffers: Any, node: Any, number: int, g: Any) -> None:
        slots = buffers.setdefault(node, [None] * len(node.out))
        if g is not None:
            slots[number] = g

    def generated(m: Any, o: Any) -> None:
        f = m.function("receive", "ipppp")
        buffers, node, number, g = (f"%a{i}" for i in range(4))
        with f.when(f.test("ne", f.load(f.load(node, o[Node].out), walking.TYPE), f.object("tuple"))):
            with f.when(f.test("ne", g, f.object("None"))):
                f.call("PyDict_SetItem", buffers, node, g)
                f.ret(0)
            with f.when(f.test("eq", f.call("PyDict_GetItemWithError", buffers, node), "null")):
                f.call("PyDict_SetItem", buffers, node, g)
            f.ret(0)
        f.decref(f.invoke(f.object("receive_slot"), buffers, node, number, g))
        f.ret(0)
        f.end()

    engine._Walk.receive = receive  # type: ignore[method-assign]
    builtins.receive_slot, walking.receive = receive_slot, generated  # the walk is a builtin, too


@bug
def a_read_takes_the_value_of_another_view() -> None:
    """A stored value is forwarded to readers of any view of its buffer."""
    right = nests.NestBuilder.read

    def read(self: Any, v: Any, at: tuple[int, ...]) -> int:
        stored = [i for (buf, _), i in self.of_store.items() if buf == v.buf.id]
        return stored[-1] if stored and not v.buf.inline else right(self, v, at)

    nests.NestBuilder.read = read  # type: ignore[method-assign]


@bug
def the_first_of_two_stores_stays() -> None:
    """Stores of one element in two passes over a row."""

    def store(self: Any, value: int, access: int) -> None:
        self.stores.append((value, access))

    nests.NestBuilder.store = store  # type: ignore[method-assign]


@bug
def a_number_is_kept_from_the_first_run() -> None:
    """An argument is baked."""
    right = planning.run
    first: dict[int, Any] = {}

    def run(program: Any, slots: list[Any], progress: Any = None) -> None:
        given = [slots[i] for i in program.floats]
        _, kept = first.setdefault(id(program), (program, given))
        for i, number in zip(program.floats, kept):
            slots[i] = number
        right(program, slots, progress)
        for i, number in zip(program.floats, given):
            slots[i] = number

    planning.run = run


@bug
def foreign_memory_is_read_late() -> None:
    """An outside write after the recording is seen."""
    record.guarded = lambda S, form, operand, st: record.enter(S, st)


@bug
def a_fragment_keeps_too_little() -> None:
    """The next six instructions do not count as uses of its results."""
    right, fragments.MET = fragments.program_of, 1  # programs are planned at the first meeting
    fragments.program_of = lambda node, lines, stop, *rest: right(node, lines, stop + 6, *rest)
    give_bytes()


NEEDS_PYTORCH = {"a_gradient_is_not_added_to_the_one_before"}  # eager mode has it, too


# Where the search begins, for bugs that few programs meet: some seeds before the first that differs.
FIRST = {
    "the_first_of_two_stores_stays": 110,
    "a_read_takes_the_value_of_another_view": 205,
}


def found_by(limit: int, reference: bool, first: int = 0) -> int:
    """The first of so many programs that differs, or -1."""
    for seed in range(first, first + limit):
        if programs.check(seed, 40, ways=(programs.by_units, programs.deferred), reference=reference):
            return seed
    return -1


if __name__ == "__main__":
    assert flush.CACHE is not None
    kept.LEAST = kept.FEWEST = 1 << 62  # nobody is given what is planned here
    BUGS[sys.argv[1]]()
    print(found_by(int(sys.argv[2]), sys.argv[1] in NEEDS_PYTORCH, FIRST.get(sys.argv[1], 0)))
