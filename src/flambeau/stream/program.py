"""A program: a planned sequence of kernel launches, and how its table is filled for one run.

Table of a frame: slot 0 is the device's, then addresses, then floats and integers (all written for each run), then
extents and strides (written once when the frame is made).
"""

from __future__ import annotations

import struct
import sys
from collections import Counter
from collections.abc import Callable, Container, Sequence
from functools import partial
from typing import Any

from ..errors import Deferred
from ..loop.ir import SIZE
from ..loop.recipes.nest import lower
from . import fusion, pieces, prologue, recipes
from .alike import ROWS, rows_apart
from .backend import current
from .constants import letter
from .counts import STATS as STATS
from .counts import TALLY as TALLY
from .filling import filler, interpreted, prepare, wanted
from .kernels import KERNELS as KERNELS
from .kernels import exists, kernels_of
from .nests import Bound, NestBuilder
from .nodes import Builder, Group, PVal, drop_dead
from .order import calmed
from .overwrite import share
from .placing import place_memory
from .relief import relieve
from .schedule import Scheduler
from .sharing import SERIAL_WORK
from .storages import BUILTINS, furnish


class Launch:
    """One kernel call: key and maker of its kernel, parameters in order."""

    __slots__ = (
        *(
            "bound",
            "bufs",
            "call",
            "checks",
            "count",
            "epilogue",
            "ints",
            "key",
            "less",
            "make",
            "names",
            "nests",
            "number_names",
            "numbers",
            "over",
        ),
        *("parts", "product", "scratch", "title", "turns", "uses", "values", "work"),
    )

    def __init__(self, key: Any, make: Callable[[], Any], parts: int, title: str):
        self.key, self.make, self.parts, self.title = key, make, parts, title
        self.bufs: list[
            Any
        ] = []  # (buffer, offset, slot of an offset); once planned, the numbers of the pointers
        self.scratch: list[int] = []  # bytes of each scratch buffer, which follow the others
        self.ints: list[int] = []
        self.numbers: list[
            tuple[Any, str]
        ] = []  # (slot, or ("constant", value, type)), type of the table's entry
        self.checks: dict[int, Any] = {}
        self.names: dict[str, int] | None = (
            None  # parameters by name: buffers, scratch; `values`: the integers
        )
        self.values: dict[str, int] = {}
        self.number_names: tuple[str, ...] = ()
        self.epilogue = False
        self.call: Any = None  # a Python function instead of a kernel
        self.bound: Bound | None = None  # of a launch that is one nest
        self.nests: list[Bound] = []  # of one that is several
        self.uses: Any = None  # of a launch that is a whole group: see order.py
        self.product: Any = None  # the node and the tail of a product that can take more
        # two of its buffers that may be one, and key and maker of that kernel: see overwrite.py
        self.over: Any = None
        self.less: Any = None  # its plan with a smaller workspace: see relief.py
        self.count = 1  # calls of the kernel; the parameters of all follow each other
        self.turns: Any = None  # how often it runs, turn after turn; its parameter "turn" is their number
        self.work = 0  # about how much it is, in the units of SERIAL_WORK; 0: nobody knows

    def settle(self) -> None:
        """Forget what only planning needs: a program lives long, and its graph would live with it."""
        self.bound = self.product = self.names = self.uses = self.less = self.over = None
        self.nests = self.ints = self.numbers = _NONE
        self.values = {}
        if self.call is None:
            self.bufs = self.scratch = _NONE
        self.make = settled


_NONE: list[Any] = []  # of every settled launch


def settled() -> Any:
    """A settled launch makes nothing."""
    raise AssertionError("the kernel of a settled launch exists")


class Part:
    """A native call of several: what has to be there when it begins, what is not needed after it."""

    __slots__ = ("dying", "ending", "outputs", "places", "starting")

    def __init__(self) -> None:
        self.places: Any = None  # in the table, what moves with each output and each block: see `note_places`
        self.outputs: list[tuple[int, int]] = []  # (slot, bytes)
        self.starting: list[tuple[int, int]] = []  # (number of the block, bytes)
        self.dying: list[int] = []
        self.ending: list[int] = []  # slots of operands that no later call reads


class Program:
    """What a key of the stream has become. kept: the promised slots that it gives bytes; see `run`.

    ready: what the builtins of ops/builtins/running.py need, see `filling.prepare`."""

    __slots__ = (
        *(
            "arena",
            "blocks",
            "born",
            "constants",
            "cuts",
            "ending",
            "externals",
            "fill",
            "filler",
            "fixed",
            "floats",
        ),
        *(
            "kept",
            "launches",
            "native",
            "outputs",
            "parts",
            "pointers",
            "quick",
            "ready",
            "runs",
            "segments",
            "wanted",
        ),
        "wholes",
    )

    def __init__(self, kept: frozenset[int]):
        self.kept = kept
        self.launches: list[Launch] = []
        self.segments: list[Any] = []
        self.outputs: list[tuple[int, int]] = []  # (slot, bytes)
        self.wanted: Any = None  # the same with their free lists, once it ran
        self.arena = 0
        self.parts: list[Part] = []  # of a program whose memory comes and goes while it runs
        self.cuts: frozenset[int] = frozenset()  # the launches that begin a part
        self.blocks: list[
            tuple[int, int, int]
        ] = []  # temporaries with memory of their own: bytes, first, last launch
        self.ending: dict[int, int] = {}  # the last launch that reads an operand, by slot
        self.born: dict[int, int] = {}  # the first launch of each output
        self.externals: list[int] = []
        self.pointers: list[
            tuple[int, int, int]
        ] = []  # (index into bases, byte offset, slot of offset or -1, itemsize)
        self.floats: list[int] = []
        self.wholes: list[int] = []
        self.constants: list[int] = []
        self.native: Any = None
        self.quick = False  # a few microseconds: nobody minds if it runs within the interpreter's lock
        self.fill = ""
        self.fixed: Any = None
        self.filler: Any = None
        self.ready: Any = None
        self.runs = 0


def plan(
    lines: Sequence[tuple[Any, Sequence[int]]],
    slots: Sequence[Any],
    kept: Callable[[int], bool],
    promised: set[int],
    compiling: bool = True,
    held: Container[int] = (),
    watch: Callable[[list[Launch]], None] = lambda launches: None,
) -> Program | None:
    """Plan instructions (form, slot numbers) over a name table; None if that takes new kernels and none may be made.
    held: slots that outlive the program, as far as anybody knows. watch: is shown the launches."""
    launches, builder = laid_out(lines, slots, kept, held)
    if not compiling and not all(exists(x.key) for x in launches if x.call is None):
        return None
    builder.homes = share(launches, lambda key: compiling or exists(key))
    launches = calmed(launches, builder.homes)
    relieve(launches, builder.homes)
    STATS["planned"] += 1
    watch(launches)
    return assemble(launches, builder, kept, promised)


def laid_out(
    lines: Sequence[tuple[Any, Sequence[int]]],
    slots: Sequence[Any],
    kept: Callable[[int], bool],
    held: Container[int] = (),
) -> tuple[list[Launch], Builder]:
    """The launches of instructions, and the builder that knows their buffers."""
    builder = Builder()
    builder.held = held
    numbers = {i for i, s in enumerate(slots) if type(s) in (int, float, bool)}
    builder.written = {sid for form, line in lines for sid in written(form, line)}
    apart = lists_apart(lines)
    for n, (form, line) in enumerate(lines):
        if n not in apart:
            builder.instruction(form, line, kept, numbers.__contains__)
    made = fusion.Lists()
    made.add(launched(builder))
    for n in apart:
        operands, _ = builder.operands(*lines[n], numbers.__contains__)
        for launches in rows_apart(builder, lines[n][0], operands, launched, nest_launch):
            made.add(launches)
    return made.launches, builder


def lists_apart(lines: Sequence[tuple[Any, Sequence[int]]]) -> list[int]:
    """Which instructions are over long lists and have no tensor in common with any other, where none may fail: they can
    be planned bit by bit, after the others."""
    long = [n for n, (form, _) in enumerate(lines) if len(form.trace.rows) > ROWS]
    if not long or any(form.checks for form, _ in lines):
        return []
    sids = [{~sid if sid < 0 else sid for sid in line} for _, line in lines]
    uses = Counter(sid for line in sids for sid in line)
    return [n for n in long if all(uses[sid] == 1 for sid in sids[n])]


def launched(builder: Builder) -> list[Launch]:
    """The launches of the builder's nodes, which it forgets."""
    builder.seen = {}
    nodes = pieces.together(drop_dead(builder.nodes), builder)
    groups = fusion.join_products(Scheduler().run(prologue.absorbed(nodes, builder.held)))
    groups.reverse()  # from whose end they go, one by one: what is planned no longer takes memory
    launches: list[Launch] = []
    while groups:
        group, tail = groups.pop()
        made = launches_of(group, tail)
        for x in made:
            x.uses = group.uses if len(made) == 1 else None
            joined = follow(launches[-1], x) if launches else None
            launches[-1:] = [launches[-1], x] if joined is None and launches else [joined or x]
    builder.forget()
    return launches


def written(form: Any, line: Sequence[int]) -> list[int]:
    """The slots that an instruction writes in place."""
    if not form.writes:
        return []
    operands: list[int] = []
    at = 0
    while len(operands) < form.arity:
        sid = line[at]
        operands.append(~sid if sid < 0 else sid)
        at += 2 if sid < 0 else 1
    return [operands[i] for i in form.writes]


def follow(launch: Launch, x: Launch) -> Launch | None:
    """Both as one launch, if x is the small reduction of what `launch` computes."""
    then = x.bound
    if then is None or not fusion.can_follow(then):
        return None
    if launch.product is not None:
        node, tail = launch.product
        if tail is None:
            tail = fusion.plain_tail(PVal(node.outs[0], node.outs[0].shape, node.outs[0].strides, 0))
        if tail.tail.nests or not fusion.feeds(fusion.tail_uses(tail), fusion.uses(then)):
            return None
        return recipes.launches(node, fusion.with_nest(tail, then), then)[0]
    nests = launch.nests or ([launch.bound] if launch.bound is not None else [])
    before = [u for b in nests for u in fusion.uses(b)]
    if not 1 <= len(nests) <= 3 or not fusion.feeds(before, fusion.uses(then)):
        return None
    return nest_launch([*nests, then])


def launches_of(group: Group, tail: Any = None) -> list[Launch]:
    """The launches of a group: its recipe's, or the one of its nest."""
    if group.opaque is not None:
        return recipes.launches(group.opaque, tail)
    if not group.nodes:
        return []
    bound = NestBuilder(group).build()
    return [nest_launch([bound])]


def nest_launch(nests: list[Bound]) -> Launch:
    """One kernel of a nest and those that run once after it."""
    first, title = nests[0], nests[0].title
    key = fusion.together(nests)
    launch = Launch(key, lambda: lower(launch.key, title), first.parts, title)
    launch.nests, launch.bound, launch.work = nests, first if len(nests) == 1 else None, first.work
    launch.bufs = [b for bound in reversed(nests) for b in bound.bufs]
    launch.ints = [n for bound in nests for n in bound.ints]
    launch.checks = {code + (k << 28): v for k, bound in enumerate(nests) for code, v in bound.checks.items()}
    launch.scratch = [SIZE[type] * count for type, count in first.scratch]
    for bound in nests:
        used = {v[2]: v[1] for v in bound.nest.values if v[0] == "num"}
        launch.numbers += [(sid, letter(used[k])) for k, sid in enumerate(bound.numbers)]
    return launch


def assemble(launches: list[Launch], builder: Builder, kept: Any, promised: set[int]) -> Program:
    """The program of launches: slots, memory of temporaries, entries."""
    program = Program(frozenset(s for s in promised if kept(s)))
    program.launches = launches
    place_memory(program, launches, builder)
    device = current()
    handles = kernels_of(device, [x for x in launches if x.call is None])
    floats, wholes = arguments(launches)
    program.floats, program.wholes = list(floats), list(wholes)
    first_float = 1 + len(program.pointers)
    first_whole = first_float + len(floats)
    first_constant = first_whole + len(wholes)
    constants: dict[Any, int] = {}
    entries: list[Any] = []
    ends: list[int] = []
    for at, x in enumerate(launches):
        if at in program.cuts and entries:
            program.segments.append((entries, None))
            ends.append(at)
            entries = []
        where_buf = [1 + p for p in x.bufs]
        where_int = [first_constant + constants.setdefault(v, len(constants)) for v in x.ints]
        where_num = [
            first_constant + constants.setdefault(bits(s[1], k), len(constants))
            if type(s) is tuple
            else (first_float + floats[s] if k == "d" else first_whole + wholes[s])
            for s, k in x.numbers
        ]
        if x.call is not None:
            program.segments.append((entries, x))
            ends.append(at + 1)
            entries = []
            continue
        handle, epilogue, params = handles[id(x)]
        if x.count > 1:
            where = interleaved(x.count, where_buf, where_int, where_num)
            entries.append((handle, where, x.parts, epilogue, x.count))
            continue
        if x.names is None:
            entries.append((handle, where_buf + where_int + where_num, x.parts, epilogue))
            continue
        by_name = dict(zip(x.number_names, where_num))
        where = [parameter(n, x, where_buf, by_name, first_constant, constants) for n in params]
        place = partial(place_of, first=first_constant, constants=constants)
        entries.append((handle, where, x.parts, epilogue, *turns_of(x, place)))
    program.segments.append((entries, None))
    if program.cuts:
        program.parts = parts_of(program, [*ends, len(launches)])
    program.constants = [0 if value is TURN else value for value in constants]
    count = first_constant + len(constants)
    made: list[Any] = []
    for entries, x in program.segments:
        made.append((device.program(entries, count) if entries else None, [], x))
    program.segments = made
    program.quick = all(x.work for x in launches) and sum([x.work for x in launches]) < SERIAL_WORK
    for x in launches:
        x.settle()
    program.fill = f"={len(program.pointers)}q{len(floats)}d{len(wholes)}q"
    program.fixed = (f"={len(constants)}q", 8 * first_constant)
    return program


def arguments(launches: list[Launch]) -> tuple[dict[int, int], dict[int, int]]:
    """The slots that are read as floats and as whole numbers, numbered as they come."""
    floats: dict[int, int] = {}
    wholes: dict[int, int] = {}
    for x in launches:
        for sid, kind in x.numbers:
            if type(sid) is not tuple:
                table = floats if kind == "d" else wholes
                table.setdefault(sid, len(table))
    return floats, wholes


def parts_of(program: Program, ends: list[int]) -> list[Part]:
    """When the memory of a program comes and goes; ends: where the launches of each segment end."""
    made = [Part() for _ in ends]

    def segment(at: int) -> Part:
        return next(part for part, end in zip(made, ends) if at < end)

    for sid, nbytes in program.outputs:
        segment(program.born.get(sid, 0)).outputs.append((sid, nbytes))
    for n, (nbytes, first, last) in enumerate(program.blocks):
        segment(first).starting.append((n, nbytes))
        segment(last).dying.append(n)
    for sid, at in program.ending.items():
        segment(at).ending.append(sid)
    return made


def bits(value: float, kind: str) -> int:
    """A number as the whole number that the table holds."""
    return struct.unpack("=q", struct.pack("=d", value))[0] if kind == "d" else int(value)


def interleaved(count: int, *columns: list[int]) -> list[int]:
    """The parameters of `count` calls, call by call, from those of all calls by kind."""
    out: list[int] = []
    for i in range(count):
        for column in columns:
            n = len(column) // count
            out += column[i * n : i * n + n]
    return out


def parameter(
    name: str, x: Launch, bufs: list[int], numbers: dict[str, int], first: int, constants: dict[Any, int]
) -> int:
    """The table slot of a parameter that is known by name."""
    assert x.names is not None
    if name in x.names:
        return bufs[x.names[name]]
    if name in numbers:
        return numbers[name]
    return place_of(TURN if x.turns is not None and name == "turn" else x.values[name], first, constants)


def turns_of(x: Launch, place: Callable[[Any], int]) -> tuple[Any, ...]:
    """What the entry of a launch says of its turns; place: the table slot of an integer."""
    return () if x.turns is None else (1, (place(TURN), place(x.turns)))


TURN = object()  # instead of a value: the place where turns are counted, zero before and after


def place_of(value: Any, first: int, constants: dict[Any, int]) -> int:
    """The table slot of an integer."""
    return first + constants.setdefault(value, len(constants))


def run(program: Program, slots: list[Any], progress: Any = None) -> None:
    """Give the kept outputs their bytes and run; raises the error of a failed check. progress: flush.Progress."""
    device = current()
    program.runs += 1
    STATS.add("runs", 1)
    STATS.add("launches", len(program.launches))
    launch = BUILTINS.get("launch") if program.ready or (program.runs == 2 and prepare(program)) else None
    if launch is not None and launch(program, slots, progress):
        return
    fill = program.filler
    if fill is None:
        fill = interpreted if program.runs < 4 else filler(program)
    if program.parts:
        run_parts(program, slots, fill, progress)
        return
    BUILTINS.get("furnish", furnish)(slots, program.wanted or wanted(program))
    arena = device.alloc(program.arena) if program.arena else None
    execute(program, fill(slots, arena.ptr if arena is not None else 0, program), progress)


RUN = run  # where a tool has put another in its place, no builtin runs programs


def outcome(program: Program, frame: Any, result: int, progress: Any) -> None:
    """What is left to do after a native call that did not come to its end."""
    failed = program.segments[0][0].go_on(frame, result)
    if failed >= 0:
        raise check_error(program, failed, frame.error, progress)


def new_frame(program: Program, native: Any) -> Any:
    """A frame with the program's constants in its table."""
    frame = native.frame()
    struct.pack_into(program.fixed[0], frame.table, program.fixed[1], *program.constants)
    return frame


def run_parts(program: Program, slots: Any, fill: Any, progress: Any = None) -> None:
    """Run a program call by call, giving and taking memory between them: also that of operands that only the table
    refers to (what a forward pass has kept for this backward pass), after the last call that reads them."""
    device = current()
    arena = device.alloc(program.arena) if program.arena else None
    base = arena.ptr if arena is not None else 0
    blocks: list[Any] = [None] * len(program.blocks)
    if program.parts[0].places is None:
        note_places(program)
    values = list(fill(slots, base, program, [0] * len(program.blocks)))
    position = 0
    for part, segment in zip(program.parts, program.segments):
        moves = iter(part.places)
        for sid, nbytes in part.outputs:
            st = slots[sid]
            before = st.ptr
            st.block = device.alloc(nbytes)
            st.ptr = st.block.ptr
            for at in next(moves):
                values[at] += st.ptr - before
        for n, nbytes in part.starting:
            blocks[n] = device.alloc(nbytes)  # nothing else refers to it: it may die early
            for at in next(moves):
                values[at] += blocks[n].ptr
        if progress is not None:
            progress.started = True
        position = run_segment(program, segment, values, position, progress)
        for n in part.dying:
            blocks[n] = None
        if progress is not None:
            progress.consumed |= free_operands(slots, part.ending, progress.dying)


def note_places(program: Program) -> None:
    """What of a table changes when a part gives memory to its outputs and blocks; the rest is filled in once."""
    of: dict[int, list[int]] = {}
    for at, (base, _, _) in enumerate(program.pointers):
        of.setdefault(base, []).append(at)
    index = {sid: i for i, sid in enumerate(program.externals)}
    first = len(index) + 1
    for part in program.parts:
        bases = [index.get(sid, -1) for sid, _ in part.outputs] + [first + n for n, _ in part.starting]
        part.places = [of.get(base, ()) for base in bases]


def free_operands(slots: list[Any], sids: Sequence[int], dying: Any = None) -> bool:
    """Give back the bytes of storages that nobody refers to but the table; whether there were any. dying: of a piece
    of a sequence, whose table refers to all of them as well, those that no later piece reads, by identity."""
    found = False
    for sid in sids:
        st = slots[sid]
        if dying is not None and id(st) not in dying:
            continue
        if (
            sys.getrefcount(st) <= _UNSHARED + (dying is not None)
            and st.info is None
            and st.block is not None
        ):
            st.block, st.ptr, found = None, 0, True
    return found


def _unshared() -> int:
    table: list[Any] = [object()]
    for sid in (0,):
        st = table[sid]
        return sys.getrefcount(st)
    return 0


_UNSHARED = _unshared()


def execute(program: Program, values: Sequence[Any], progress: Any = None) -> None:
    """Run a program whose table begins with these values."""
    position = 0
    if progress is not None:
        progress.started = True
    for segment in program.segments:
        position = run_segment(program, segment, values, position, progress)


def run_segment(program: Program, segment: Any, values: Sequence[Any], position: int, progress: Any) -> int:
    """One native call and the Python function after it; the number of the launch that follows."""
    native, idle, call = segment
    if native is not None:
        try:
            frame = idle.pop()
        except IndexError:
            frame = new_frame(program, native)
        struct.pack_into(program.fill, frame.table, 8, *values)
        failed = native.run(frame)
        error = frame.error if failed >= 0 else None
        idle.append(frame)
        if error is not None:
            raise check_error(program, position + failed, error, progress)
        position += native.count
    if call is not None:
        call.call([values[p] for p in call.bufs])
        position += 1
    return position


def check_error(program: Program, at: int, error: tuple[int, int, int], progress: Any = None) -> Exception:
    """The exception of a failed check: that of its launch, or IndexError with the value, its position and its range."""
    launch = program.launches[at]
    code, value, position = error
    label, extent, form, *dim = launch.checks.get(code, ("index", 0, None))
    name = (form.name if form is not None else launch.title).strip("_").removesuffix("_direct")
    if progress is not None:
        progress.failed = form
    if callable(label):
        return Deferred(*label(value, position)).error()
    where = f" {dim[0]}" if dim else ""
    text = (
        f"{name}: {label} {value} is out of bounds for dimension{where} with size {extent}; got "
        f"{value} at position {position}; "
        f"valid values are in the range [{-extent if label == 'index' else 0}, {extent - 1}]"
    )
    return Deferred(
        form.entry.facts.get("raises", IndexError) if form is not None else IndexError, text
    ).error()
