"""How values of the loop IR look in LLVM: types, constants, and values as the emitter holds them."""

from __future__ import annotations

import ctypes
import struct

from ..loop.ir import SIZE

HALVES = ("f16", "bf16")
REGISTER = {t: f"i{8 * n}" for t, n in SIZE.items()} | {"b1": "i1", "f32": "float", "f64": "double"}


class Value:
    """A value in LLVM: `text` is a name, a constant's text, or a Python int (a constant of integer type).

    width 0: scalar. Else a vector; with `step` not None a lazy one: lane l holds the scalar `text` + step * l
    (the step an int other than 0, or the name of a scalar)."""

    __slots__ = ("step", "text", "type", "width")

    def __init__(self, text: str | int, type: str, width: int = 0, step: int | str | None = None):
        self.text, self.type, self.width, self.step = text, type, width, step


def llvm_type(type: str, width: int) -> str:
    """The LLVM type of a value in registers."""
    return f"<{width} x {REGISTER[type]}>" if width else REGISTER[type]


def constant(type: str, value: object) -> str | int:
    """The text (an int for integer types) of a constant, rounded or wrapped to its type."""
    if type == "b1":
        return "true" if value else "false"
    if type in ("f32", "f64"):
        wide = float(value)  # type: ignore[arg-type]
        return "0x" + struct.pack(">d", ctypes.c_float(wide).value if type == "f32" else wide).hex()
    if type in HALVES:
        return _half_bits(type, ctypes.c_float(float(value)).value)  # type: ignore[arg-type]
    bits = 8 * SIZE[type]
    wrapped = int(value) & ((1 << bits) - 1)  # type: ignore[call-overload]
    return wrapped - (1 << bits) if wrapped >> (bits - 1) else wrapped


def _half_bits(type: str, value: float) -> int:
    """The bits of an f32 rounded to nearest even to f16 or bf16."""
    if value != value:
        return 0x7FC0 if type == "bf16" else 0x7E00
    if type == "f16":
        try:
            return struct.unpack("<H", struct.pack("<e", value))[0]
        except OverflowError:
            return 0x7C00 | (0x8000 if value < 0 else 0)
    bits = struct.unpack("<I", struct.pack("<f", value))[0]
    return (bits + 0x7FFF + (bits >> 16 & 1)) >> 16
