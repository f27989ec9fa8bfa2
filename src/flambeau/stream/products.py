"""How a product of matrices is computed: the plan of its kernel."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from ..loop.recipes import planning
from ..loop.recipes.planning import Strides
from ..symbols import Record, record_of
from .backend import current
from .nodes import PVal

SEEN: dict[Any, set[int]] = {}  # layouts and what stays of the extents -> the numbers of rows met there
PLANS: dict[Any, planning.Plan] = {}  # of late, see `again`
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
    dtype, out, plain, staged, made, generic = kinds
    device, strides, tall = current(), Strides(*steps), False
    if generic is None:
        layout = (dtype, planning.layouts(m, n, k, strides), batch > 1, strides.bn > 1)
        generic, tall = several_rows(layout, m, n, k, batch), many_rows(layout, m, n, k)
    make = partial(
        planning.plan,
        n=n,
        k=k,
        batch=batch,
        strides=strides,
        dtype=dtype,
        target=device.target(),
        threads=device.get_num_threads(),
        plain=plain,
        generic=generic,
        out=out,
        staged=staged,
        made=made,
        tall=tall,
    )
    if batch != 1 or m == 1 or n * k >= planning.LARGE or not (generic or tall):
        return make(m)
    steps_within = steps[1:3], steps[4:6], steps[7:]
    place = device.name, device.get_num_threads(), kinds, generic, tall, n, k, steps_within
    return of_panels(place, m, strides, make)


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
    name = record.called(partial(again, kinds), numbers, p)
    record.same(f"{name}.spec", p.spec)
    ints = {key: record.made(f"{name}.ints[{key!r}]", n) for key, n in p.ints.items()}
    parts, work = (record.made(f"{name}.{field}", getattr(p, field)) for field in ("parts", "work"))
    return planning.Plan(p.spec, ints, parts, work)


def _abc(v: PVal, batch: int) -> tuple[int, int, int]:
    return (0 if v.shape[0] == 1 and batch != 1 else v.strides[0], v.strides[-2], v.strides[-1])
