"""Forms of one structure: what a new shape costs when an op was traced for others.

Two forms of an op are kin if dtypes, numbers and static arguments are the same, and the same extents (and strides of
operands that are not contiguous) are equal or 1. Once kin forms have been traced whose graphs (elementwise operations
and reductions only) differ in their extents alone, later ones are derived: no body runs and nothing is planned. Those of
any other graph are derived after the body and the planning were done for symbols (family.py).
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..shapes import contiguous_strides, is_contiguous
from ..stream import rebind
from ..stream.value import Meta, Storage, fresh_meta, new_object
from .record import Form
from .registry import OPERANDS

if TYPE_CHECKING:
    from ..symbols import Record
    from .entry import Entry

KINDS = frozenset(("map", "const", "reduce", "empty", "store"))


class Kin:
    """What derived forms share. varied: the extents (by number) that have been seen to change nothing but themselves.

    template: what the builtin of ops/builtins/deriving.py makes forms of one result from, once any extents do: the first
    form, the numbers of the result's extents as words, its dtype, and the part of the key that is its metadata (-1:
    none). like: that part."""

    __slots__ = (
        *("extents", "family", "first", "large", "like", "outs", "pattern", "refused", "template", "varied"),
    )
    families: Any = None  # family.Family, which imports this module

    def __init__(self, first: Form, extents: list[int]):
        self.first, self.extents = first, extents
        self.outs: Any = (
            None  # for each result the number of the extent of each dimension (-1: 1), and its dtype
        )
        self.pattern: Any = None  # rebind.Pattern, once it is known
        self.refused = not alike(first, first)
        self.varied: set[int] = set()
        self.template: Any = None
        self.like = -1
        self.family: Any = None  # of forms with any other graph: see family.py
        self.large: Any = None  # the same for sizes whose programs are no products of their extents

    def settle(self) -> None:
        """Say whether forms may be derived whatever their extents are."""
        if self.refused or self.pattern is None or len(self.varied) < len(self.extents):
            self.template = None
        elif self.template is None and len(self.outs) == 1:
            ((ids, dtype),) = self.outs
            self.template = (self.first, array("q", ids).tobytes(), dtype, self.like)

    def differs(self, extents: list[int]) -> set[int]:
        """The extents, by number, that are not those of the first form."""
        return {i for i, (a, b) in enumerate(zip(self.extents, extents)) if a != b}

    def values(self, form: Form) -> tuple[Any, ...]:
        """The arguments of the call that a derived form is for, without their bytes."""
        return tuple([stand_in(form.entry, p, part) for p, part in zip(form.entry.params, form.key)])

    def traced(self, form: Form) -> Form:
        """A derived form with its graph."""
        return form.entry.trace(self.values(form), self.into)

    def symbolic(self, key: Any, record: Record) -> Form | None:
        """The form of a key, traced for symbols instead of extents; None if that is another one."""
        numbers = {int(s): k for k, s in enumerate(record.symbols)}
        entry, values = self.first.entry, list[Any]()
        for at, (p, part) in enumerate(zip(entry.params, key)):
            if type(part) is Meta:
                values.append(Stand(Symbolic(part, numbers, record.symbols)))
            elif type(part) is tuple and part and type(part[0]) is Meta:
                values.append(tuple([Stand(Symbolic(meta, numbers, record.symbols)) for meta in part]))
            elif at == entry.sized:
                values.append(tuple([n if n < 2 else record.symbols[numbers[n]] for n in part]))
            else:
                values.append(stand_in(entry, p, part))
        return entry.trace(tuple(values), self.into)

    @property
    def into(self) -> bool:
        """Whether the forms are in place."""
        return self.first.into >= 0

    def program(self, form: Form, line: Sequence[int] = ()) -> Any:
        """The program of one such instruction without offsets, or with this line; None: it has to be planned."""
        names, extents = tuple(line) or tuple(range(form.slots)), memoryview(form.extents).cast("q")
        if self.family is not None:
            return self.family.program(form, names)
        small, count = rebind.small(self.pattern, extents), len(form.outs)
        if not small:
            self.large = self.large or self.families(self)
            found = self.large.program(form, names)
            if found is not None:
                return found
        at = len(line) - count if line else form.arity
        outputs = [(at + i, out[2]) for i, out in enumerate(form.outs)]
        made = rebind.program(self.pattern, extents, outputs)
        if not small:
            self.large.bound(form, names)
        return rebind.moved(made, self.pattern, line) if line and min(line) < 0 else made


def unit(form: Form) -> Any:
    """The program of a derived form's instruction without offsets, which the form keeps."""
    form.plain_unit = made = form.kin.program(form)
    return made


def moved_unit(form: Form, slots: list[Any]) -> Any:
    """That of one whose tensors have all an offset (see `units.placed`). slots: what its slots hold."""
    line: list[int] = []
    for k, x in enumerate(slots):
        if k and line[-1] < 0:
            line.append(k)
        else:
            line.append(~k if type(x) is Storage and len(slots) - k > len(form.outs) else k)
    form.moved_unit = made = form.kin.program(form, line)
    return made


IN_PLACE = "in place"  # what the structure of a form in place begins with
NOWHERE = rebind.Pattern.nothing()  # the pattern of kin that have none
METAS, OTHER, SIZED, STRIDED = -2, -3, -4, -5  # what a part of a key is, unless it is metadata


def signature(entry: Entry, key: Any) -> tuple[Any, list[int]] | None:
    """(structure, extents by number) of a form's key; None if it has no kin.

    A structure is one text of words for all metadata (the dtype, then the number of each extent), and the other parts."""
    numbers: dict[int, int] = {}
    words: list[int] = []
    parts: list[Any] = [b""]
    for at, part in enumerate(key):
        parts.append(None)
        if type(part) is Meta:
            if not add_metadata(part, words, numbers):
                return None
        elif at == entry.sized:
            if 0 in part:
                return None
            words.append(SIZED)
            add_ids(part, words, numbers)
        elif type(part) is tuple and part and type(part[0]) is Meta:
            words += (METAS, len(part))
            if not all(add_metadata(meta, words, numbers) for meta in part):
                return None
        else:
            words.append(OTHER)
            parts[-1] = part
    if not numbers:
        return None
    parts[0] = array("q", words).tobytes()
    return tuple(parts), list(numbers)


def add_metadata(meta: Meta, words: list[int], numbers: dict[int, int]) -> bool:
    """Add the words of metadata; False if forms of such are no kin."""
    words.append(id(meta.dtype))
    add_ids(meta.shape, words, numbers)
    if not meta.plain:
        words.append(STRIDED)
        words += [-2 if s == 0 else i for s, i in zip(meta.strides, strides_of(meta, numbers))]
    return meta.numel > 0


def strides_of(meta: Any, numbers: dict[int, int]) -> list[int]:
    """The number of each stride; -1: 1, or 0."""
    return [-1 if s < 2 else numbers.setdefault(s, len(numbers)) for s in meta.strides]


def add_ids(shape: Sequence[int], words: list[int], numbers: dict[int, int]) -> None:
    """Add how many extents there are, and their numbers."""
    words.append(len(shape))
    words += ids_of(shape, numbers)


def ids_of(shape: Any, numbers: dict[int, int]) -> tuple[int, ...]:
    """The number of each extent, in order of appearance; -1: 1."""
    return tuple([-1 if n == 1 else numbers.setdefault(n, len(numbers)) for n in shape])


def derive(entry: Entry, key: Any, into: bool = False) -> Form | None:
    """A form for metadata that are new, from its kin; None if it has to be traced (see `note`). into: one in place."""
    found = signature(entry, key)
    if found is None:
        return None
    kin = entry.kin.get((IN_PLACE, *found[0]) if into else found[0])
    if kin is None:
        return None
    extents = found[1]
    if kin.family is not None:
        return kin.family.derived(key, extents)
    if kin.refused or kin.pattern is None:
        return None
    if len(kin.varied) < len(extents) and not kin.differs(extents) <= kin.varied:
        return None
    return derived(kin, key, extents)


def note(key: Any, form: Form) -> tuple[Kin, list[int]] | None:
    """A form was traced: the first of its structure, or one that shows what its extents change. Its kin and extents
    where that is more than themselves."""
    found = signature(form.entry, key)
    if found is None:
        return None
    structure, extents = found
    if form.into >= 0:
        structure = (IN_PLACE, *structure)
    table = form.entry.kin
    kin = table.get(structure)
    if kin is None:
        if len(table) > 4096:
            table.clear()
        table[structure] = Kin(form, extents)
        return None
    if kin.refused:
        return kin, extents
    outs = results(form, extents) if alike(kin.first, form) else None
    if outs is None or kin.outs not in (None, outs):
        kin.refused = True  # forms derived before keep their pattern
        kin.settle()
        return None
    kin.varied |= kin.differs(extents)
    if kin.pattern is None:
        kin.outs, kin.pattern = outs, rebind.pattern(form, extents)
        kin.like = next((i for i, part in enumerate(key) if part is form.outs[0][0]), -1)
        kin.refused = kin.pattern is None
    kin.settle()
    return None


def alike(a: Form, b: Form) -> bool:
    """Whether the graphs of two forms are made of the same elementwise operations, reductions and constants."""
    if not all(is_contiguous(v.shape, v.strides) for v in a.trace.operands) or a.into >= 0:
        return False
    if len(a.trace.nodes) != len(b.trace.nodes) or not b.trace.nodes:
        return False
    for m, n in zip(a.trace.nodes, b.trace.nodes):
        if n.kind not in KINDS or (m.kind, m.op) != (n.kind, n.op) or repr(m.attrs) != repr(n.attrs):
            return False
        for v in n.ins:
            if v.off or walked(v.shape, v.strides) != walked(v.buf.shape, v.buf.strides):
                return False
        if [source(v, a) for v in m.ins] != [source(v, b) for v in n.ins]:
            return False
    return [source(v, a) for v in a.out_vals] == [source(v, b) for v in b.out_vals]


def source(v: Any, form: Form) -> Any:
    """Where a value of the graph comes from: an operand's number, or that of its node."""
    src, parts = v.buf.src, v.buf.parts
    if isinstance(src, int):
        return src
    if isinstance(parts, tuple):
        return [source(part, form) for part in parts]
    memory = v.buf if parts is None else parts
    return (form.trace.nodes.index(src), src.outs.index(memory), v.dtype)


def walked(shape: Any, strides: Any) -> list[tuple[int, int]]:
    """The dimensions that a view moves along."""
    return [(n, s) for n, s in zip(shape, strides) if n != 1 and s != 0]


def results(form: Form, extents: list[int]) -> Any:
    """The shape of each result in numbers of extents, and its dtype; None if a result is not contiguous."""
    numbers = {n: i for i, n in enumerate(extents)}
    outs = []
    for meta, off, nbytes in form.outs:
        if off or not meta.plain or nbytes != meta.nbytes:
            return None
        if any(n != 1 and n not in numbers for n in meta.shape):
            return None
        outs.append((ids_of(meta.shape, numbers), meta.dtype))
    return outs


def derived(kin: Kin, key: Any, extents: list[int], outs: Any = None) -> Form:
    """A form without a graph: that is traced if somebody asks for it (see `Form.__getattr__`)."""
    first = kin.first
    form: Form = new_object(Form)
    form.arity, form.args, form.checks, form.diff = first.arity, first.args, first.checks, first.diff
    if first.entry.sized >= 0 and first.args[1]:  # a gradient formula may name the shape
        names, values = first.args
        form.args = names, tuple([key[i] if i == first.entry.sized else v for i, v in enumerate(values)])
    form.effects, form.entry, form.into, form.name = first.effects, first.entry, first.into, first.name
    form.slots, form.structure, form.writes = first.slots, first.structure, first.writes
    if outs is not None:
        form.outs = outs
    else:
        shapes = [(tuple([1 if i < 0 else extents[i] for i in ids]), dtype) for ids, dtype in kin.outs]
        form.outs = single(*shapes[0]) if len(shapes) == 1 else [single(*shape)[0] for shape in shapes]
    form.plans, form.backward, form.fresh = first.plans, None, True
    form.unit = form.plain_unit = form.moved_unit = None
    form.kin, form.key, form.extents = kin, key, array("q", extents).tobytes()
    return form


SINGLE: dict[
    tuple[tuple[int, ...], Any], list[Any]
] = {}  # the `outs` of forms with one result, by shape and dtype


def single(shape: tuple[int, ...], dtype: Any) -> list[Any]:
    """The `outs` of a form whose result is a new tensor: they are shared, since there are thousands of such forms."""
    found = SINGLE.get((shape, dtype))
    if found is None:
        if len(SINGLE) > 1 << 13:
            SINGLE.clear()
        meta = fresh_meta(shape, dtype)
        found = SINGLE[shape, dtype] = meta.outs = meta.outs or [(meta, 0, meta.nbytes)]
    return found


class Stand:
    """Metadata in the place of a tensor."""

    __slots__ = ("_meta",)

    def __init__(self, meta: Any):
        self._meta = meta


class Symbolic:
    """Metadata with symbols in the place of extents."""

    __slots__ = ("dtype", "ndim", "shape", "strides")

    def __init__(self, meta: Meta, numbers: dict[int, int], symbols: list[Any]):
        def symbol(n: int) -> Any:
            return n if n < 2 else symbols[numbers[n]]

        self.shape, self.dtype, self.ndim = tuple(map(symbol, meta.shape)), meta.dtype, meta.ndim
        self.strides = contiguous_strides(self.shape) if meta.plain else tuple(map(symbol, meta.strides))


def stand_in(entry: Entry, p: str, part: Any) -> Any:
    """An argument without its bytes, from its part of the key."""
    kind = entry.kinds[p]
    if kind == "TS":
        return tuple([Stand(meta) for meta in part])
    if kind in ("float", "number"):
        return part[1]
    if kind not in OPERANDS:
        return part
    if part is None:  # left out, or a number at its default
        return entry.defaults.get(p) if kind == "N" else None
    return (
        Stand(part)
        if type(part) is Meta
        else next(n for n in map(part, (1, 0)) if not entry.is_default(p, n))
    )
