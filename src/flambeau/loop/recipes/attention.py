"""Attention in tiles: softmax(Q K^T scale + mask) V without the matrix of scores.

Vector lanes run over query rows (forward) or over keys (backward), so softmax needs no horizontal steps and K and V
are read where they lie, one broadcast element at a time:

    forward: for each panel of queries           backward: for each panel of keys
      pack Q^T scale                               pack K^T scale, V^T
      for each block of 96 keys                    for each block of 48 queries
        S^T = K Q^T; running maximum, P^T            S = Q K^T; P = exp(S - lse); dS = P (dO V^T - delta) scale
        O^T = O^T alpha + V^T P^T                    dV^T += dO^T P; dK^T += Q^T dS; dQ += dS K
      O = O^T / sum; lse = max + log(sum)          store dK, dV

Every row (of a result) is a chain of its own over blocks whose length is fixed here: tiles and parts never change a
bit. Units of the backward are a head of keys and a segment of the queries (all of them unless heads are few), so that
dQ is summed in the order of the keys; each segment has gradients of K and V of its own, which the op adds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from ..build import Buffer, Builder, Register, Value, const, fma, maximum, minimum, op, select
from ..ir import Kernel

KEYS = 96  # keys a block of the forward pass takes: part of the definition of its result
QUERIES = 48  # the same for the queries of the backward pass
SHARED = 512  # bytes of a row of all panels of a backward unit: dQ is summed over so many keys at a time
PANELS = 4  # panels of a forward unit: they share what is read of K and V
INFINITY = float("inf")
MORE = {"forward": (), "backward": ("segments", "queries", "dk_s", "dv_s")}  # parameters of one kind

Row = Callable[[int], Value]


class Spec(NamedTuple):
    """What identifies a kernel. d, e: length of a key and of a value. mask: "", "b1" or the dtype of numbers to add;
    dropped: whether weights that are not `kept` are 0 (the caller scales the others: all of them alike);
    unit: which of q, k, v (and grad) have stride 1 along their last dimension."""

    kind: str
    dtype: str
    rows: int
    lanes: int
    d: int
    e: int
    mask: str
    causal: bool
    dropped: bool
    panels: int
    unit: tuple[bool, ...]


def work(spec: Spec) -> int:
    """Elements of scratch for each part."""
    n, p, size = spec.lanes, spec.panels, spec.d + spec.e
    if spec.kind == "forward":
        return n * (p * (size + 3) + KEYS)
    return n * p * (2 * size + 2 * QUERIES)


def kernel(spec: Spec) -> Kernel:
    """The kernel of a spec."""
    return _Forward(spec).kernel() if spec.kind == "forward" else _Backward(spec).kernel()


class _Tiles:
    """Parameters and the product of a tile, which both directions share."""

    batch: Value  # of the unit under way

    def __init__(self, spec: Spec, read: Sequence[str], written: Sequence[str]):
        self.spec, self.b = spec, Builder(f"attention_{spec.kind}")
        b = self.b
        self.bufs = {name: b.buf(name, spec.dtype) for name in read}
        if spec.mask:
            self.bufs["mask"] = b.buf("mask", spec.mask)
        if spec.dropped:
            self.bufs["kept"] = b.buf("kept", "b1")
        self.bufs |= {name: b.buf(name, spec.dtype, "rw" if name == "dq" else "w") for name in written}
        self.work = b.buf("work", spec.dtype, "rw")
        names = ["batch", "heads", "group", "length", "source", "scale", "ws", *MORE[spec.kind]]
        for name in self.bufs:
            names += [name + axis for axis in ("_b", "_h", "_l", "_d")]
        fixed = {f"{name}_d" for name, one in zip(("q", "k", "v", "grad"), spec.unit) if one}
        fixed |= {name + "_d" for name in ("out", "dq", "dk", "dv") if name in written} | {"kept_d"}
        self.ints = {n: const("i64", 1) if n in fixed else b.integer(n) for n in names}
        self.scale = b.let(self.ints["scale"].bitcast("f64").cast(spec.dtype), "factor")
        self.w0 = b.let(b.tid * self["ws"], "w0")

    def __getitem__(self, name: str) -> Value:
        return self.ints[name]

    def kept(self, weight: Value, query: Value, key: Value) -> Value:
        """A weight, or 0 where it is dropped."""
        if not self.spec.dropped:
            return weight
        kept = self.bufs["kept"][self.kept0 + query * self["kept_l"] + key * self["kept_d"]]
        return select(kept, weight, const(self.spec.dtype, 0))

    def head(self, name: str, batch: Value, head: Value) -> Value:
        """Where a head begins."""
        return self.b.let(batch * self[name + "_b"] + head * self[name + "_h"], name)

    def places(self, head: Value) -> None:
        """Where the masks of a head of queries begin."""
        spec, none = self.spec, const("i64", 0)
        self.mask0 = self.head("mask", self.batch, head) if spec.mask else none
        self.kept0 = self.head("kept", self.batch, head) if spec.dropped else none

    def pack(
        self, name: str, base: Value, first: Value, count: Value, size: int, at: Value, scale: bool
    ) -> None:
        """work[at + d*lanes + x] = source[base, first + x, d] (times scale); missing lanes repeat the last."""
        b, lanes = self.b, self.spec.lanes
        src = self.bufs[name]
        with b.for_("dd", 0, size) as dd, b.vfor("x", 0, lanes, lanes, full=True) as x:
            value = src[base + minimum(first + x, count - 1) * self[name + "_l"] + dd * self[name + "_d"]]
            self.work[at + dd * lanes + x] = value * self.scale if scale else value

    def zero(self, at: Value, count: int) -> None:
        """`count` vectors of zeros from `at` on."""
        b, lanes = self.b, self.spec.lanes
        with b.for_("z", 0, count) as z, b.vfor("x", 0, lanes, lanes, full=True) as x:
            self.work[at + z * lanes + x] = const(self.spec.dtype, 0)

    def product(
        self, a: Buffer, row: Row, step: Value, other: Buffer, base: Value, pitch: Value, count: Value, rows: int,
        cols: int = 0, lane: Value | None = None,
    ) -> list[Register]:  # fmt: skip
        """acc[r][x] = sum over k < count of a[row(r) + k*step] * other[base + k*pitch + x*lane]."""
        b, lanes = self.b, self.spec.lanes
        acc = [b.reg("acc", 0, self.spec.dtype, lanes) for _ in range(rows)]
        starts = [b.let(row(r), "row") for r in range(rows)]

        def at(k: Value) -> None:
            place, offset = b.let(base + k * pitch), b.let(k * step)
            with b.vfor("x", 0, cols or lanes, lanes, full=not cols or cols == lanes) as x:
                value = b.let(other[place + (x if lane is None else x * lane)])
                for r in range(rows):
                    acc[r].set(fma(a[starts[r] + offset], value, acc[r].get()))

        main = b.let(count // 4 * 4, "main")
        with b.for_("kk", 0, main, 4) as kk:
            for u in range(4):
                at(kk + u)
        with b.for_("kk", main, count) as kk:
            at(kk)
        return acc

    def tiles(self, extent: int, emit: Callable[[Value, int], None]) -> None:
        """emit(first, rows) over a fixed extent, `rows` at a time; what is left over is a smaller tile."""
        rows = self.spec.rows
        whole = extent // rows * rows
        if whole:
            with self.b.for_("t", 0, whole, rows) as t:
                emit(t, rows)
        if extent > whole:
            emit(const("i64", whole), extent - whole)

    def masked(self, score: Value, mask: Value, query: Value, key: Value) -> Value:
        """A score with the mask (that of its head begins at `mask`)."""
        if self.spec.mask:
            seen = self.bufs["mask"][mask + query * self["mask_l"] + key * self["mask_d"]]
            hidden = const(self.spec.dtype, -INFINITY)
            score = select(seen, score, hidden) if self.spec.mask == "b1" else score + seen
        if self.spec.causal:
            score = select(key <= query, score, const(self.spec.dtype, -INFINITY))
        return score


class _Forward(_Tiles):
    def __init__(self, spec: Spec):
        super().__init__(spec, ("q", "k", "v"), ("out", "lse"))
        n, p = spec.lanes, spec.panels
        self.q_at = self.w0
        self.o_at = self.w0 + n * p * spec.d
        self.m_at = self.o_at + n * p * spec.e  # running maximum, then sum, then the factor of earlier blocks
        self.p_at = self.m_at + n * p * 3

    def kernel(self) -> Kernel:
        """The loops over units and blocks of keys."""
        b, spec = self.b, self.spec
        wide = spec.lanes * spec.panels
        panels = b.let((self["length"] + (wide - 1)) // wide, "panels")
        lo, hi = b.partition(self["batch"] * self["heads"] * panels)
        with b.for_("u", lo, hi) as u:
            pair = b.let(u // panels)
            self.batch, self.h = b.let(pair // self["heads"], "batch_"), b.let(pair % self["heads"], "head")
            self.i0 = b.let(u % panels * wide, "i0")
            other = b.let(self.h // self["group"])
            self.k0, self.v0 = self.head("k", self.batch, other), self.head("v", self.batch, other)
            self.places(self.h)
            self.begin()
            end = self["source"]
            if spec.causal:
                end = b.let(minimum(end, self.i0 + wide), "end")
            with b.for_("jb", 0, end, KEYS) as jb, b.for_("g", 0, spec.panels) as g:
                count = b.let(minimum(self["source"] - jb, KEYS), "count")
                first = b.let(self.i0 + g * spec.lanes, "first")
                wanted = first < self["length"]
                with b.if_(wanted & (jb < first + spec.lanes) if spec.causal else wanted):
                    self.block(jb, count, first, g)
            self.finish()
        return b.kernel()

    def begin(self) -> None:
        """Q^T of the unit, and nothing seen yet."""
        b, spec = self.b, self.spec
        base = self.head("q", self.batch, self.h)
        with b.for_("g", 0, spec.panels) as g:
            first, at = b.let(self.i0 + g * spec.lanes), b.let(self.q_at + g * (spec.d * spec.lanes))
            self.pack("q", base, first, self["length"], spec.d, at, True)
            with b.vfor("x", 0, spec.lanes, spec.lanes, full=True) as x:
                at = self.m_at + g * (3 * spec.lanes) + x
                self.work[at] = const(spec.dtype, -INFINITY)
                self.work[at + spec.lanes] = const(spec.dtype, 0)
        self.zero(self.o_at, spec.e * spec.panels)

    def block(self, jb: Value, count: Value, first: Value, g: Value) -> None:
        """One block of keys for one panel."""
        b, spec, lanes, w = self.b, self.spec, self.spec.lanes, self.work
        top = b.reg("top", -INFINITY, spec.dtype, lanes)
        last = b.let(self["source"] - 1)
        q_at = b.let(self.q_at + g * (spec.d * lanes), "q_at")
        with b.for_("t", 0, count, spec.rows) as t:
            acc = self.product(
                self.bufs["k"], lambda r: self.k0 + minimum(jb + t + r, last) * self["k_l"], self["k_d"],
                w, q_at, const("i64", lanes), const("i64", spec.d), spec.rows,
            )  # fmt: skip
            with b.vfor("x", 0, lanes, lanes, full=True) as x:
                query = minimum(first + x, self["length"] - 1)
                for r in range(spec.rows):
                    with b.if_(t + r < count):
                        score = b.let(self.masked(acc[r].get(), self.mask0, query, jb + t + r))
                        w[self.p_at + (t + r) * lanes + x] = score
                        top.set(maximum(top.get(), score))
        self.weights(jb, count, first, g, top)
        m_at = self.m_at + g * (3 * lanes)

        def values(d: Value, rows: int) -> None:
            acc = self.product(
                self.bufs["v"], lambda r: self.v0 + jb * self["v_l"] + (d + r) * self["v_d"], self["v_l"],
                w, self.p_at, const("i64", lanes), count, rows,
            )  # fmt: skip
            with b.vfor("x", 0, lanes, lanes, full=True) as x:
                for r in range(rows):
                    at = b.let(self.o_at + (g * spec.e + d + r) * lanes + x)
                    w[at] = fma(w[at], w[m_at + 2 * lanes + x], acc[r].get())

        self.tiles(spec.e, values)

    def weights(self, jb: Value, count: Value, first: Value, g: Value, top: Register) -> None:
        """exp(score - maximum) in place of the scores; maximum, sum and the factor of what was summed before."""
        b, spec, lanes, w = self.b, self.spec, self.spec.lanes, self.work
        base = b.reg("base", 0, spec.dtype, lanes)
        total = b.reg("total", 0, spec.dtype, lanes)
        m_at = b.let(self.m_at + g * (3 * lanes), "m_at")
        with b.vfor("x", 0, lanes, lanes, full=True) as x:
            before = b.let(w[m_at + x])
            m = b.let(maximum(before, top.get()))
            base.set(select(m.eq(-INFINITY), 0.0, m))
            w[m_at + x] = m
            w[m_at + 2 * lanes + x] = op("exp", before - base.get())
        with b.for_("jj", 0, count) as jj, b.vfor("x", 0, lanes, lanes, full=True) as x:
            p = b.let(op("exp", w[self.p_at + jj * lanes + x] - base.get()))
            query = minimum(first + x, self["length"] - 1)
            w[self.p_at + jj * lanes + x] = self.kept(p, query, jb + jj)
            total.set(total.get() + p)
        with b.vfor("x", 0, lanes, lanes, full=True) as x:
            at = b.let(m_at + lanes + x)
            w[at] = fma(w[at], w[m_at + 2 * lanes + x], total.get())

    def finish(self) -> None:
        """The rows of the unit; one that sees nothing is zero, and its lse is infinite (so that its weights are 0)."""
        b, spec, lanes, w = self.b, self.spec, self.spec.lanes, self.work
        out, lse = self.bufs["out"], self.bufs["lse"]
        o0, l0 = self.head("out", self.batch, self.h), self.head("lse", self.batch, self.h)
        with b.for_("g", 0, spec.panels) as g:
            first = b.let(self.i0 + g * lanes)
            count = b.let(minimum(self["length"] - first, lanes))
            with b.if_(count > 0):
                m_at = self.m_at + g * (3 * lanes)
                factor = b.reg("inverse", 0, spec.dtype, lanes)
                with b.vfor("x", 0, count, lanes) as x:
                    total = b.let(w[m_at + lanes + x])
                    none = b.let(total.eq(0.0))
                    factor.set(select(none, 0.0, const(spec.dtype, 1) / total))
                    lse[l0 + (first + x) * self["lse_l"]] = select(
                        none, INFINITY, w[m_at + x] + op("log", total)
                    )
                with b.for_("dd", 0, spec.e) as dd, b.vfor("x", 0, count, lanes) as x:
                    value = w[self.o_at + (g * spec.e + dd) * lanes + x] * factor.get()
                    out[o0 + (first + x) * self["out_l"] + dd] = value


class _Backward(_Tiles):
    def __init__(self, spec: Spec):
        super().__init__(spec, ("q", "k", "v", "grad", "lse", "delta"), ("dq", "dk", "dv"))
        n, p = spec.lanes, spec.panels
        self.k_at, self.v_at = self.w0, self.w0 + n * p * spec.d
        self.dk_at = self.v_at + n * p * spec.e
        self.dv_at = self.dk_at + n * p * spec.d
        self.p_at = self.dv_at + n * p * spec.e
        self.s_at = self.p_at + n * p * QUERIES

    def kernel(self) -> Kernel:
        """The loops over heads of keys, blocks of keys, heads of queries and blocks of queries."""
        b, spec = self.b, self.spec
        wide = spec.lanes * spec.panels
        others, segments = b.let(self["heads"] // self["group"], "others"), self["segments"]
        lo, hi = b.partition(self["batch"] * others * segments)
        with b.for_("u", lo, hi) as u, b.for_("j0", 0, self["source"], wide) as j0:
            pair, segment = b.let(u // segments, "pair"), b.let(u % segments, "segment")
            self.batch, other, self.j0 = b.let(pair // others, "batch_"), b.let(pair % others, "other"), j0
            first = b.let(segment * self["queries"], "first")
            end = b.let(minimum(first + self["queries"], self["length"]), "end")
            self.k0, self.v0 = self.head("k", self.batch, other), self.head("v", self.batch, other)
            self.begin()
            with b.for_("h", other * self["group"], (other + 1) * self["group"]) as h:
                self.q0, self.g0 = self.head("q", self.batch, h), self.head("grad", self.batch, h)
                self.l0, self.dl0 = self.head("lse", self.batch, h), self.head("delta", self.batch, h)
                self.dq0 = self.head("dq", self.batch, h)
                self.places(h)
                start = b.let(maximum(first, j0 // QUERIES * QUERIES)) if spec.causal else first
                with b.for_("ib", start, end, QUERIES) as ib:
                    self.block(ib, b.let(minimum(end - ib, QUERIES), "count"))
            dk, dv = (self.head(x, self.batch, other) + segment * self[x + "_s"] for x in ("dk", "dv"))
            self.finish(b.let(dk), b.let(dv))
        return b.kernel()

    def begin(self) -> None:
        """K^T and V^T of a block of keys; their gradients begin at zero."""
        b, spec, lanes = self.b, self.spec, self.spec.lanes
        with b.for_("g", 0, spec.panels) as g:
            first = b.let(self.j0 + g * lanes)
            for name, base, at, size in (
                ("k", self.k0, self.k_at, spec.d),
                ("v", self.v0, self.v_at, spec.e),
            ):
                self.pack(
                    name, base, first, self["source"], size, b.let(at + g * (size * lanes)), name == "k"
                )
        self.zero(self.dk_at, spec.panels * (spec.d + spec.e))

    def block(self, ib: Value, count: Value) -> None:
        """One block of queries for all panels of keys."""
        b, spec, lanes = self.b, self.spec, self.spec.lanes
        left = b.let(minimum(self["source"] - self.j0, lanes * spec.panels), "left")
        with b.for_("g", 0, (left + (lanes - 1)) // lanes) as g:
            p_at, s_at = b.let(self.p_at + g * (QUERIES * lanes)), b.let(self.s_at + g * (QUERIES * lanes))
            with b.for_("t", 0, count, spec.rows) as t:
                self.scores(ib, t, g, p_at, s_at)
            self.gather("grad", self.g0 + ib * self["grad_l"], self.dv_at + g * (spec.e * lanes), p_at, count)
            self.gather("q", self.q0 + ib * self["q_l"], self.dk_at + g * (spec.d * lanes), s_at, count)
        self.queries(ib, count, left)

    def gather(self, name: str, base: Value, to: Value, weights: Value, count: Value) -> None:
        """to[d, x] += sum over a block of queries of name[query, d] * weights[query, x]."""
        b, spec, lanes, w = self.b, self.spec, self.spec.lanes, self.work

        def add(d: Value, rows: int) -> None:
            acc = self.product(
                self.bufs[name], lambda r: base + (d + r) * self[name + "_d"], self[name + "_l"],
                w, weights, const("i64", lanes), count, rows,
            )  # fmt: skip
            with b.vfor("x", 0, lanes, lanes, full=True) as x:
                for r in range(rows):
                    at = b.let(to + (d + r) * lanes + x)
                    w[at] = w[at] + acc[r].get()

        self.tiles(spec.e if name == "grad" else spec.d, add)

    def scores(self, ib: Value, t: Value, g: Value, p_at: Value, s_at: Value) -> None:
        """P and dS of a tile of queries."""
        b, spec, lanes, w = self.b, self.spec, self.spec.lanes, self.work
        last, pitch = b.let(self["length"] - 1), const("i64", lanes)
        rows = [b.let(minimum(ib + t + r, last), "i") for r in range(spec.rows)]
        acc = self.product(
            self.bufs["q"], lambda r: self.q0 + rows[r] * self["q_l"], self["q_d"],
            w, b.let(self.k_at + g * (spec.d * lanes)), pitch, const("i64", spec.d), spec.rows,
        )  # fmt: skip
        key = b.let(self.j0 + g * lanes, "key")
        with b.vfor("x", 0, lanes, lanes, full=True) as x:
            live = b.let(key + x < self["source"])
            place = minimum(key + x, self["source"] - 1)
            for r in range(spec.rows):
                score = self.masked(acc[r].get(), self.mask0, rows[r], place)
                p = op("exp", score - self.bufs["lse"][self.l0 + rows[r] * self["lse_l"]])
                w[p_at + (t + r) * lanes + x] = select(live, p, 0.0)
        acc = self.product(
            self.bufs["grad"], lambda r: self.g0 + rows[r] * self["grad_l"], self["grad_d"],
            w, b.let(self.v_at + g * (spec.e * lanes)), pitch, const("i64", spec.e), spec.rows,
        )  # fmt: skip
        with b.vfor("x", 0, lanes, lanes, full=True) as x:
            place = minimum(key + x, self["source"] - 1)
            for r in range(spec.rows):
                at = (t + r) * lanes + x
                change = self.kept(acc[r].get(), rows[r], place)
                p = b.let(w[p_at + at])
                delta = self.bufs["delta"][self.dl0 + rows[r] * self["delta_l"]]
                w[s_at + at] = p * (change - delta) * self.scale
                if spec.dropped:
                    w[p_at + at] = self.kept(p, rows[r], place)

    def queries(self, ib: Value, count: Value, left: Value) -> None:
        """dQ += dS K; lanes run over the elements of a query."""
        b, spec, lanes, w = self.b, self.spec, self.spec.lanes, self.work
        dq = self.bufs["dq"]
        keys = b.let(self.k0 + self.j0 * self["k_l"])

        def tile(d: int, cols: int, t: Value) -> None:
            accs = [b.reg("sum", 0, spec.dtype, lanes) for _ in range(spec.rows)]
            with b.for_("g", 0, (left + (lanes - 1)) // lanes) as g:
                here = b.let(minimum(left - g * lanes, lanes), "here")
                s_at, first = b.let(self.s_at + (g * QUERIES + t) * lanes), b.let(g * lanes)
                base = b.let(keys + first * self["k_l"] + d * self["k_d"])
                with b.for_("jj", 0, here) as jj:
                    place = b.let(base + jj * self["k_l"])
                    with b.vfor("x", 0, cols, lanes, full=cols == lanes) as x:
                        value = b.let(self.bufs["k"][place + x * self["k_d"]])
                        for r in range(spec.rows):
                            accs[r].set(fma(w[s_at + r * lanes + jj], value, accs[r].get()))
            for r in range(spec.rows):
                with b.if_(t + r < count):
                    at = b.let(self.dq0 + (ib + t + r) * self["dq_l"] + d)
                    with b.if_(self.j0 > 0), b.vfor("x", 0, cols, lanes, full=cols == lanes) as x:
                        dq[at + x] = dq[at + x] + accs[r].get()
                    with b.else_(), b.vfor("x", 0, cols, lanes, full=cols == lanes) as x:
                        dq[at + x] = accs[r].get()

        with b.for_("t", 0, count, spec.rows) as t:
            for d in range(0, spec.d // lanes * lanes, lanes):
                tile(d, lanes, t)
            if spec.d % lanes:
                tile(spec.d // lanes * lanes, spec.d % lanes, t)

    def finish(self, dk0: Value, dv0: Value) -> None:
        """The gradients of a block of keys."""
        b, spec, lanes = self.b, self.spec, self.spec.lanes
        with b.for_("g", 0, spec.panels) as g:
            first = b.let(self.j0 + g * lanes)
            count = b.let(minimum(self["source"] - first, lanes))
            for name, base, at, size in (("dk", dk0, self.dk_at, spec.d), ("dv", dv0, self.dv_at, spec.e)):
                with b.for_("dd", 0, size) as dd, b.vfor("x", 0, count, lanes) as x:
                    value = self.work[at + (g * size + dd) * lanes + x]
                    self.bufs[name][base + (first + x) * self[name + "_l"] + dd] = value
