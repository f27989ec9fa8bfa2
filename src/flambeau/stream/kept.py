"""Plans that earlier processes made, in the disk cache: what a sequence of instructions has become, found by what the
planner reads of it.

The name of a plan is a digest of the graphs of its forms, of its code, of the machine, the number of threads and the
source of all that plans. Its content is numbers and words: where memory lies, the table's constants, the entries of the
native program; kernels go by the names under which the disk cache has them. A plan whose kernels are no longer there,
or that gives bytes to less than is wanted, counts for nothing.
"""

from __future__ import annotations

import hashlib
import marshal
from array import array
from collections.abc import Iterable, Sequence
from typing import Any

from ..device.runner import NativeProgram
from ..symbols import NUMBERS, plain
from . import program as programs
from .backend import current
from .counts import STATS
from .kernels import NAMES, named_kernels
from .program import Launch, Part, Program, settled

LEAST = 128  # words of a code from which on it is looked for before it has come twice
FEWEST = 3  # instructions planned together for which one file is looked for
UNKEPT = b""  # the print of a form that another process might not know by what it says
# How many sequences are looked for that came for the first time: each that is found pays for more, so that a program
# whose sequences never come again soon stops looking.
LOOKS = [8]
MEETINGS = 3  # processes in which a sequence came once, after which its plan may earn what it takes
FOUND, MOST = 8, 64
ASSEMBLE = programs.assemble  # where a tool has put another in its place, all is planned before its eyes


def fingerprint(form: Any) -> bytes:
    """A digest of all that the planner reads of a form; UNKEPT if there is none that another process would find."""
    try:
        facts = [form.name, form.slots, form.arity, tuple(form.writes), bool(form.checks)]
        traces: dict[int, int] = {}
        likes: dict[int, int] = {}
        numbers = _graph(form.trace, facts)
        for v in form.out_vals:
            result = v.buf.parts or v.buf
            facts += (numbers[id(result)], tuple(result.shape), tuple(result.strides), result.dtype.name)
        for part, row in form.trace.rows:
            n = traces.get(id(part))
            if n is None:
                n = traces[id(part)] = len(traces)
                facts.append(likes.setdefault(id(part.like or part), len(likes)))
                _graph(part, facts)
            facts += (n, tuple(row))
        return hashlib.sha256(marshal.dumps(facts, 2)).digest()
    except (KeyError, ValueError):
        return UNKEPT


def _plain(value: Any) -> Any:
    """An attribute with the values of its symbols; what is neither number, word nor tuple makes `marshal` refuse it."""
    if type(value) in (tuple, list):
        return tuple([_plain(v) for v in value])
    return plain(value) if type(value) in NUMBERS else value


def _graph(trace: Any, facts: list[Any]) -> dict[int, int]:
    """Append what a trace says; the numbers of its buffers, by identity."""
    numbers: dict[int, int] = {}
    facts += (tuple(sorted(trace.numbers)), len(trace.operands), len(trace.nodes))
    for buf in trace.operands:
        facts += (tuple(buf.shape), tuple(buf.strides), buf.dtype.name)
    for node in trace.nodes:
        facts += (node.kind, node.op, _plain(node.attrs), len(node.ins))
        for v in node.ins:
            src = v.buf.src
            facts += (
                src if type(src) is int else ~numbers[id(v.buf)],
                tuple(v.shape),
                tuple(v.strides),
                v.off,
            )
        for buf in node.outs:
            numbers[id(buf)] = len(numbers)
            facts += (tuple(buf.shape), tuple(buf.strides), buf.dtype.name)
        facts.append(";")
    return numbers


def _named(codes: Iterable[Sequence[Any]]) -> tuple[bytes, list[Any]] | None:
    """What names the plans of codes (forms and slot numbers), and their forms; None if they cannot be kept."""
    forms: dict[Any, int] = {}
    words = array("q")
    for code in codes:
        words.extend([x if type(x) is int else forms.setdefault(x, len(forms)) for x in code])
        words.append(-1 << 62)
    prints = [form.print for form in forms]
    if UNKEPT in prints:
        return None
    return b"".join((*prints, words.tobytes(), b"%d" % current().get_num_threads())), list(forms)


def _looked_up(codes: Sequence[Sequence[Any]]) -> tuple[Any, Any, Any]:
    """What keeps plans, what names these codes, and what is kept of them; None where there is none."""
    store: Any = current().plans() if programs.assemble is ASSEMBLE else None
    named = _named(codes) if store is not None else None
    content = store.kept(named[0]) if named is not None else None
    return store, named, None if content is None else marshal.loads(content)


def recall(codes: Sequence[Sequence[Any]], wanted: Iterable[int] | None = None) -> list[Program | None]:
    """The programs that an earlier process made of these codes. wanted: the slots that the first has to give bytes."""
    _, named, found = _looked_up(codes)
    return _recalled(named, found, wanted) or [None] * len(codes)


def _recalled(named: Any, found: Any, wanted: Iterable[int] | None) -> list[Program | None] | None:
    """The programs of what is kept; None if it is no plan that serves."""
    if found is None or type(found) is int:  # see `first`
        return None
    names, plans = found
    if wanted is not None and not (plans[0] and set(plans[0]["kept"]).issuperset(wanted)):
        return None
    kernels = named_kernels(names)
    if kernels is None:
        return None
    STATS["planned"] += sum([plan is not None for plan in plans])
    return [plan and _unpacked(plan, kernels, named[1]) for plan in plans]


def looked(code: Sequence[Any], found: bool) -> None:
    """A sequence was looked for that came for the first time. Derived forms had to be traced for that."""
    if found:
        LOOKS[0] = min(LOOKS[0] + FOUND, MOST)
    else:
        derived = sum([form.kin is not None for form in {x for x in code if type(x) is not int}])
        LOOKS[0] = max(LOOKS[0] - 1 - derived // FOUND, 0)


def first(code: Sequence[Any], wanted: Iterable[int]) -> tuple[Program | None, bool]:
    """The program of a sequence that comes for the first time, and whether it is planned, as it was or now: earlier
    processes met it and made no plan for it; that this one did is noted for later ones.

    What comes once in each process (the first step of training, which makes an optimizer's state) is planned in one of
    them, and earns that in those that follow: planning it takes as long as some of its runs without a plan."""
    store, named, found = _looked_up([code])
    (made,) = _recalled(named, found, wanted) or [None]
    looked(code, made is not None)
    if made is not None:
        return made, True
    count = 0 if found is None else found
    if named is None or type(count) is not int:  # a plan that gives bytes to less, or has lost its kernels
        return None, False
    if count < MEETINGS:
        store.keep(named[0], marshal.dumps(count + 1, 2))
    return None, count >= MEETINGS


def keep(codes: Sequence[Sequence[Any]], made: Sequence[Program]) -> None:
    """Keep the programs of codes for later processes."""
    store = current().plans()
    named = None if store is None else _named(codes)
    if named is None:
        return
    names: dict[str, int] = {}
    try:
        plans = [_packed(p, names, {form: n for n, form in enumerate(named[1])}) for p in made]
        if any(plans):
            store.keep(named[0], marshal.dumps((list(names), plans), 2))
    except ValueError:
        return  # something is no number and no word


# What of a program is numbers and words as it stands.
PLAIN = (
    *("arena", "blocks", "born", "constants", "ending", "externals", "fill", "fixed", "floats", "outputs"),
    *("pointers", "quick", "wholes"),
)


def _packed(program: Program, names: dict[str, int], forms: dict[Any, int]) -> dict[str, Any] | None:
    """A program as numbers and words; names: those of kernels, which are numbered. None if it calls Python."""
    launches = []
    for x in program.launches:
        if x.call is not None or any(type(check[0]) is not str for check in x.checks.values()):
            return None
        found = NAMES.get((current().name, x.key))
        if found is None:
            return None
        checks = [
            (code, label, extent, -1 if form is None else forms[form], *dim)
            for code, (label, extent, form, *dim) in x.checks.items()
        ]
        launches.append((names.setdefault(found, len(names)), x.parts, x.title, x.count, checks))
    plan: dict[str, Any] = {name: getattr(program, name) for name in PLAIN}
    plan["kept"], plan["cuts"] = tuple(program.kept), tuple(program.cuts)
    plan["parts"] = [(part.outputs, part.starting, part.dying, part.ending) for part in program.parts]
    plan["launches"] = launches
    plan["native"] = [native and native.packed() for native, _, _ in program.segments]
    return plan


def _unpacked(plan: dict[str, Any], kernels: list[Any], forms: list[Any]) -> Program:
    """The program of numbers and words."""
    program = Program(frozenset(plan["kept"]))
    for name in PLAIN:
        setattr(program, name, plan[name])
    program.cuts = frozenset(plan["cuts"])
    for lists in plan["parts"]:
        part = Part()
        part.outputs, part.starting, part.dying, part.ending = lists
        program.parts.append(part)
    handles = []
    for number, parts, title, count, checks in plan["launches"]:
        x = Launch(None, settled, parts, title)
        x.count = count
        x.checks = {
            code: (label, n, forms[f] if f >= 0 else None, *dim) for code, label, n, f, *dim in checks
        }
        x.settle()
        program.launches.append(x)
        handles.append(kernels[number])
    at = 0
    for packed in plan["native"]:
        native = packed and NativeProgram.unpacked(packed, handles[at:])
        program.segments.append((native, [], None))
        at += native.count if native else 0
    return program
