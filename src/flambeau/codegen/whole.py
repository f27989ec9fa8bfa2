"""i64 and floats in vectors: before AVX-512 no instruction converts between them, but adding the right number does.

The bits of 2^52 + n, 0 <= n < 2^52, end with those of n; 1.5 2^52 + n does the same for -2^51 <= n < 2^51."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .types import constant, llvm_type

if TYPE_CHECKING:
    from .operations import Operations

NEAR = 2**51
_ROUND = 1.5 * 2.0**52
_ROUND_BITS = 0x4338000000000000


def to_double(on: Operations, x: str, width: int) -> str:
    """i64 to f64, rounded once: its halves as the last bits of two doubles; only the last step is not exact."""
    line, i, t = on.line, llvm_type("i64", width), llvm_type("f64", width)

    def whole(value: int) -> str:
        return on.splat(value, "i64", width)

    def double(value: float) -> str:
        return on.splat(constant("f64", value), "f64", width)

    high = line(f"lshr {i} {line(f'xor {i} {x}, {whole(-(2**63))}')}, {whole(32)}")
    low = line(f"and {i} {x}, {whole(2**32 - 1)}")
    a = line(f"bitcast {i} {line(f'or {i} {high}, {whole(0x4530000000000000)}')} to {t}")  # 2^84
    b = line(f"bitcast {i} {line(f'or {i} {low}, {whole(0x4330000000000000)}')} to {t}")  # 2^52
    return line(f"fadd {t} {line(f'fsub {t} {a}, {double(2.0**84 + 2.0**63 + 2.0**52)}')}, {b}")


def near_double(on: Operations, x: str, width: int) -> str:
    """An i64 of -2^51 <= x < 2^51 to f64; any number for others."""
    line, i, t = on.line, llvm_type("i64", width), llvm_type("f64", width)
    bits = line(f"add {i} {x}, {on.splat(_ROUND_BITS, 'i64', width)}")
    return line(
        f"fsub {t} {line(f'bitcast {i} {bits} to {t}')}, {on.splat(constant('f64', _ROUND), 'f64', width)}"
    )


def near_whole(on: Operations, x: str, width: int) -> str:
    """trunc(x) as i64 for an f64 of |x| < 2^51; any number for others."""
    line, i, t = on.line, llvm_type("i64", width), llvm_type("f64", width)
    moved = line(
        f"fadd {t} {on.intrinsic('trunc', 'f64', [x], width)}, {on.splat(constant('f64', _ROUND), 'f64', width)}"
    )
    return line(f"sub {i} {line(f'bitcast {t} {moved} to {i}')}, {on.splat(_ROUND_BITS, 'i64', width)}")


def everywhere(on: Operations, inside: str, width: int) -> str:
    """Whether a condition holds in all lanes."""
    return on.call(f"llvm.vector.reduce.and.v{width}i1", "i1", [(llvm_type("b1", width), inside)])


def to_float(on: Operations, x: str, width: int) -> str:
    """i64 to f32, rounded once: through f64, which holds what is below 2^53; one by one where something is not."""
    i = llvm_type("i64", width)
    moved = on.line(f"add {i} {x}, {on.splat(2**53, 'i64', width)}")
    inside = on.line(f"icmp ult {i} {moved}, {on.splat(2**54, 'i64', width)}")
    quick = on.convert("fptrunc", to_double(on, x, width), "f64", "f32", width)
    return on.function.unless(
        everywhere(on, inside, width),
        quick,
        llvm_type("f32", width),
        lambda: on.convert("sitofp", x, "i64", "f32", width),
    )
