"""How a product of matrices is computed: the plan of its kernel."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from ..loop.recipes import planning
from ..loop.recipes.planning import Strides
from ..symbols import LEAST, Record, Whole, record_of
from .backend import current
from .nodes import PVal

SEEN: dict[Any, set[int]] = {}  # layouts and what stays of the extents -> the numbers of rows met there
PLANS: dict[Any, planning.Plan] = {}  # of late, see `again`
REGIONS: dict[Any, Regions] = {}
WORTH, PROVEN, MOST = (
    4,
    4,
    16,
)  # plans after which a region has a function, proofs of it, functions at a place
ROWS: dict[Any, int] = {}  # where a product is -> rows of a tile of its kernel for any number of rows
PANELS: dict[Any, planning.Plan] = {}  # and how many such tiles there are -> the plan
PLACES = 4096  # of `SEEN` and `PANELS`
MANY = 4  # kernels of one layout, each for its number of rows
LONG = 6  # operations of a tail from which on its code is worth sharing among the rows of a tile
MIXED = 16  # numbers of many rows met in any products of one layout that end it likewise
SMALL = 256  # numbers of rows up to which other ones met before end it that each has its kernel
FEW = 8  # rows of which a tile of any number computes mostly nothing
MUCH = 1 << 15  # elements of the other operand for which that takes long


def several_rows(layout: Any, m: int, n: int, k: int, batch: int = 1) -> bool:
    """Note a number of rows; whether others were met where it is all that changed (also as another extent).

    Many rows have few kernels of their own: their tiles are full, and they differ in whether the last one is. So have
    few rows of a product that is not small."""
    if m > SMALL or (m <= FEW and batch * n * k >= MUCH):
        return False
    met = SEEN.setdefault(layout, set())
    met.add(m)
    several = len(met) > MANY
    places: list[Any] = [(layout, n, k)]
    if m == n:
        places.append((layout, "rows", k))
    if m == k:
        places.append((layout, n, "rows"))
    for place in places:
        met = SEEN.setdefault(place, set())
        met.add(m)
        several = several or len(met) > 1
    return several


def many_rows(layout: Any, m: int, n: int, k: int) -> bool:
    """Note a number of rows of which there are many; whether one kernel is worth having for all of them.

    Each would have that of its own best tile, and whether the last one is full: some dozen kernels, which are a few
    hundredths faster."""
    if m <= SMALL:
        return False
    if len(SEEN) > PLACES:
        SEEN.clear()
    several = False
    for place, most in (((layout, "many"), MIXED), ((layout, "many", n, k), MANY)):
        met = SEEN.setdefault(place, set())
        if len(met) <= most:
            met.add(m)
        several = several or len(met) > most
    return several


def planned(
    a: PVal, b: PVal, c: PVal, made: str = "", generic: bool | None = None, tail: Any = None
) -> planning.Plan:
    """How a product of these is computed. made: the operands, of "ab", that are computed themselves."""
    batch, m, n = c.shape
    k = a.shape[-1]
    strides = Strides(*_abc(a, batch), *_abc(b, batch), *c.strides)
    if len(a.shape) == 4:
        strides = strides._replace(bn=a.shape[1], ab2=a.strides[1], bb2=b.strides[1])
    dtype = a.buf.dtype.short
    long = tail is not None and tail.tail.weight > LONG
    kinds = (dtype, c.buf.dtype.short, tail is None, long, made, generic)
    record = record_of(m, n, k, batch, *strides)
    if record is None:
        return chosen(kinds, m, n, k, batch, *strides)
    return noted(record, kinds, m, n, k, batch, *strides)


def chosen(kinds: Any, m: int, n: int, k: int, batch: int, *steps: int) -> planning.Plan:
    """`planned` for these extents and strides; kinds: what else it depends on."""
    device, strides = current(), Strides(*steps)
    generic, tall = shared(kinds, m, n, k, batch, strides)
    make = partial(fitted, kinds, generic, tall, n=n, k=k, batch=batch, strides=strides)
    if batch != 1 or m == 1 or n * k >= planning.LARGE or not (generic or tall):
        return make(m)
    steps_within = steps[1:3], steps[4:6], steps[7:]
    place = device.name, device.get_num_threads(), kinds, generic, tall, n, k, steps_within
    return of_panels(place, m, strides, make)


def shared(kinds: Any, m: int, n: int, k: int, batch: int, strides: Strides) -> tuple[bool, bool]:
    """Note a product; whether its kernel is one for all extents, and whether it is one for any of many rows."""
    dtype, generic = kinds[0], kinds[-1]
    if generic is not None:
        return generic, False
    layout = (dtype, planning.layouts(m, n, k, strides), batch > 1, strides.bn > 1)
    return several_rows(layout, m, n, k, batch), many_rows(layout, m, n, k)


def fitted(
    kinds: Any, generic: bool, tall: bool, m: int, n: int, k: int, batch: int, strides: Strides
) -> planning.Plan:
    """The plan of a product by the device in force."""
    dtype, out, plain, staged, made, _ = kinds
    device = current()
    return planning.plan(
        *(m, n, k, batch, strides, dtype, device.target(), device.get_num_threads()),
        plain=plain,
        generic=generic,
        out=out,
        staged=staged,
        made=made,
        tall=tall,
    )


def of_panels(place: Any, m: int, strides: Strides, make: Callable[[int], planning.Plan]) -> planning.Plan:
    """The plan of one product by a kernel for any number of rows: that of another with as many tiles of them."""
    rows = ROWS.get(place, 0)
    found = PANELS.get((place, -(-m // rows))) if rows else None
    if found is not None:
        return found._replace(ints=found.ints | strides._asdict() | {"m": m})
    p = make(m)
    spec = p.spec
    if spec.kind == "gemm" and not (spec.swap or spec.pairs) and rows in (0, spec.rows):
        if len(PANELS) > PLACES:
            PANELS.clear()
            ROWS.clear()
        ROWS[place], PANELS[place, -(-m // spec.rows)] = spec.rows, p
    return p


def again(kinds: Any, *numbers: int) -> planning.Plan:
    """`chosen`, which is asked several times for the same."""
    device = current()
    key = (device.name, device.get_num_threads(), kinds, numbers)
    found = PLANS.get(key)
    if found is None:
        if len(PLANS) > 1 << 10:
            PLANS.clear()
        found = PLANS[key] = chosen(kinds, *numbers)
    return found


def noted(record: Record, kinds: Any, *numbers: Any) -> planning.Plan:
    """The same for symbols: for other extents it is asked anew, and has to be the same kernel."""
    p = again(kinds, *map(int, numbers))
    names, known = dict[str, int](), list[Any]()
    for x in numbers:
        known.append(~names.setdefault(x.name, len(names)) if type(x) is Whole else x)
    place = kinds, tuple(known)
    if len(REGIONS) > MOST * MOST:
        REGIONS.clear()
    regions = REGIONS.get(place) or REGIONS.setdefault(place, Regions(*place))
    name = record.called(regions.plan, [record.known[x] for x in names], p)
    record.same(f"{name}.spec", p.spec)
    ints = {key: record.made(f"{name}.ints[{key!r}]", n) for key, n in p.ints.items()}
    parts, work = (record.made(f"{name}.{field}", getattr(p, field)) for field in ("parts", "work"))
    return planning.Plan(p.spec, ints, parts, work)


class Regions:
    """Plans of products whose extents and strides are these numbers, ~i standing for the i-th of some that vary.

    What is computed for a kernel that serves all extents is a function of them, for each region of extents where what
    is decided on the way is the same."""

    __slots__ = ("device", "functions", "kinds", "last", "met", "numbers")

    def __init__(self, kinds: Any, numbers: tuple[int, ...]):
        self.kinds, self.numbers = kinds, numbers
        self.functions: dict[Any, list[Region]] = {}
        self.met: dict[Any, int] = {}
        self.device: Any = None  # and its threads
        self.last: Any = (None, None, None)  # that, and for which numbers the plan was asked for last

    def plan(self, *varied: int) -> planning.Plan:
        """As `again`, which this is for other numbers."""
        device = current()
        place = device.name, device.get_num_threads()
        where, of, found = self.last
        if varied == of and place == where:
            return found  # type: ignore[no-any-return]
        if place != self.device:
            self.functions, self.met, self.device = {}, {}, place
        made = self.of(varied, [varied[~x] if x < 0 else x for x in self.numbers])
        self.last = place, varied, made
        return made

    def of(self, varied: tuple[int, ...], numbers: list[int]) -> planning.Plan:
        """The plan for these numbers."""
        m, n, k, batch, *steps = numbers
        strides = Strides(*steps)
        if min(varied) < LEAST or len({*varied}) < len(varied):  # symbols are no less, and different
            return again(self.kinds, *numbers)
        kind = shared(self.kinds, m, n, k, batch, strides)
        if not kind[0] and (self.numbers[1] < 0 or not kind[1]):  # tiles are fitted to the columns
            return again(self.kinds, *numbers)
        known = self.functions.setdefault(kind, [])
        for at, region in enumerate(known):
            made = region.plan(varied)
            if made is not None:
                if at:
                    known.insert(0, known.pop(at))
                if region.proven < PROVEN:
                    exact = fitted(self.kinds, *kind, m, n, k, batch, strides)
                    if repr(exact) != repr(made):
                        self.functions[kind], self.met[kind] = [], -PLACES
                        return exact
                    region.proven += 1
                return made
        p = fitted(self.kinds, *kind, m, n, k, batch, strides)
        met = self.met[kind] = self.met.get(kind, 0) + 1
        if met >= WORTH * (1 + len(known)) and len(known) < MOST:
            known.insert(0, Region(self, kind, varied))
        return p


class Region:
    """The function of one region, and how often it was seen to give what planning gives."""

    __slots__ = ("function", "names", "proven", "spec")

    def __init__(self, regions: Regions, kind: tuple[bool, bool], varied: tuple[int, ...]):
        record = Record(varied)
        symbols = record.symbols
        m, n, k, batch, *steps = [symbols[~x] if x < 0 else x for x in regions.numbers]
        p = fitted(regions.kinds, *kind, m, n, k, batch, Strides(*steps))
        self.spec, self.names, self.proven = record.fixed(p.spec), tuple(p.ints), 0
        self.function = record.function([p.parts, p.work, *p.ints.values()])
        record.open = False

    def plan(self, varied: tuple[int, ...]) -> planning.Plan | None:
        """The plan for these numbers; None: they are not of this region."""
        found = self.function(*varied)
        if found is None:
            return None
        parts, work, *ints = found
        return planning.Plan(self.spec, dict(zip(self.names, ints)), parts, work)


def _abc(v: PVal, batch: int) -> tuple[int, int, int]:
    return (0 if v.shape[0] == 1 and batch != 1 else v.strides[0], v.strides[-2], v.strides[-1])
