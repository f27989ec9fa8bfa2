"""The flush: from the instructions recorded to bytes.

A sequence seen for the first time runs instruction by instruction from the programs of its forms; one that comes again
is planned as a whole. Programs are found by the code itself: forms are interned, slots are numbered as they come.
"""

from __future__ import annotations

import gc
import struct
import sys
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, NoReturn

from .. import config, heap
from ..errors import TooLargeError, place
from . import boundary, fragments, kept, units
from . import forks as _forks  # noqa: F401  (what recorded work becomes where the process forks)
from . import live as _live  # noqa: F401  (tells what holds the memory when there is none left)
from . import program as programs
from .backend import current
from .fragments import promised
from .known import MET as MET
from .known import Known, overwritten, real
from .known import split as split
from .novelty import Novelty
from .program import STATS, Program
from .value import AT_FLUSH, ENTERING, Storage, StorageInfo, Stream

CACHE: OrderedDict[Any, Known] = OrderedDict()  # the sequences that have a program
# those that the code of one had: a long code is not looked up, which takes long, if none had its
LENGTHS: set[int] = set()
NUMBERS = (int, float, bool)


def references(objects: list[Any]) -> list[int]:
    """The reference counts of list elements; `_SPARE` of each are the list's and this function's own."""
    count = sys.getrefcount
    return [count(s) for s in objects]


_SPARE = references([object()])[0]


def flush(S: Stream) -> None:
    """Run everything recorded; afterwards no storage of this thread is pending.

    Another thread may call this while the owner of S records: the name table is changed first, then the code. An
    instruction that the owner appends to code taken from it is recorded again (see ops/record.py, `late`)."""
    if not S.code and S.running is None:
        return
    with S.lock:
        progress, busy = S.progress, S.busy
        S.busy = True
        try:
            ran = BUILTINS["flush"](S)
            if ran:
                return
            if ran is None:
                progress = taken(S)
                if progress is None:
                    return
            looked_up(progress)
            run(progress, progress.slots, progress.pending)
        except BaseException as error:
            raise_of(S, progress, error)
        finally:
            S.running, S.busy = None, busy
        fulfilled(progress)


def raise_of(S: Stream, progress: Progress | None, error: BaseException) -> NoReturn:
    """A flush has met an error."""
    known = [looked_up(p) for p in (progress, S.progress) if p is not None and S.running is not None]
    under_way = [p for p in known if p.slots is S.running]
    if under_way:
        give_up(S, under_way[0], error)
    raise error


def resumed(S: Stream, program: Program, frame: Any, result: int) -> None:
    """What is left of a flush whose native call, made by a builtin, did not come to its end."""
    progress = S.progress
    with S.lock:
        try:
            programs.outcome(program, frame, result, progress)
        except BaseException as error:
            raise_of(S, progress, error)
        finally:
            S.running = None
        fulfilled(progress)


def taken(S: Stream) -> Progress | None:
    """What is recorded becomes the sequence under way; the thread records into a new name table. None: there is none.

    A builtin does the same, and runs the sequence at once if it has a program that is ready (ops/builtins/flushing.py):
    then it returns True, and False if `run` has to go on."""
    recorded, slots, sites, pending, code = S.code, S.slots, S.sites, S.pending_bytes, ()
    if not recorded:
        return None
    progress = S.progress = Progress(None)
    progress.slots, progress.sites, progress.pending = slots, sites, pending
    try:
        S.running = slots
        S.slots = []
        S.code = []
        code = tuple(recorded)
        del recorded[: len(code)]
        S.ids, S.written, S.snapshots, S.sites, S.pending_bytes, S.flush_after = {}, set(), {}, [], 0, False
        progress.known = look_up(code)
        return progress
    except BaseException:
        S.slots, S.code = slots, recorded or list(code)
        S.ids, S.sites, S.running = identities(slots), sites, None
        raise


def no_builtin(S: Stream) -> None:
    """There is no builtin that runs sequences."""


def give_up(S: Stream, progress: Progress, error: BaseException) -> None:
    """A flush did not come to its end: what can run later stays recorded, the rest has no bytes. Raises the error."""
    if progress.failed is None and not progress.started and passing(error):
        give_back(S, progress)
        raise error
    slots = progress.slots
    reason = failure(progress, slots, progress.sites, progress.pending, error)
    slots.clear()
    if reason is error:
        raise error
    raise reason from None


def fulfilled(progress: Progress) -> None:
    """A flush came to its end: what it promised has its bytes."""
    BUILTINS["settle"](progress.slots, progress.known.promised)


def settle(slots: list[Any], promised: list[int]) -> None:
    """The storages in these slots have their bytes, the name table is emptied."""
    for sid in promised:
        slots[sid].pend = None
    slots.clear()  # storages know the table as their home: emptied, it keeps none of them alive


BUILTINS: dict[str, Any] = {"flush": no_builtin, "settle": settle}


def looked_up(progress: Progress) -> Progress:
    """A builtin that ran the first instruction of its form has noted its code alone."""
    if type(progress.known) is tuple:
        progress.known = look_up(progress.known)
    return progress


def look_up(code: tuple[Any, ...]) -> Known:
    """What is known of a sequence."""
    known = CACHE.get(code) if len(code) in LENGTHS else None
    if known is not None:
        known.used = True
        return known
    return Known(code)


def remember(known: Known) -> None:
    """Keep a sequence that has a program; the oldest that has not come since it was last passed over is forgotten."""
    MET.pop(known.hash, None)
    while known.code not in CACHE and len(CACHE) >= config.program_cache:
        code, oldest = next(iter(CACHE.items()))
        if oldest.used:
            oldest.used = False
            CACHE.move_to_end(code)
        else:
            del CACHE[code]
    CACHE[known.code] = known
    LENGTHS.add(len(known.code))


def run(progress: Progress, slots: list[Any], pending: int) -> None:
    """Run a sequence as a whole if that pays, else instruction by instruction."""
    known = progress.known
    known.seen += 1
    if AT_FLUSH:
        at_flush()
    if known.programs:
        if not run_in_memory(known, slots, progress, Novelty.compiling()):
            run_units(known, slots, pending, progress)
        return
    collecting = gc.isenabled()
    gc.disable()  # planning makes many objects that live: a tenth to a third of its time went into looking at them
    try:
        run_new(progress, slots, pending)
    finally:
        if collecting:
            gc.enable()


RUN = run  # where a tool has put another in its place, no builtin runs sequences


def run_new(progress: Progress, slots: list[Any], pending: int) -> None:
    """As `run`, for a sequence without a program."""
    known = progress.known
    current().expect()
    if known.seen == 1 and pending > AHEAD:
        current().ahead(lasting(known, slots), lambda: overwritten(known, slots))
    now = Novelty.note(known.seen == 1)
    single = known.code[0].kin is None and known.single
    whole = single or (known.seen >= known.later and Novelty.plans(known, now, pending))
    known.first, known.last = known.first or now, now
    whole = whole or (known.seen == 1 and recalled(known, slots))
    if not (whole and run_in_memory(known, slots, progress, single or Novelty.compiling())):
        if len(MET) >= 16 * config.program_cache:
            MET.clear()
        known.note()
        run_units(known, slots, pending, progress)
        known.note()
    Novelty.ran()


def recalled(known: Known, slots: list[Any]) -> bool:
    """Whether a sequence that is new to this process has a program that an earlier one made, or is worth one."""
    if len(known.code) < kept.LEAST or not kept.LOOKS[0]:
        return False
    counts = references(slots)
    wanted = [s for s in known.promised if counts[s] > _SPARE]
    made, whole = kept.first(known.code, wanted)
    if made is not None:
        known.programs.append(made)
        remember(known)
    return whole


def lasting(known: Known, slots: list[Any]) -> int:
    """Bytes of what a sequence makes for somebody."""
    counts = references(slots)
    return sum(slots[s].nbytes for s in known.promised if counts[s] > _SPARE and slots[s].block is None)


def at_flush() -> None:
    """Do what other threads have prepared."""
    try:
        call = AT_FLUSH.pop()
    except IndexError:
        return  # another thread was faster
    call()


def run_in_memory(known: Known, slots: list[Any], progress: Progress, compiling: bool) -> bool:
    """`run_whole`; where that finds no memory, the instructions run in order, dead results freed as they go."""
    try:
        return run_whole(known, slots, progress, compiling)
    except TooLargeError:
        raise
    except MemoryError:
        if progress.started or known.single:
            raise
    for sid in known.promised:  # some have their memory already
        slots[sid].block, slots[sid].ptr = None, 0
    run_units(known, slots, FREEING + 1, progress)
    return True


def identities(slots: list[Any]) -> dict[int, int]:
    """The slot of every storage, by its identity."""
    return {id(x): n for n, x in enumerate(slots) if type(x) is Storage}


class Progress:
    """How far a flush came. done: instructions that ran one by one; started: a native call over several is under way;
    failed: the form whose check failed; consumed: operands have given their memory back; dying: see
    `program.free_operands`; slots, sites, pending: the name table and what else the stream knew of the sequence."""

    __slots__ = ("consumed", "done", "dying", "failed", "known", "pending", "sites", "slots", "started")

    def __init__(self, known: Any):
        self.known = known  # a Known
        self.slots: Any = None
        self.sites: Any = None
        self.pending = 0
        self.done = 0
        self.started = self.consumed = False
        self.failed: Any = None
        self.dying: Any = None


def passing(error: BaseException) -> bool:
    """Whether the same flush may succeed later (an interrupt, no memory, what LLVM or the system refuses).

    An error of any other type is one of planning, and would come at every attempt."""
    if isinstance(error, TooLargeError):
        return False
    return isinstance(error, (MemoryError, RuntimeError, OSError)) or not isinstance(error, Exception)


def give_back(S: Stream, progress: Progress) -> None:
    """Nothing of the rest ran (an interrupt, no memory): it stays recorded."""
    lines, slots = progress.known.lines, progress.slots
    for sid in promised(lines[: progress.done]):
        slots[sid].pend = None
    S.slots = slots
    S.code = [x for form, line in lines[progress.done :] for x in (form, *line)]
    S.ids = identities(slots)
    S.pending_bytes, S.sites = progress.pending, progress.sites[checks_in(lines[: progress.done]) :]


def checks_in(lines: Sequence[tuple[Any, Any]]) -> int:
    """How many of the instructions noted where they were called."""
    return sum(form.checks for form, _ in lines)


def failure(
    progress: Progress, slots: list[Any], sites: list[Any], pending: int, error: Any
) -> BaseException:
    """The error to raise, with the line that recorded what failed; promises without bytes are poisoned by it.

    A program that failed as a whole runs again by instruction if it wrote to no memory that had its bytes: then
    everything recorded before the failing instruction has its value."""
    known, form = progress.known, progress.failed
    unmade = form is None and not progress.started
    if (
        not (progress.done or progress.consumed)
        and len(known.lines) > 1
        and (unmade or (form is not None and repeatable(known, form)))
    ):
        anew = Progress(known)
        try:
            run_units(known, slots, pending, anew)
        except Exception as found:
            progress, error = anew, found
    if form is not None:
        at = progress.done or next(i for i, (f, _) in enumerate(known.lines) if f is form)
        line = place(sites[checks_in(known.lines[:at])]) if sites else ""
        if line:
            error = type(error)(f"{error} (recorded at {line})")
    poison(known, slots, error, progress)
    return error


def repeatable(known: Known, form: Any) -> bool:
    """Whether nothing up to the last instruction of this form writes to memory that outlives the sequence."""
    promised = set(known.promised)
    last = max(i for i, (f, _) in enumerate(known.lines) if f is form)
    for f, line in known.lines[: last + 1]:
        if f.writes:
            operands = [sid for i, sid in enumerate(line) if not (i and line[i - 1] < 0)]
            if not {real(operands[i]) for i in f.writes} <= promised:
                return False
    return True


def run_whole(known: Known, slots: list[Any], progress: Progress, compiling: bool) -> bool:
    """False if nothing ran: a kernel does not exist and may not be compiled."""
    counts = references(slots)
    live = [s for s in known.promised if counts[s] > _SPARE]
    for p in known.programs:
        if p.kept.issuperset(live):
            STATS["hits"] += 1
            break
    else:
        wanted = set(live)
        if len(known.programs) >= 2:
            for p in known.programs:
                wanted |= p.kept
        held = {s for s, n in enumerate(counts) if n > _SPARE}
        worth = len(known.code) >= kept.LEAST and not known.programs
        made = units.alone(known, slots) or (kept.recall([known.code], wanted)[0] if worth else None)
        if made is None:
            made = programs.plan(
                known.lines, slots, wanted.__contains__, set(known.promised), compiling, held
            )
            if worth and compiling and made is not None:
                kept.keep([known.code], [made])
        if made is None:
            known.later = 2 * known.seen
            return False
        if len(known.programs) >= 2:
            known.programs.clear()
        known.programs.append(made)
        remember(known)
        if len(known.lines) >= LARGE:
            heap.release()
        p = made
    progress.dying = None
    programs.run(p, slots, progress)
    return True


LARGE = 64  # instructions of a plan after which the C library's heap has much to give back
AHEAD = 4 << 20  # bytes promised from which it is worth knowing what a new sequence writes
FREEING = 256 << 10  # bytes promised from which dead results are freed while instructions run one by one


def run_units(known: Known, slots: list[Any], pending: int, progress: Progress) -> None:
    """Each instruction by the program of its own form, or several by that of a fragment."""
    before = STATS.get("units", 0), STATS.get("runs", 0)
    if fragments.BUILTINS:
        run_pieces_natively(known, slots, progress, pending > FREEING)
    else:
        run_each(known, slots, progress, pending > FREEING)
    known.size, known.calls = STATS.get("units", 0) - before[0], STATS.get("runs", 0) - before[1]


def run_each(known: Known, slots: list[Any], progress: Progress, freeing: bool) -> None:
    """The same, the instructions taken apart. freeing: dead results go at once."""
    lines = known.lines
    STATS.add("units", len(lines))
    if len(lines) >= 8:
        fresh = sum([form.fresh for form, _ in lines])
        for form, _ in lines:
            form.fresh = False
        if fragments.learning(len(lines), fresh):
            fragments.learn(lines)
        if fragments.ROOT.next:
            run_pieces(lines, slots, progress, freeing)
            return
    units.prepare(lines, slots)
    last = fragments.last_uses(lines) if freeing else {}
    for at, (form, line) in enumerate(lines):
        progress.dying = dying(line, slots, last, at) if freeing else ()
        run_unit(form, line, slots, at, progress)
        if freeing:
            free_dead(line, slots, last, at)


def run_unit(form: Any, line: tuple[int, ...], slots: list[Any], at: int, progress: Progress) -> None:
    """One instruction."""
    unit, local = units.unit_of(form, line, slots)
    programs.run(unit, local, progress)
    progress.done = at + 1
    progress.started = False


def run_pieces(lines: list[Any], slots: list[Any], progress: Progress, freeing: bool) -> None:
    """Known bodies by their programs, the rest instruction by instruction; freeing: dead results go at once."""
    last = fragments.last_uses(lines)
    compiling = Novelty.compiling()
    for start, stop, node in fragments.parse(lines):
        found: Any = node and fragments.program_of(node, lines[start:stop], stop, slots, last, compiling)
        if found is not None:
            progress.dying = ()
            programs.run(found[0], found[1], progress)
            progress.done = stop
            progress.started = False
            if freeing:
                del found
                free_dead([sid for _, line in lines[start:stop] for sid in line], slots, last, stop - 1)
        else:
            for at in range(start, stop):
                progress.dying = dying(lines[at][1], slots, last, at) if freeing else ()
                run_unit(lines[at][0], lines[at][1], slots, at, progress)
                if freeing:
                    free_dead(lines[at][1], slots, last, at)


def run_pieces_natively(known: Known, slots: list[Any], progress: Progress, freeing: bool) -> None:
    """`run_pieces`, where builtins find the pieces, name them and run those whose program is ready: nothing of the rest
    is taken apart."""
    code = known.code
    known._promised, lines, words, fresh = fragments.BUILTINS["survey"](code, slots)
    STATS.add("units", lines)
    if lines >= 8 and fragments.learning(lines, fresh):
        fragments.learn(known.lines)
    piece, root, compiling = fragments.BUILTINS["piece"], fragments.ROOT, Novelty.compiling()
    drive = fragments.BUILTINS["drive"] if programs.run is programs.RUN else None
    at, n, last, tally = 0, len(code), memoryview(words).cast("q")[::2], bytearray(16)
    try:
        while at < n:
            if drive is not None:
                at = drive(code, at, slots, words, root, progress, tally, freeing)
                if at == n:
                    break
            stop, count, node, name, local = piece(code, at, slots, words, root)
            program = code[at].plain_unit if node is None else node.named.get(name)
            if program is None or local is None:
                local = None  # what it refers to would seem to be in use
                program, local = find_piece(code[at:stop], stop, node, name, slots, last, compiling)
            if program is not None:
                progress.dying = ()
                if freeing and program.parts:
                    named = [sid for _, line in split(code[at:stop]) for sid in line]
                    progress.dying = dying(named, slots, last, stop - 1)
                programs.run(program, local, progress)
                progress.done += count
                progress.started = False
                if freeing:
                    local = None
                    for _, line in split(code[at:stop]):
                        free_dead(line, slots, last, stop - 1)
            else:
                run_apart(code[at:stop], slots, at, last if freeing else None, progress)
            at = stop
    finally:
        runs, launches = struct.unpack("=2q", tally)
        STATS.add("runs", runs)
        STATS.add("launches", launches)


def run_apart(code: tuple[Any, ...], slots: list[Any], at: int, last: Any, progress: Progress) -> None:
    """A piece without a program, instruction by instruction. last: where a result that dies is used last."""
    for form, line in split(code):
        at += 1 + len(line)
        progress.dying = () if last is None else dying(line, slots, last, at - 1)
        run_unit(form, line, slots, progress.done, progress)
        if last is not None:
            free_dead(line, slots, last, at - 1)


def find_piece(
    code: tuple[Any, ...], stop: int, node: Any, name: Any, slots: list[Any], last: Any, compiling: bool
) -> Any:
    """The program of a piece that has none by its name, and its slots; (None, None): it runs by instructions."""
    if node is None:
        return None, None
    found = fragments.program_of(node, split(code), stop, slots, last, compiling)
    if found is None:
        return None, None
    if name is not None:
        node.named[name] = found[0]
    return found


def free_dead(line: Sequence[int], slots: list[Any], last: Any, at: int) -> None:
    """Give back the bytes of results that nobody refers to any more."""
    for sid in set(line):
        sid = ~sid if sid < 0 else sid
        st = slots[sid]
        if (
            type(st) is Storage
            and last[sid] <= at
            and (st.pend is not None or st.info is None)
            and st.block is not None
            and references([st])[0] <= _SPARE + 2
        ):
            st.block, st.ptr = None, 0


def dying(line: Sequence[int], slots: list[Any], last: Any, at: int) -> set[int]:
    """The storages that no instruction behind this one names, by identity."""
    return {id(slots[real(sid)]) for sid in line if last[real(sid)] <= at}


POISONED = [0]  # storages without bytes that failures have left so far


def poison(known: Known, slots: list[Any], error: BaseException, progress: Progress) -> None:
    """What the failed instruction and later ones promised has no bytes: using it raises the error again."""
    kept = (
        type(error)(*error.args) if isinstance(error, Exception) else RuntimeError(f"interrupted: {error!r}")
    )
    for at, (form, line) in enumerate(known.lines):
        for sid in line[len(line) - len(form.outs) :] if form.outs else ():
            st = slots[sid]
            st.pend = None
            if at >= progress.done:
                st.info = st.info or StorageInfo()
                st.info.poison = kept
                POISONED[0] += 1


def flush_at_bound(S: Stream) -> None:
    """A bound was passed: run what is recorded, cut at the last place where the opening instruction came again.

    A loop that never reads a value is so cut in whole iterations, and the same sequence comes at every cut."""
    if S.eager or S.flush_after:
        flush(S)
        return
    with S.lock:
        flush_part(S)


def flush_part(S: Stream) -> None:
    """A bound was passed: run up to the last recurrence of the opening instruction."""
    if not S.code:
        return  # another thread was faster
    code = tuple(S.code)
    starts = [i for i, x in enumerate(code) if type(x) is not int]
    forms = [code[i] for i in starts]
    cut = boundary.last_repeat(forms)
    if not cut:
        flush(S)
        return
    rest = split(code[starts[cut] :])  # the first part, which is long, is not taken apart
    slots = S.slots
    held = {real(sid): slots[real(sid)] for _, line in rest for sid in line}
    count = sum([form.checks for form in forms[:cut]])
    sites, S.sites = S.sites[count:], S.sites[:count]
    S.code = list(code[: starts[cut]])
    try:
        flush(S)
    except BaseException as error:
        leave(S, rest, slots, held, sites, error)
        raise
    for form, line in rest:
        again(S, form, line, held)
    S.sites += sites


def leave(
    S: Stream, rest: list[Any], slots: list[Any], held: dict[int, Any], sites: list[Any], error: BaseException
) -> None:
    """The first part of a sequence did not run: the rest stays recorded behind it, or fails as it did."""
    if S.slots is slots:
        S.code += [x for form, line in rest for x in (form, *line)]
        S.sites += sites
        return
    kept = (
        type(error)(*error.args) if isinstance(error, Exception) else RuntimeError(f"interrupted: {error!r}")
    )
    for sid in promised(rest):
        st = held[sid]
        st.pend, st.info = None, st.info or StorageInfo()
        st.info.poison = kept
        POISONED[0] += 1


def again(S: Stream, form: Any, line: tuple[int, ...], held: dict[int, Any]) -> None:
    """Record an instruction anew, in the table that follows the flush."""
    slots = S.slots
    code: list[Any] = [form]
    writes = frozenset(form.writes)  # a list may write thousands
    offset = False
    for at, sid in enumerate(line):
        x = held[real(sid)]
        if type(x) is not Storage:
            n = len(slots)
            slots.append(x)
        elif x.home is slots:
            n = x.sid
        else:
            n = S.ids[id(x)] = len(slots)
            slots.append(x)
            with ENTERING:
                x.home, x.sid = slots, n
            S.pending_bytes += x.nbytes if x.pend is S else 0
        code.append(~n if sid < 0 else n)
        if not offset and at in writes:
            S.written.add(n)
    S.code += code


def flush_for_other(S: Stream) -> None:
    """Run what is recorded; a flush under way in another thread is waited for."""
    with S.lock:
        flush(S)


Stream.flush = flush  # type: ignore[method-assign,assignment]
Stream.flush_at_bound = flush_at_bound  # type: ignore[method-assign,assignment]
Stream.flush_for_other = flush_for_other  # type: ignore[method-assign,assignment]
