"""bfloat16 on processors with and without instructions for it: products of pairs, and rounding to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .types import llvm_type

if TYPE_CHECKING:
    from .operations import Operations

LANES = 16  # of a register
RARE = 0xA1  # of the classes of numbers: both kinds of NaN, and those below the least normal one


def dot2(on: Operations, args: list[str], width: int) -> str:
    """The products of pairs of bfloat16, added to an f32."""
    t, line = llvm_type("f32", width), on.line
    if _served(on, width):
        return _joined(on, [_dot2(on, args, width, k) for k in range(0, width, LANES)], "f32")
    i = llvm_type("i32", width)
    total = args[2]
    for how in ("and", "shl"):
        by = on.splat(-0x10000 if how == "and" else 16, "i32", width)
        parts = (line(f"{how} {i} {line(f'bitcast {t} {x} to {i}')}, {by}") for x in args[:2])
        total = on.fma("f32", [*(line(f"bitcast {i} {x} to {t}") for x in parts), total], width)
    return total


def _dot2(on: Operations, args: list[str], width: int, first: int) -> str:
    """One register of it."""
    t, pairs = "<16 x float>", "<32 x bfloat>"
    a, b, total = (_register(on, x, width, first) for x in args)
    words = [(pairs, on.line(f"bitcast {t} {x} to {pairs}")) for x in (a, b)]
    return on.call("llvm.x86.avx512bf16.dpbf16ps.512", t, [(t, total), *words])


def narrow(on: Operations, x: str, width: int) -> str:
    """f32 to bf16 (as i16), to nearest even.

    The instruction takes numbers below the least normal one as zero and keeps the bits of a NaN: where there are any,
    which is rare, arithmetic does it."""
    if not _served(on, width):
        return _by_integers(on, x, width)
    short, usual = [], []
    for first in range(0, width, LANES):
        part = ("<16 x float>", _register(on, x, width, first))
        made = on.call("llvm.x86.avx512bf16.cvtneps2bf16.512", "<16 x bfloat>", [part])
        short.append(on.line(f"bitcast <16 x bfloat> {made} to <16 x i16>"))
        rare = on.call("llvm.x86.avx512.fpclass.ps.512", "<16 x i1>", [part, ("i32", str(RARE))])
        usual.append(on.line(f"bitcast <16 x i1> {rare} to i16"))
    while len(usual) > 1:
        usual.append(on.line(f"or i16 {usual.pop()}, {usual.pop()}"))
    known = on.line(f"icmp eq i16 {usual[0]}, 0")
    quick = _joined(on, short, "i16")
    return on.function.unless(known, quick, llvm_type("i16", width), lambda: _by_integers(on, x, width))


def _by_integers(on: Operations, x: str, width: int) -> str:
    """The same for all numbers."""
    h, i, f = llvm_type("i16", width), llvm_type("i32", width), llvm_type("f32", width)
    line, b1 = on.line, llvm_type("b1", width)
    bits = line(f"bitcast {f} {x} to {i}")
    sixteen, half = on.splat(16, "i32", width), on.splat(0x7FFF, "i32", width)
    odd = line(f"and {i} {line(f'lshr {i} {bits}, {sixteen}')}, {on.splat(1, 'i32', width)}")
    up = line(f"add {i} {line(f'add {i} {bits}, {half}')}, {odd}")
    short = line(f"trunc {i} {line(f'lshr {i} {up}, {sixteen}')} to {h}")
    nan = line(f"fcmp uno {f} {x}, {x}")
    return line(f"select {b1} {nan}, {h} {on.splat(0x7FC0, 'i16', width)}, {h} {short}")


def _served(on: Operations, width: int) -> bool:
    """Whether there are instructions for vectors of a width."""
    return on.target.bf16 and width > 0 and width % LANES == 0


def _register(on: Operations, x: str, width: int, first: int) -> str:
    """The lanes of a vector of f32 from `first` on that are a register."""
    if width == LANES:
        return x
    t, order = llvm_type("f32", width), ", ".join(f"i32 {k}" for k in range(first, first + LANES))
    return on.line(f"shufflevector {t} {x}, {t} poison, <16 x i32> <{order}>")


def _joined(on: Operations, parts: list[str], type: str) -> str:
    """Registers one after the other as one vector; they are as many as a power of two."""
    width = LANES
    while len(parts) > 1:
        t, order = llvm_type(type, width), ", ".join(f"i32 {k}" for k in range(2 * width))
        pairs = zip(parts[::2], parts[1::2])
        parts = [on.line(f"shufflevector {t} {a}, {t} {b}, <{2 * width} x i32> <{order}>") for a, b in pairs]
        width *= 2
    return parts[0]
