"""Which contraction kernel for which problem: a small cost model over layouts, extents and the target's registers.

p = plan(m, n, k, batch, Strides(...), "f32", target, threads=2)
kernel = build(p.spec)                      # cache it under p.spec (and what identifies the epilogue)
bind p.ints[name] to every `Int` of kernel.params; give "work" p.parts * p.work bytes; run with nt = p.parts
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple, Protocol

from ..build import Builder
from ..ir import SIZE, Kernel
from .contraction import KC, Emit, Epilogue, Made, Spec, accumulator, ceil_div, fixed_ints, round_up
from .gemv import CHUNK, rows_kernel, stream_kernel
from .matmul import gemm
from .packing import SPARE
from .panels import a_pitch


class Vectors(Protocol):
    """What a target must tell: the bits of a vector register, LLVM's triple, bytes of the three caches (of data; the
    last as far as one thread may count on it), and whether it has products of pairs of bfloat16."""

    vector_bits: int
    triple: str
    caches: tuple[int, int, int]
    bf16: bool


class Strides(NamedTuple):
    """Strides in elements: A[b,i,k], B[b,k,j], C[b,i,j]. A batch may be a pair, the second of `bn`: then A's element is
    at (b // bn)*ab + (b % bn)*ab2. Columns of B may lie in rows of `bw`, `bh` apart (0: they do not)."""

    ab: int
    ai: int
    ak: int
    bb: int
    bk: int
    bj: int
    cb: int
    ci: int
    cj: int
    bn: int = 1
    ab2: int = 0
    bb2: int = 0
    bw: int = 1
    bh: int = 0

    def swapped(self) -> Strides:
        """Those of the transposed problem C'[b,j,i] = sum_k B'[b,j,k] A'[b,k,i]."""
        a, b, c = (self.ab, self.ak, self.ai), (self.bb, self.bj, self.bk), (self.cb, self.cj, self.ci)
        return Strides(*b, *a, *c, self.bn, self.bb2, self.ab2)


class Plan(NamedTuple):
    """A kernel's key, the run-time integers by name, how many parts, and bytes of workspace for each part."""

    spec: Spec
    ints: dict[str, int]
    parts: int
    work: int


def registers(target: Vectors) -> int:
    """Vector registers of the target."""
    return 32 if target.vector_bits == 512 or target.triple.startswith(("aarch64", "arm64")) else 16


def plan(
    m: int,
    n: int,
    k: int,
    batch: int,
    strides: Strides,
    dtype: str,
    target: Vectors,
    threads: int = 1,
    out: str = "",
    plain: bool = True,
    generic: bool = False,
    staged: bool = False,
    joined: bool = False,
    made: str = "",
    tall: bool = False,
) -> Plan:
    """The plan of a contraction. plain: the epilogue is the plain store; staged: it is long. generic: one kernel for
    all extents (the caller has seen several sizes at this place); without it the tile is fitted to m, and small tiles
    are exact. tall: likewise one kernel for any number of rows, of which there are many: its tile is that of a matrix
    without end. joined: see Spec; B and C have contiguous rows, of a vector tile's columns at least. made: the
    operands, of "ab", that are computed."""
    if joined:
        strides = strides._replace(bn=n)
        n, batch = n * batch, 1
    swap = m > 1 and n == 1
    if not generic and not joined:
        swap = swap or _swap(m, n, strides, target.vector_bits // 8 // SIZE[accumulator(dtype)])
    if swap:
        m, n, strides = n, m, strides.swapped()
        made = made.translate(OTHER)
    pairs = dtype == "bf16" and target.bf16 and not joined and _pairs(m, n, k, strides)
    a, b, c = layouts(m, n, k, strides)
    whole = joined or pairs or (generic and m > 1)
    kind = "gemm" if whole else _kind(m, n, k, b, dtype, target)
    make = {"gemm": _gemm, "rows": _rows, "stream": _stream}[kind]
    b = "any" if strides.bh else b
    if pairs:
        k, strides = k // 2, _words(strides, a, b)
    ints = {"batch": batch, "m": m, "n": n, "k": k} | strides._asdict()
    spec = Spec(
        kind,
        dtype,
        out or dtype,
        1,
        1,
        a,
        b,
        c,
        batched=batch > 1,
        swap=swap,
        staged=staged,
        paired=strides.bn > 1 and not joined,
        joined=joined,
        spread=strides.bh > 0,
        pairs=pairs,
        made=made,
    )
    if tall and make is _gemm and not swap:
        return _gemm(spec, ints, target, threads, plain, generic, ENDLESS)
    return make(spec, ints, target, threads, plain, generic)


def build(
    spec: Spec, epilogue: Epilogue | None = None, name: str = "matmul", made: dict[str, Made] | None = None
) -> Kernel:
    """The kernel of a spec. Its buffers: a, b, c (without an epilogue), work (if it needs one), then the epilogue's.
    made: what computes operands of the problem as it is given."""
    if spec.swap and epilogue is not None:
        epilogue = _swapped(epilogue)
    return {"gemm": gemm, "rows": rows_kernel, "stream": stream_kernel}[spec.kind](spec, epilogue, name, made)


def _swapped(epilogue: Epilogue) -> Epilogue:
    def prepare(b: Builder) -> Emit:
        emit = epilogue(b)
        return lambda acc, batch, row, col: emit(acc, batch, col, row)

    return prepare


def layouts(m: int, n: int, k: int, s: Strides) -> tuple[str, str, str]:
    """Layout class of A, B and C."""
    a = "row" if s.ak == 1 or k <= 1 else "col" if s.ai == 1 or m == 1 else "any"
    b = "row" if s.bj == 1 or n == 1 else "col" if s.bk == 1 or k <= 1 else "any"
    return a, b, "row" if s.cj == 1 or n == 1 else "any"


def _swap(m: int, n: int, s: Strides, vector: int) -> bool:
    return m > 1 and n <= vector // 2 and m >= vector and (s.ak == 1 or s.ai == 1) and m > 2 * n


def _pairs(m: int, n: int, k: int, s: Strides) -> bool:
    """Whether a product of bfloat16 takes the steps of k in pairs: what is contiguous along k is read by words."""
    a, b, _ = layouts(m, n, k, s)
    few = FEW_ROWS - 1 if b == "col" and n * k >= HEAVY else FEW_ROWS
    if k % 2 or m <= few or n < PAIRED or k < PAIRED or "any" in (a, b) or s.bh:
        return False
    by_words = [*((s.ai, s.ab, s.ab2) if a == "row" else ()), *((s.bj, s.bb, s.bb2) if b == "col" else ())]
    return not any(step % 2 for step in by_words)


def _words(s: Strides, a: str, b: str) -> Strides:
    """The strides from pair to pair along k, of words in what is read by words."""
    if a == "row":
        s = s._replace(ai=s.ai // 2, ab=s.ab // 2, ab2=s.ab2 // 2)
    else:
        s = s._replace(ak=s.ak * 2)
    if b == "col":
        return s._replace(bj=s.bj // 2, bb=s.bb // 2, bb2=s.bb2 // 2)
    return s._replace(bk=s.bk * 2)


def _kind(m: int, n: int, k: int, b: str, dtype: str, target: Vectors) -> str:
    vector = target.vector_bits // 8 // SIZE[accumulator(dtype)]
    if b == "col" and m <= (8 if registers(target) == 32 else 4) and n >= vector and k >= vector:
        return "rows"
    if b == "row" and m <= 2 and n >= 2 * vector and k > 1 and k * n * SIZE[dtype] > 64 * 1024:
        return "stream"
    return "gemm"


def _rows(
    spec: Spec, ints: dict[str, int], target: Vectors, threads: int, plain: bool, generic: bool
) -> Plan:
    block = _vector(spec, target)
    page = ints["bj"] * SIZE[spec.dtype] % 4096 == 0  # such rows share a place in the cache
    groups = 2 if ints["m"] == 1 and ints["n"] >= 2 * block and (SIZE[spec.dtype] > 4 or not page) else 1
    spec = spec._replace(rows=ints["m"], block=block, lanes=groups * block, blocks=True)
    blocks = ints["batch"] * ceil_div(ints["n"], spec.lanes)
    return Plan(spec, _unused(ints), _parts(ints, threads, blocks), 0)


def _stream(
    spec: Spec, ints: dict[str, int], target: Vectors, threads: int, plain: bool, generic: bool
) -> Plan:
    lanes = 2 * _vector(spec, target)
    spec = spec._replace(rows=ints["m"], lanes=lanes, blocks=True)
    width = CHUNK // ints["m"] // lanes * lanes
    parts = _parts(ints, threads, max(1, ints["batch"] * ints["n"] // lanes))
    chunks = max(ceil_div(parts, ints["batch"]), ceil_div(ints["n"], width))
    nc = min(width, round_up(ceil_div(ints["n"], chunks), lanes))
    return Plan(spec, _unused(ints) | {"nc": nc}, parts, 0)


def _unused(ints: dict[str, int]) -> dict[str, int]:
    return ints | {"gr": 1, "gc": 1, "nc": 0, "mp": 0, "ws": 0, "wp": 0, "wa": 0, "wt": 0, "kg": KC}


def _vector(spec: Spec, target: Vectors) -> int:
    return target.vector_bits // 8 // SIZE[spec.acc]


def _parts(ints: dict[str, int], threads: int, units: int, tile: int = 0) -> int:
    """How many parts are worth it: about 2**15 multiply-adds (a microsecond of a core for small problems) each. tile:
    elements of the result that a unit computes, whether they exist or not."""
    results = units * tile if tile else ints["batch"] * ints["m"] * ints["n"]
    return max(1, min(threads, units, results * max(ints["k"], 1) >> 15))


OTHER = str.maketrans("ab", "ba")
PAIRED = 16  # columns and k steps from which a product of bfloat16 is worth packing by pairs
FEW_ROWS = 4  # rows up to which it is not; one less where B is transposed and large
HEAVY = 1 << 16  # elements of such a B
GROUP = 3  # k blocks at most whose sums stay in scratch
LITTLE = 1 << 20  # bytes of a block of B where memory is scarce
KEPT = 512  # columns at a time where sums are kept in the workspace between k blocks
FLOPS_A_LOAD = 16  # multiply-adds in the time that packing an element takes
PACK_ROWS = 0.5  # that time where A is packed out of rows
SEAM = 100  # that time where two threads write one row: what is brought near for one of them runs into the other's
VAST = 6  # times the second cache: results that are out of it when they are written
WIDE = 512  # columns from which on packing A costs nothing to speak of
FAR = 1 << 31  # bytes that the k steps of a panel of A span, times columns squared, from which A is packed
LARGE, SEVERAL = (
    1 << 20,
    256,
)  # elements of B, and rows up to it, for which there are two kernels for any rows
LOW = 8  # rows of a tile of the second one
ENDLESS = 1 << 20  # rows of a matrix without end
NARROW = 2  # vectors of a tile of few rows that waits for memory
LOWER = 7  # a tile may lack one of so many rows that it could have, where C is higher than
MANY = 8  # of them
TILES = {32: ((14, 2), (24, 1), (6, 4)), 16: ((6, 2), (12, 1), (3, 4))}


def tile(
    m: int,
    n: int,
    vector: int,
    regs: int,
    generic: bool,
    product: bool = False,
    most: int = 24,
    large: bool = False,
) -> tuple[int, int]:
    """(rows, vectors) of the register tile that wastes the least work. product: the last columns have a narrower one,
    and many tiles may be a little lower than they could be. most: rows it may have. large: one kernel for any number of
    rows is one of two, the time of a call is worth that."""
    if generic:
        top, nv = TILES[regs][0]
        fits = {
            r: ceil_div(m, r) * _step(r, nv, regs) for r in ((top, LOW) if large and top > LOW else (top,))
        }
        return min(fits, key=fits.__getitem__), nv
    best, choice = 0.0, (1, 1)
    for top, nv in TILES[regs]:
        last = tail_lanes(n, nv * vector, vector) // vector if product else 0
        whole = n // (nv * vector) if last else ceil_div(n, nv * vector)
        high = min(top, most)
        rows = [ceil_div(m, ceil_div(m, high))]
        rows += range(high - 1, high - high // LOWER - 1, -1) if product and m > MANY * high else ()
        costs = [
            ceil_div(m, r) * (whole * _step(r, nv, regs) + bool(last) * _step(r, last, regs)) for r in rows
        ]
        least = min(range(len(rows)), key=lambda i: costs[i] * (1.005 if i else 1))
        if not best or costs[least] < best * 0.97:
            best, choice = costs[least], (rows[least], nv)
    return choice


known_tile = lru_cache(1 << 12)(tile)


def _step(rows: int, nv: int, regs: int) -> float:
    """The cost of a k step of a tile: two multiply-adds and two loads at a time, and no less than a chain takes. Where
    the registers do not hold what a step needs, sums wait in memory."""
    loads = rows + nv if (rows + 1) * nv < regs else 2 * rows * nv
    return max(rows * nv, loads, 8) + 0.5


def tail_lanes(n: int, lanes: int, vector: int) -> int:
    """Lanes of the tile of the last columns: the fewest vectors that hold them, a power of two of them."""
    left = n % lanes
    return min(lanes, vector << (ceil_div(left, vector) - 1).bit_length()) if left else 0


def even_rows(m: int, rows: int, groups: int) -> int:
    """Rows of a tile, `rows` or a few less, such that the largest share of a group has the least of them: a panel is
    counted with all rows of a tile, and a quarter of a row for what it takes besides."""
    least = max(1, rows - 3) if ceil_div(m, rows) >= 4 * groups else 1
    shares = {r: ceil_div(ceil_div(m, r), groups) * (4 * r + 1) for r in range(rows, least - 1, -1)}
    best = min(shares, key=shares.__getitem__)
    return best if shares[best] * 50 < shares[rows] * 49 else rows


def _distance(spec: Spec, ints: dict[str, int], target: Vectors, generic: bool) -> str:
    """`Spec.far` of a product."""
    matrix, second = ints["m"] * ints["n"] * SIZE[spec.out], target.caches[1]
    if not generic and spec.c == "row" and ints["batch"] * matrix > VAST * second:
        return "vast"
    return "far" if generic or matrix > second // 4 else ""


def _register_tile(
    spec: Spec, ints: dict[str, int], vector: int, target: Vectors, generic: bool, least: int
) -> tuple[int, int]:
    m, n = max(ints["m"], least), ints["n"]
    large = n * ints["k"] >= LARGE and m <= SEVERAL
    find = known_tile if type(n) is type(m) is int else tile  # of symbols the comparisons count
    rows, nv = find(m, n, vector, registers(target), generic, product=True, large=large)
    if spec.pairs and spec.b == "col" and rows * NARROW < vector and not generic:
        nv = min(nv, NARROW)  # what is read along k is packed while the lines of few columns are near
    return rows, nv


def _gemm(
    spec: Spec,
    ints: dict[str, int],
    target: Vectors,
    threads: int,
    plain: bool,
    generic: bool,
    least: int = 0,
) -> Plan:
    """least: the tile is that of so many rows, if there are fewer, and not fitted to their number."""
    m, n, k, size = ints["m"], ints["n"], ints["k"], SIZE[spec.acc]
    vector = _vector(spec, target)
    rows, nv = _register_tile(spec, ints, vector, target, generic, least)
    wide = lanes = nv * vector
    if not generic and 0 < n < lanes:
        lanes = tail_lanes(n, lanes, vector)
    narrow, far = "maybe", _distance(spec, ints, target, generic)
    if generic and spec.a != "col":
        pack_a, pack_b = True, spec.b != "row"
    else:
        pack_a, pack_b = _packing(spec, ints, size, lanes == vector)
        pack_b = spec.b != "row" if generic else pack_b
    # stores of a tile wait for lines, and with them addresses of rows that have no register
    pack_a = pack_a or (far == "vast" and spec.a == "row" and n >= WIDE and m > 1)
    pack_a, pack_b = pack_a or spec.pairs or "a" in spec.made, pack_b or spec.pairs or "b" in spec.made
    pack_b = pack_b or (spec.joined and not generic)
    if not generic:
        a_thin, b_thin = m < vector or k < vector, n < vector or k < vector
        narrow = "a" * (spec.a == "row" and pack_a and a_thin) + "b" * (spec.b == "col" and pack_b and b_thin)
    unroll = 1 if pack_a or rows * nv >= 12 else 2 if rows * nv >= 6 else 4
    if pack_b:  # a step has a prefetch, too
        unroll = 1 if rows * nv >= 16 else 4
    spec = spec._replace(
        kind="gemm",
        rows=rows,
        lanes=lanes,
        block=vector,
        narrow=narrow,
        pack_a=pack_a,
        pack_b=pack_b,
        blocks=generic or k > spec.kc,
        groups=generic or k > spec.kc,
        deep=pack_b and (generic or k > spec.kc),
        tail=lanes,
        far=far,
        unroll=unroll,
    )
    parts = _parts(ints, threads, ints["batch"] * ceil_div(m, rows) * ceil_div(n, lanes), rows * wide)

    def rows_of(groups: int) -> int:
        return rows if generic or least else even_rows(m, rows, groups)

    gr, gc = _grid(spec, ints, parts, registers(target), rows_of)
    if rows_of(gr) != rows:
        spec = spec._replace(rows=rows_of(gr))
    ints = blocking(spec, ints | {"gr": gr, "gc": gc}, target, plain)
    if not generic:
        spec = _fitted(spec, ints, vector, bool(least))
    work = max(
        ints["ws"], int(spec.works(plain and spec.out == spec.acc))
    )  # a kernel for any k may not need its own
    return Plan(spec, ints, parts, work * size)


def _fitted(spec: Spec, ints: dict[str, int], vector: int, tall: bool) -> Spec:
    """A kernel for these columns and steps of k, and, unless it is tall, rows."""
    n = ints["n"]
    single = ints["gr"] == ints["gc"] == 1 and n <= ints["nc"]
    groups = spec.blocks and ints["k"] > ints["kg"]
    one_b = spec.batched and spec.pack_b and ints["bb"] == ints["bb2"] == 0
    return spec._replace(
        even=not tall and ints["m"] % spec.rows == 0,
        tail=tail_lanes(n, spec.lanes, vector),
        thin=0 < n < spec.lanes,
        single=single,
        groups=groups,
        shared=one_b and single and not groups,
    )


def tight(p: Plan, target: Vectors, plain: bool) -> Plan:
    """The same kernel with blocks of B that take little memory, if its columns may be cut: some 3% more time."""
    if p.spec.kind != "gemm" or p.spec.single or not p.spec.pack_b:
        return p
    ints = blocking(p.spec, p.ints, target, plain, LITTLE)
    return p._replace(ints=ints, work=min(p.work, ints["ws"] * SIZE[p.spec.acc]))


def blocking(
    spec: Spec, ints: dict[str, int], target: Vectors, plain: bool = True, block: int = 4 << 20
) -> dict[str, int]:
    """`ints` with the blocks of columns and rows that the target's caches hold, and where they lie in the workspace.

    A block of A takes an eighth of the second cache, beside what is packed next and two panels of B, one of B an eighth
    of the last, at most `block` bytes. Where one of B fits the second, the panels of A pass one by one. The k blocks of
    a small weight's gradient (A is transposed, its sums stay in the second cache) come one at a time: less is packed at
    once."""
    m, n, size, rows, lanes = ints["m"], ints["n"], SIZE[spec.acc], spec.rows, spec.lanes
    _, second, last = target.caches
    columns, panels = ceil_div(ceil_div(n, lanes), ints["gc"]), ceil_div(ceil_div(m, rows), ints["gr"])
    near = spec.a == "col" and spec.pack_a and columns * lanes * panels * rows * size <= second
    kg = balanced(ceil_div(ints["k"], spec.kc), 1 if near else GROUP) * spec.kc if spec.deep else spec.kc
    depth, pitch = min(ints["k"], kg), a_pitch(spec) if spec.pack_a else rows
    keeps = spec.blocks and ints["k"] > kg and not (plain and spec.out == spec.acc)
    most = min(last // 8, block) // (depth * lanes * size or 1)
    nc = balanced(columns, min(most, KEPT // lanes) if keeps else most) * lanes
    mp = balanced(panels, second // 8 // (depth * pitch * size or 1))
    if spec.pack_a and nc * depth * size <= second // 4:
        mp = 1
    packed_b = nc * (depth + SPARE) if spec.pack_b else 0
    packed_a = mp * (depth + SPARE) * pitch + SPARE if spec.pack_a else 0
    kept = panels * rows * nc if keeps else 0
    line = 64 // size  # vectors of B's panels and of sums do not lie across two lines
    wp = round_up(packed_b + packed_a, line)
    wt = round_up(wp + kept, line)
    ws = round_up(wt + (mp * rows * lanes if spec.deep else 0), line)
    return ints | {"nc": nc, "mp": mp, "kg": kg, "wa": packed_b, "wp": wp, "wt": wt, "ws": ws}


def balanced(count: int, most: int) -> int:
    """How many of `count` at a time, at most `most`, such that the pieces are about equal."""
    return ceil_div(count, ceil_div(count, max(most, 1))) if count else 1


def _packing(spec: Spec, ints: dict[str, int], size: int, tall: bool) -> tuple[bool, bool]:
    """Whether A and B are packed. tall: a tile has one vector of columns and many rows."""
    m, n, k = ints["m"], ints["n"], ints["k"]
    big_b = (m > 64 and k * n * size > 256 * 1024) or (
        m > 28 and n * k > 16384 and ints["bk"] * size % 1024 == 0
    )
    pack_b = spec.b != "row" or big_b
    if spec.a == "row":
        pack_a = n > 64 and (ints["ai"] * size % 1024 == 0 or k * m > 65536)
    elif spec.a == "col":  # the steps of a panel lie far apart, and come again for each column of tiles
        far = min(k, KC) * ints["ak"] * size
        pack_a = n > 256 or n * n * far >= FAR or (tall and n * size > 64)
    else:
        pack_a = n > 32
    return pack_a and m > 1, pack_b


def _grid(
    spec: Spec, ints: dict[str, int], parts: int, regs: int, rows_of: Callable[[int], int]
) -> tuple[int, int]:
    """(row groups, column groups) of one batch: the largest share of a part, what the parts pack several times, and the
    ends of columns. rows_of: the rows of a tile where there are so many groups of rows."""
    m, n, k, nv = ints["m"], ints["n"], ints["k"], spec.lanes // spec.block
    if parts == 1 or ints["batch"] >= 2 * parts or ints["batch"] % parts == 0:
        return 1, 1
    best, choice = 0.0, (1, parts)
    for gr in range(1, parts + 1):
        gc, rows = parts // gr, rows_of(gr)
        if gr * gc != parts:
            continue
        high, wide = ceil_div(ceil_div(m, rows), gr), ceil_div(ceil_div(n, spec.lanes), gc)
        cost = high * wide * _step(rows, nv, regs) * spec.block * k / FLOPS_A_LOAD
        cost += k * high * rows * spec.pack_a * (PACK_ROWS if spec.a == "row" else 1)
        cost += k * wide * spec.lanes * spec.pack_b + (SEAM * high * rows if gc > 1 else 0)
        if not best or cost < best:
            best, choice = cost, (gr, gc)
    return choice


def args(kernel: Kernel, p: Plan) -> list[tuple[str, int | None]]:
    """(name, value) of every parameter of a kernel of this plan; None for buffers."""
    known = p.ints | fixed_ints(p.spec)
    return [(param.name, known.get(param.name)) for param in kernel.params]
