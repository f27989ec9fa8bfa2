"""Connectionist temporal classification (Graves et al. 2006): the probability of all alignments, and its gradient.

Lanes are states of one sequence (its labels with blanks around them), steps come one after the other, parts share
sequences. Rows of states begin with two that are never reached, so that no step looks outside.
"""

from __future__ import annotations

from typing import NamedTuple

from ..build import Buffer, Builder, Value, const, maximum, op, select
from ..ir import Kernel

LANES = 16
LABEL = 1  # the code of a check: a label that is no class
PAD = 2


class Alignment(NamedTuple):
    """backward: whether gradients are computed; forgiving: sequences without any alignment have gradients of zero."""

    dtype: str
    backward: bool
    forgiving: bool


def kernel(spec: Alignment) -> Kernel:
    """The kernel of losses and forward variables, or of gradients."""
    f = _Frame(spec)
    lo, hi = f.b.partition(f.batch)
    with f.b.for_("sequence", lo, hi) as n:
        (f.backward if spec.backward else f.forward)(n)
    return f.b.kernel()


class _Frame:
    """Buffers log_probs (steps, batch, classes), states (batch, states), ends and lasts (batch: steps, the last state),
    alpha (batch, steps, states + PAD), loss (batch), grad (of loss), out (of log_probs), work (four rows a part)."""

    def __init__(self, spec: Alignment):
        self.spec, self.b = spec, Builder("ctc_backward" if spec.backward else "ctc")
        b, t = self.b, spec.dtype
        self.log_probs = b.buf("log_probs", t)
        self.states, self.ends, self.lasts = (b.buf(k, "i64") for k in ("states", "ends", "lasts"))
        if spec.backward:
            self.alpha, self.loss, self.grad = b.buf("alpha", t), b.buf("loss", t), b.buf("grad", t)
            self.out, self.work = b.buf("out", t, "rw"), b.buf("work", t, "rw")
        else:
            self.loss, self.alpha = b.buf("loss", t, "w"), b.buf("alpha", t, "rw")
        self.steps, self.batch, self.classes, self.count = (
            b.integer(k) for k in ("steps", "batch", "classes", "count")
        )
        self.never = const(t, float("-inf"))
        self.row = b.let(self.count + PAD, "width")

    def total(self, ways: list[Value]) -> Value:
        """The logarithm of the sum of exponentials; -inf where all are."""
        b, top = self.b, ways[0]
        for w in ways[1:]:
            top = maximum(top, w)
        top = b.let(top, "top")
        dead = b.let(top.eq(self.never), "dead")
        base = b.let(select(dead, const(self.spec.dtype, 0.0), top), "base")
        sum_: Value | None = None
        for w in ways:
            part = op("exp", w - base)
            sum_ = part if sum_ is None else sum_ + part
        return select(dead, self.never, op("log", sum_) + base)  # type: ignore[arg-type]

    def skips(self, at: Value, s: Value) -> Value:
        """Whether the state before the one before may come before a state: another label stands there."""
        other = self.states.load(at + s - 2, s >= 2)
        return (s >= 2) & self.states[at + s].ne(other)

    def emitted(self, row: Value, at: Value, s: Value) -> Value:
        """The logarithm of the probability of a state at a step."""
        return self.b.let(self.log_probs[row + self.states[at + s]], "emitted")

    def line(self, n: Value, t: Value) -> Value:
        """Where the classes of a step begin."""
        return self.b.let((t * self.batch + n) * self.classes, "line")

    def padded(self, buffer: Buffer, at: Value) -> None:
        """Two states that are never reached."""
        buffer[at], buffer[at + 1] = self.never, self.never

    # --- losses -------------------------------------------------------------------------------------------------------

    def forward(self, n: Value) -> None:
        """The logarithms of the probabilities of all beginnings, step by step."""
        b, alpha = self.b, self.alpha
        at, first = b.let(n * self.count, "at"), b.let(n * self.steps * self.row, "first")
        end, last = b.let(self.ends[n], "end"), b.let(self.lasts[n], "last")
        stop = b.let(last + 1, "stop")
        with b.vfor("s", 0, stop, LANES) as s:
            label = b.let(self.states[at + s], "label")
            b.check((label >= 0) & (label < self.classes), LABEL, label, at + s)
        empty = select(last.eq(0), const(self.spec.dtype, 0.0), -self.never)
        with b.if_(end > 0):
            self.padded(alpha, first)
            with b.vfor("s", 0, stop, LANES) as s:
                begun = self.emitted(self.line(n, const("i64", 0)), at, s)
                alpha[first + PAD + s] = select(s < 2, begun, self.never)
            with b.for_("t", 1, end) as t:
                row = b.let(first + t * self.row, "row")
                before, line = b.let(row - self.row, "before"), self.line(n, t)
                self.padded(alpha, row)
                with b.vfor("s", 0, stop, LANES) as s:
                    old = [b.let(alpha[before + k + s], "old") for k in range(3)]
                    ways = [old[2], old[1], b.let(select(self.skips(at, s), old[0], self.never), "way")]
                    alpha[row + PAD + s] = self.total(ways) + self.emitted(line, at, s)
            done = b.let(first + (end - 1) * self.row + PAD + last, "done")
            self.loss[n] = -self.total([b.let(alpha[done]), b.let(alpha[done - 1])])
        with b.else_():
            self.loss[n] = empty

    # --- gradients ----------------------------------------------------------------------------------------------------

    def backward(self, n: Value) -> None:
        """exp(log_probs) less how often a class is there, step by step from the end."""
        b, out, type = self.b, self.out, self.spec.dtype
        at, first = b.let(n * self.count, "at"), b.let(n * self.steps * self.row, "first")
        end, last = b.let(self.ends[n], "end"), b.let(self.lasts[n], "last")
        loss, grad = b.let(self.loss[n], "loss"), b.let(self.grad[n], "grad")
        lost = b.let(loss.eq(float("inf")), "lost")
        none = const(type, 0.0 if self.spec.forgiving else float("nan"))
        work = b.let(b.tid * 2 * self.row, "work")
        with b.for_("t", 0, self.steps) as t:
            line = self.line(n, t)
            with b.vfor("c", 0, self.classes, LANES) as c:
                value = select(lost, none, op("exp", self.log_probs[line + c]) * grad)
                out[line + c] = select(t < end, value, const(type, 0.0))
        with b.if_(~lost), b.for_("back", 0, end) as back:
            t = b.let(end - 1 - back, "t")
            line, odd = self.line(n, t), b.let(back % 2, "odd")
            here, before = b.let(work + odd * self.row, "here"), b.let(work + (1 - odd) * self.row, "before")
            self.endings(at, last, line, here, before, back)
            self.taken(at, last, line, here, b.let(first + t * self.row + PAD, "row"), loss, grad)

    def endings(self, at: Value, last: Value, line: Value, here: Value, before: Value, back: Value) -> None:
        """The logarithms of the probabilities of all endings at a step; two states that are never reached follow."""
        b, work = self.b, self.work
        stop = b.let(last + 1, "stop")
        self.padded(work, here + stop)
        with b.if_(back.eq(0)), b.vfor("s", 0, stop, LANES) as s:
            work[here + s] = select(s + 2 > last, self.emitted(line, at, s), self.never)
        with b.else_(), b.vfor("s", 0, stop, LANES) as s:
            old = [b.let(work[before + k + s], "old") for k in range(3)]
            after = self.states.load(at + s + 2, s + 2 <= last)
            skip = b.let((s + 2 <= last) & self.states[at + s].ne(after), "skip")
            ways = [old[0], old[1], b.let(select(skip, old[2], self.never), "way")]
            work[here + s] = self.total(ways) + self.emitted(line, at, s)

    def taken(
        self, at: Value, last: Value, line: Value, here: Value, row: Value, loss: Value, grad: Value
    ) -> None:
        """How often each state is there takes its class' gradient down; blanks are added up first."""
        b, out, work, type = self.b, self.out, self.work, self.spec.dtype
        with b.vfor("s", 0, last + 1, LANES) as s:
            both = b.let(self.alpha[row + s] + work[here + s], "both")
            share = op("exp", both - self.emitted(line, at, s) + loss)
            self.work[here + s + self.spare()] = select(both.eq(self.never), const(type, 0.0), share * grad)
        blank = b.reg("blank", 0.0, type)
        spare = here + self.spare()
        with b.for_("s", 0, last + 1, 2) as s:
            blank.set(blank.get() + work[spare + s])
        with b.for_("s", 1, last + 1, 2) as s:
            to = b.let(line + self.states[at + s], "to")
            out[to] = out[to] - work[spare + s]
        to = b.let(line + self.states[at], "to")
        out[to] = out[to] - blank.get()

    def spare(self) -> Value:
        """From a row of endings to one of the same part that is free."""
        return self.b.nt * 2 * self.row
