"""The schedule "wide" of nest.py: reductions over rows of many columns, a tile of columns at a time.

Rows are read along the columns, in stretches that memory can run ahead of, into 16 accumulators for each column that
live in scratch: as many registers as there are do not hold them. Where an element costs little, the next rows of one
accumulator (r, r+16, r+32, r+48) are added in one go, so that it is loaded and stored once for all of them. The order
is that of every schedule.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..build import Buffer, Value, const, maximum, minimum, op, select
from ..ir import MATH1, MATH2, SIZE
from .accumulate import LANES, Lanes, fold_type, identity

if TYPE_CHECKING:
    from .nest import _Lower

SCRATCH = 48 << 10  # bytes that a tile may take
COLUMNS = 512  # the most columns of a tile
CACHE = 3 << 20  # bytes of a tile's elements that are near when they are wanted again,
STRETCH = 64  # if it has so many columns: rows of less take memory longer than they save
AHEAD, LINE = 2, 64  # rows that memory is asked for ahead; bytes of a cache line
TOGETHER, SIMPLE = 4, 8  # rows of one accumulator in one go, if an element has so few values


class Wide:
    """One kernel's tile: first column, number of columns, and scratch for what is known of each column."""

    def __init__(self, lower: _Lower):
        self.lower, self.b, self.nest, self.facts = lower, lower.b, lower.nest, lower.facts
        self.inner = self.nest.kept - 1
        each = 0
        for i, v in enumerate(self.nest.values):
            if v[0] == "reduce":
                each += SIZE[Lanes.types(v)[0]] * LANES + 16
            elif v[0] == "map" and self.facts.depth[i] == 1:
                each += SIZE[v[2]]
        self.width = max(LANES, min(COLUMNS, SCRATCH // each & -LANES))
        self.known: dict[int, Buffer] = {}  # depth 1: a value for each column
        self.totals: dict[int, Buffer] = {}
        self.lanes: dict[int, Buffer] = {}

    def scratch(self, type: str, rows: int = 1) -> Buffer:
        """A value of a type for each column of a tile (b1: a byte)."""
        return self.b.alloc("cols", "u8" if type == "b1" else type, rows * self.width, loose=True)

    def each_column(self, body: Any, *sources: int, done: int) -> None:
        """body(column within the tile) for all columns, in vectors; sources: what it needs, of passes up to `done`."""
        lower, b = self.lower, self.b
        before, based = dict(lower.base), lower.based
        with b.vfor("j", self.first, self.end, LANES) as j:
            lower.coords[self.inner] = j
            lower.scopes.append({})
            at = b.let(j - self.first, "at")
            for i in self.frontier(set(sources), done):
                lower.scopes[-1][i] = self.read(i, at)
            body(at)
            lower.scopes.pop()
        del lower.coords[self.inner]
        lower.base, lower.based = before, based

    def read(self, i: int, at: Value) -> Value:
        """A value of a column out of scratch."""
        value = self.b.let(self.known[i][at], "c")
        return self.b.let(value.ne(0)) if self.type_of(i) == "b1" else value

    def keep(self, i: int, at: Value, value: Value) -> None:
        """A value of a column into scratch."""
        self.b.store(self.known[i], at, value.cast("u8") if self.type_of(i) == "b1" else value)

    def type_of(self, i: int) -> str:
        """The type of a map or a reduction."""
        v = self.nest.values[i]
        return v[3] if v[0] == "reduce" else v[2]  # type: ignore[no-any-return]

    def frontier(self, wanted: set[int], done: int) -> list[int]:
        """The values kept in scratch that the wanted ones read first."""
        found, todo, seen = set(), list(wanted), set()
        while todo:
            i = todo.pop()
            if i in seen:
                continue
            seen.add(i)
            if i in self.known and self.ready(i, done):
                found.add(i)
                continue
            v = self.nest.values[i]
            todo.extend(v[3:] if v[0] == "map" else ())
        return sorted(found)

    def ready(self, i: int, done: int) -> bool:
        """Whether a value of a column is complete once the passes before `done` are."""
        v = self.nest.values[i]
        return self.facts.pass_[i] <= done if v[0] != "reduce" else self.facts.pass_[v[2]] < done

    # --- the schedule

    def allocate(self) -> None:
        """Scratch for what is known of each column."""
        for i, v in enumerate(self.nest.values):
            if v[0] == "reduce":
                self.known[i] = self.scratch(v[3])
                self.totals[i] = self.scratch(fold_type(v[1], Lanes.types(v)[0]))
            elif v[0] == "map" and self.facts.depth[i] == 1:
                self.known[i] = self.scratch(v[2])

    def body(self) -> None:
        """All tiles of this part's columns."""
        lower, b, nest = self.lower, self.b, self.nest
        self.allocate()
        for i, v in enumerate(nest.values):
            if v[0] == "reduce":
                self.lanes[i] = self.scratch(Lanes.types(v)[0], LANES)

        def inside() -> None:
            lower.hoist_bases()
            n = lower.extents[self.inner]
            lo, hi = b.partition(n, 64) if nest.split == "inner" else (const("i64", 0), n)
            step = self.step()
            with b.for_("tile", lo, hi, step) as first:
                self.first, self.end = first, b.let(minimum(first + step, hi), "end")
                for p in range(max(self.facts.pass_) + 1):
                    self.columns_of(p)
                    self.one_pass(p)
                self.store_columns()

        lower.outer(list(range(self.inner)), nest.split == "outer", inside)

    def step(self) -> Any:
        """Columns of a tile: if a later pass comes back to the elements, as many as a cache has kept until then; but
        where it would keep too few of them, all there is scratch for."""
        lower, nest = self.lower, self.nest
        later = range(1, max(self.facts.pass_) + 1)
        if not any(any(lower.work(p)) for p in later):
            return self.width
        sizes = [SIZE[a[0]] for a in nest.accesses if any(c != 0 for c in a[3][nest.kept :])]
        row: Value = const("i64", max(1, sum(sizes)))
        for n in lower.extents[nest.kept : nest.kept + nest.reduced]:
            row = self.b.let(maximum(n, 1) * row, "row")
        fit = self.b.let(const("i64", CACHE) // row // LANES * LANES, "fit")
        return self.b.let(select((fit < STRETCH) | (fit > self.width), self.width, fit), "step")

    def store_columns(self) -> None:
        """Write what is one value for all elements of a column."""
        stores = [(v, a) for v, a in self.nest.stores if self.facts.depth[v] < 2 and not self.lower.full(a)]
        self.each_column(lambda at: self.lower.put(stores), *(v for v, _ in stores), done=1 << 30)

    def columns_of(self, p: int) -> None:
        """Compute the maps of columns that pass p is the first to be able to."""
        mine = [
            i
            for i in self.known
            if self.nest.values[i][0] == "map" and self.facts.pass_[i] == p and self.facts.depth[i] == 1
        ]
        if not mine:
            return
        needed = {d for i in mine for d in self.nest.values[i][3:]} - set(mine)

        def body(at: Value) -> None:
            for i in self.frontier(needed, p):
                if i not in mine:
                    self.lower.scopes[-1][i] = self.read(i, at)
            for i in mine:
                self.keep(i, at, self.lower.get(i))

        self.each_column(body, done=p)

    def one_pass(self, p: int) -> None:
        """Walk the rows once: the reductions of pass p, and the stores that are ready in it."""
        lower = self.lower
        reduces, stores = lower.work(p)
        if not (reduces or stores or lower.stash_of(p)[1]):
            return
        for r in reduces:
            self.fill(self.totals[r], r, 1)

        def chunk(*bounds: Value) -> None:
            for r in reduces:
                self.fill(self.lanes[r], r, LANES)
            self.chunk(reduces, stores, p, bounds, (0, LANES))
            self.fold(reduces)

        lower.chunked(chunk)
        self.results(reduces)

    def chunk(
        self,
        reduces: list[int],
        stores: list[tuple[int, int]],
        p: int,
        bounds: tuple[Value, ...],
        which: tuple[Any, Any],
    ) -> None:
        """The rows of one chunk that belong to some of its accumulators (from, to)."""
        lower, b, nest = self.lower, self.b, self.nest
        (olo, ohi, lo, hi), (low, high) = bounds, which
        with b.for_("ro", olo, ohi) as o:
            lower.outer_reduced(o)
            rest, many = lo, together(lower, p) if reduces else 1
            if many > 1:
                rest = b.let(lo + (hi - lo) // (LANES * many) * (LANES * many), "rest")
                with b.for_("rs", lo, rest, LANES * many) as first, b.for_("l", low, high) as k:
                    rows = [b.let(first + k + i * LANES, "r") for i in range(many)]
                    self.rows(rows, b.let(self.place(k), "lane"), reduces, stores, p)
            with (
                b.for_("rs", rest, hi, LANES) as first,
                b.for_("l", low, b.let(minimum(hi - first, high), "some")) as k,
            ):
                self.rows([b.let(first + k, "r")], b.let(self.place(k), "lane"), reduces, stores, p)
            for a in range(nest.kept, nest.kept + nest.reduced - 1):
                del lower.coords[a]

    def place(self, k: Value) -> Value:
        """Where the accumulators of lane k begin."""
        return k * self.width

    def rows(
        self, rows: list[Value], lane: Value, reduces: list[int], stores: list[tuple[int, int]], p: int
    ) -> None:
        """These rows of one accumulator: their stores, and their share of each reduction."""
        lower, b, nest = self.lower, self.b, self.nest
        last, inner = nest.kept + nest.reduced - 1, nest.within + 1
        wanted = {nest.values[r][2] for r in reduces} | {v for v, _ in stores + lower.stash_of(p)[1]}
        before, based = dict(lower.base), lower.based
        places = []
        for row in rows:
            lower.base, lower.based = dict(before), based
            lower.enter(row)
            lower.hoist_bases()
            places.append((lower.base, {a: lower.coords[a] for a in range(last, last + inner)}))

        def body(at: Value) -> None:
            sums = {r: b.let(self.lanes[r][lane + at], "old") for r in reduces}
            sums = {r: b.let(x.ne(0)) if self.lane_type(r) == "b1" else x for r, x in sums.items()}
            for base, coords in places:
                lower.base = base
                lower.coords |= coords
                lower.scopes.append({})
                lower.element(reduces, stores, p)
                for r in reduces:
                    v = nest.values[r]
                    sums[r] = b.let(op(v[1], sums[r], lower.get(v[2]).cast(self.lane_type(r))))
                lower.scopes.pop()
            for r, x in sums.items():
                b.store(self.lanes[r], lane + at, x.cast("u8") if self.lane_type(r) == "b1" else x)

        if len(rows) == 1 and dear(lower, p):
            self.fetch(rows[0], wanted, stores + lower.stash_of(p)[1], p)
        self.each_column(body, *wanted, done=p)
        lower.base, lower.based = before, based
        lower.leave()

    def fetch(self, row: Value, wanted: set[int], stores: list[tuple[int, int]], p: int) -> None:
        """Ask for what this pass will read and write of a row some way ahead: rows lie far apart, and dear elements
        keep the processor from looking as far."""
        lower, b, nest = self.lower, self.b, self.nest
        reads = self.elements_read(wanted, p)
        writes = {access for _, access in stores}
        lower.enter(b.let(row + AHEAD, "ahead"))
        places = []
        for a in sorted(reads | writes):
            if nest.accesses[a][3][self.inner] == 1:
                places.append((a, b.let(lower.address(a, False), "f"), a in writes))
        if places:
            step = LINE // max(SIZE[nest.accesses[a][0]] for a, _, _ in places)
            with b.for_("q", self.first, self.end, step) as q:
                for a, at, write in places:
                    b.prefetch(lower.bufs[a], at + q, write)

    def elements_read(self, wanted: set[int], p: int) -> set[int]:
        """The accesses to elements that the wanted values are computed from in a pass."""
        kept = self.lower.stash_of(p)[0]
        found, todo, seen = set(), list(wanted), set()
        while todo:
            i = todo.pop()
            if i in seen or self.facts.depth[i] < 2:
                continue
            seen.add(i)
            v = self.nest.values[i]
            if i in kept:
                found.add(kept[i])
            elif v[0] == "load":
                found.add(v[1])
            elif v[0] == "map":
                todo.extend(v[3:])
        return found

    def fill(self, buffer: Buffer, r: int, rows: int) -> None:
        """Neutral elements."""
        b = self.b
        start = identity(self.nest.values[r][1], buffer.type if buffer.type != "u8" else self.lane_type(r))
        with b.vfor("f", 0, rows * self.width, LANES) as f:
            b.store(buffer, f, const(buffer.type, int(start) if type(start) is bool else start))

    def lane_type(self, r: int) -> str:
        """What a reduction accumulates in."""
        return Lanes.types(self.nest.values[r])[0]

    def fold(self, reduces: list[int]) -> None:
        """The tree over the lanes of each column, added to its total."""
        b = self.b

        def body(at: Value) -> None:
            for r in reduces:
                kind, lanes, total = self.nest.values[r][1], self.lanes[r], self.totals[r]
                flag = self.lane_type(r) == "b1"
                values = [b.let(lanes[self.place(const("i64", k)) + at]) for k in range(LANES)]
                values = [b.let(x.ne(0)) for x in values] if flag else values
                step = LANES // 2
                while step:
                    values = [b.let(op(kind, values[i], values[i + step])) for i in range(step)]
                    step //= 2
                if flag:
                    b.store(total, at, op(kind, b.let(total[at]).ne(0), values[0]).cast("u8"))
                else:
                    b.store(total, at, op(kind, b.let(total[at]), values[0].cast(total.type)))

        self.each_column(body, done=-1)

    def results(self, reduces: list[int]) -> None:
        """The totals in the types of the results."""

        def body(at: Value) -> None:
            for r in reduces:
                total = self.b.let(self.totals[r][at], "total")
                if self.lane_type(r) == "b1":
                    total = self.b.let(total.ne(0))
                self.keep(
                    r, at, self.b.let(total.cast(self.lane_type(r)).cast(self.nest.values[r][3]), "sum")
                )

        self.each_column(body, done=-1)


class Shared(Wide):
    """One pass over many rows of few columns: parts share the accumulators of all chunks, and with them the rows; the
    epilogue folds what they came to. The accumulators are the kernel's, row by row of columns."""

    start: Value  # the first accumulator of the present chunk

    def body(self) -> None:
        """This part's accumulators, and the epilogue."""
        lower, b = self.lower, self.b
        reduces, stores = lower.work(0)
        self.lanes = {r: lower.partial[r][0] for r in reduces}
        count, bounds = lower.chunk_bounds()
        lo, hi = b.partition(count * LANES)
        self.allocate()
        with self.tiles():
            self.columns_of(0)
            with b.for_("q", lo // LANES, (hi + (LANES - 1)) // LANES) as q:
                self.start = b.let(q * LANES, "start")
                low = b.let(maximum(lo - self.start, 0), "low")
                high = b.let(minimum(hi - self.start, LANES), "high")
                self.clear(reduces, low, high)
                self.chunk(reduces, stores, 0, bounds(q), (low, high))
        with b.epilogue():
            lower.scopes, lower.coords, lower.base, lower.based = [{}], {}, {}, set()
            count, _ = lower.chunk_bounds()
            self.allocate()
            with self.tiles():
                for r in reduces:
                    self.fill(self.totals[r], r, 1)
                self.columns_of(0)
                with b.for_("q", 0, count) as q:
                    self.start = b.let(q * LANES, "start")
                    self.fold(reduces)
                self.results(reduces)
                for p in range(1, max(self.facts.pass_) + 1):
                    self.columns_of(p)
                self.store_columns()

    @contextmanager
    def tiles(self) -> Iterator[None]:
        """The loop over tiles of columns."""
        lower, b = self.lower, self.b
        lower.hoist_bases()
        n = lower.extents[self.inner]
        with b.for_("tile", 0, n, self.width) as self.first:
            self.end = b.let(minimum(self.first + self.width, n), "end")
            yield

    def place(self, k: Value) -> Value:
        """Where the accumulators of lane k begin, for this tile."""
        return (self.start + k) * self.lower.extents[self.inner] + self.first

    def clear(self, reduces: list[int], low: Value, high: Value) -> None:
        """Neutral elements into these accumulators."""
        b = self.b
        with b.for_("l", low, high) as k, b.vfor("f", 0, b.let(self.end - self.first, "some"), LANES) as f:
            for r in reduces:
                type = self.lane_type(r)
                b.store(self.lanes[r], self.place(k) + f, const(type, identity(self.nest.values[r][1], type)))


def together(lower: _Lower, p: int) -> int:
    """How many rows pass p adds to one accumulator in one go."""
    return 1 if dear(lower, p) or len(elements(lower, p)) > SIMPLE else TOGETHER


def elements(lower: _Lower, p: int) -> list[tuple[Any, ...]]:
    """The values of elements in pass p."""
    facts = lower.facts
    values = enumerate(lower.nest.values)
    return [v for i, v in values if facts.depth[i] == 2 and facts.pass_[i] == p]


def dear(lower: _Lower, p: int) -> bool:
    """Whether pass p has a mathematical function for each element."""
    return any(v[0] == "map" and (v[1] in MATH1 or v[1] in MATH2) for v in elements(lower, p))
