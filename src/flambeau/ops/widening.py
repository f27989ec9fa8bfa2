"""bfloat16 and float16: inside one op everything is computed in float32, and only its results are rounded.

`widen` rewrites the graph of an op after its body was traced: a value that only scalar operations and reductions read is
not rounded, and Python numbers and constants take part as float32. `rounded` marks the numbers that PyTorch rounds first.
"""

from __future__ import annotations

from typing import Any

from ..dtypes import bfloat16, dtype, float16, float32
from ..shapes import contiguous_strides
from ..stream.graph import Buffer, GNode, Trace, Val, cast, const, emit
from ..stream.value import LOCAL

ROUND = ("round",)


def is_low(d: dtype) -> bool:
    """Whether a dtype has fewer bits than what is computed with."""
    return d is bfloat16 or d is float16


def rounded(x: Val, d: dtype) -> Val:
    """An operand in d; a number (or a tensor of no dimensions) is rounded to few bits here and now."""
    if x.level == 2 or not is_low(d) or x.dtype is d:
        return cast(x, d)
    if type(x.buf.src) is GNode and x.buf not in LOCAL.s.trace.given:  # the op's own
        return cast(x, d)
    out = emit("map", "cast", (x,), ROUND, [(x.shape, x.strides, d)])[0]
    out.level = x.level
    return out


def fixed(value: float, d: dtype) -> Val:
    """A constant that is rounded to d, also where the op computes in more bits."""
    if is_low(d):
        from ..loop import semantics  # loads all of the interpreter's arithmetic

        value = float(semantics.constant(d.short, value))
    return const(value, d)


def scalar(n: GNode) -> bool:
    """Whether a node is an operation on numbers that may be done in more bits."""
    return n.kind in ("map", "reduce", "const") and n.op != "bitcast" and n.attrs != ROUND


def widens(n: GNode) -> bool:
    """Whether a node's result of few bits becomes float32."""
    return scalar(n) and is_low(n.outs[0].dtype)


def widen(trace: Trace, results: list[Val], start: int = 0) -> None:
    """Compute the scalar operations of a trace, from a node on, in float32; `results` keep their dtypes."""
    nodes = trace.nodes[start:]
    if sum(map(widens, nodes)) > 1:
        trace.nodes[start:] = Widening().run(nodes, results)


class Widening:
    """wide: the float32 buffer in place of one of few bits; casts: those made of what is read from elsewhere."""

    def __init__(self) -> None:
        self.nodes: list[GNode] = []
        self.wide: dict[Buffer, Buffer] = {}
        self.casts: dict[Any, Val] = {}

    def run(self, nodes: list[GNode], results: list[Val]) -> list[GNode]:
        """The nodes rewritten, in their order."""
        for n in nodes:
            if not scalar(n) or not (widens(n) or any(v.buf in self.wide for v in n.ins)):
                for v in n.ins:
                    self.narrow(v.buf)
            else:
                n.ins = tuple([self.widened(v) for v in n.ins])
                if n.op == "cast" and n.ins[0].dtype is n.outs[0].dtype is float32:
                    n.op = "copy"
                if widens(n):
                    self.replace(n)
            self.nodes.append(n)
        for v in results:
            self.narrow(v.buf)
        return self.nodes

    def replace(self, n: GNode) -> None:
        """Give a node a result in float32."""
        old = n.outs[0]
        new = self.wide[old] = Buffer(n, old.shape, old.strides, float32)
        n.outs = [new]
        if n.op == "cast" and n.ins[0].dtype is float32:
            n.op = "copy"

    def narrow(self, old: Buffer) -> None:
        """Round a value that something reads in few bits."""
        new = self.wide.get(old)
        if new is not None and old.src is new.src:
            old.src = self.cast(Val(new, old.shape, old.strides, 0), old)

    def widened(self, v: Val) -> Val:
        """A view in float32, of the buffer that was not rounded if there is one."""
        if not is_low(v.dtype):
            return v
        new = self.wide.get(v.buf)
        if new is not None:
            return Val(new, v.shape, v.strides, v.off, v.level)
        shape = tuple(
            [1 if s == 0 else n for n, s in zip(v.shape, v.strides)]
        )  # broadcasting comes after the cast
        key = (v.buf, shape, v.strides, v.off)
        made = self.casts.get(key)
        if made is None:
            strides = contiguous_strides(shape)
            out = Buffer(None, shape, strides, float32)
            out.src = self.cast(Val(v.buf, shape, v.strides, v.off), out)
            made = self.casts[key] = Val(out, shape, strides, 0)
        strides = tuple([0 if s == 0 else t for s, t in zip(v.strides, made.strides)])
        return Val(made.buf, v.shape, strides, 0, v.level)

    def cast(self, x: Val, out: Buffer) -> GNode:
        """Append the node that casts x into a buffer."""
        node = GNode("map", "cast", (x,), ())
        node.outs.append(out)
        self.nodes.append(node)
        return node
