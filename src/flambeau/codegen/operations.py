"""The scalar operations of the loop IR as LLVM instructions, on scalars or vectors, for every type and target.

f16 and bf16 values live in registers as i16: each arithmetic operation goes through f32 and rounds to nearest even, so
no target needs a library call. b1 is an i1 in registers and a byte in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..loop.ir import COMPARE, FLOATS, SIZE, UNSIGNED
from . import bfloat, whole
from .division import divide
from .types import HALVES, REGISTER, constant, llvm_type

if TYPE_CHECKING:
    from .function import Function

_INTEGER = {"add": "add", "sub": "sub", "mul": "mul", "and": "and", "or": "or", "xor": "xor"}
_FLOAT = {"add": "fadd", "sub": "fsub", "mul": "fmul", "div": "fdiv"}
_ROUND = {
    "floor": "floor",
    "ceil": "ceil",
    "trunc": "trunc",
    "rint": "roundeven",
    "sqrt": "sqrt",
    "abs": "fabs",
}
_FCMP = {"lt": "olt", "le": "ole", "gt": "ogt", "ge": "oge", "eq": "oeq", "ne": "une"}


class Operations:
    """Emits one operation at a time through `line` of a Function; `width` is that of all operands (0: scalars)."""

    def __init__(self, function: Function):
        self.function = function
        self.line = function.line
        self.target = function.target

    # entry

    def apply(
        self, op: str, type: str, source: str, args: list[str], width: int, const: object = None
    ) -> str:
        """The operation `op` with result `type` on operands (texts at `width`) of type `source`."""
        if op == "select":
            c, t = llvm_type("b1", width), llvm_type(type, width)
            return self.line(f"select {c} {args[0]}, {t} {args[1]}, {t} {args[2]}")
        if op == "cast":
            return self.cast(args[0], source, type, width)
        if op == "bitcast":
            a, b = llvm_type(source, width), llvm_type(type, width)
            return args[0] if a == b else self.line(f"bitcast {a} {args[0]} to {b}")
        if source in HALVES:
            return self._half(op, type, source, args, width)
        if op in COMPARE:
            return self._compare(op, source, args, width)
        if source in FLOATS:
            return self._float(op, type, args, width)
        if source == "b1":
            return self._bool(op, args, width)
        return self._integer(op, type, args, width, const)

    def call(self, name: str, type: str, args: list[tuple[str, str]]) -> str:
        """Call an intrinsic; `type` and the operands' types are LLVM types."""
        return self.line(f"call {type} @{name}({', '.join(f'{t} {a}' for t, a in args)})")

    def intrinsic(self, name: str, type: str, args: list[str], width: int) -> str:
        """Call llvm.<name> with operands and result of one IR type."""
        suffix = (f"v{width}" if width else "") + (type if type in FLOATS else REGISTER[type])
        t = llvm_type(type, width)
        return self.call(f"llvm.{name}.{suffix}", t, [(t, a) for a in args])

    def splat(self, text: str | int, type: str, width: int) -> str:
        """A constant at this width."""
        return f"splat ({REGISTER[type]} {text})" if width else str(text)

    # integers

    def _compare(self, op: str, type: str, args: list[str], width: int) -> str:
        t = llvm_type(type, width)
        if type in FLOATS:
            return self.line(f"fcmp {_FCMP[op]} {t} {args[0]}, {args[1]}")
        sign = "" if op in ("eq", "ne") else "u" if type in UNSIGNED or type == "b1" else "s"
        return self.line(f"icmp {sign}{op} {t} {args[0]}, {args[1]}")

    def _bool(self, op: str, args: list[str], width: int) -> str:
        t = llvm_type("b1", width)
        name = {"min": "and", "max": "or", "mul": "and", "add": "or"}.get(op, op)
        if name == "not":
            return self.line(f"xor {t} {args[0]}, {self.splat('true', 'b1', width)}")
        return self.line(f"{name} {t} {args[0]}, {args[1]}")

    def _integer(self, op: str, type: str, args: list[str], width: int, const: object) -> str:
        t = llvm_type(type, width)
        unsigned = type in UNSIGNED
        if op in _INTEGER:
            return self.line(f"{_INTEGER[op]} {t} {args[0]}, {args[1]}")
        if op == "neg":
            return self.line(f"sub {t} {self.splat(0, type, width)}, {args[0]}")
        if op == "not":
            return self.line(f"xor {t} {args[0]}, {self.splat(-1, type, width)}")
        if op in ("min", "max"):
            if type == "i64" and not width:
                text = f"call i64 @llvm.s{op}.i64(i64 {args[0]}, i64 {args[1]})"
                return self.function.pure(text, args[0], args[1])
            return self.intrinsic(("u" if unsigned else "s") + op, type, args, width)
        if op == "min2":
            t, halves = llvm_type(type, width), f"<{2 * (width or 1)} x i16>"
            words = [(halves, self.line(f"bitcast {t} {x} to {halves}")) for x in args]
            least = self.call(f"llvm.smin.v{2 * (width or 1)}i16", halves, words)
            return self.line(f"bitcast {halves} {least} to {t}")
        if op in ("shl", "shr"):
            return self._shift(op, type, args, width, const)
        if op in ("idiv", "irem"):
            return divide(self, op, type, args, width, const)
        if op == "abs":
            return args[0] if unsigned else self._integer_abs(type, args[0], width)
        if op == "sign":
            return self._integer_sign(type, args[0], width)
        raise ValueError(f"codegen: no operation {op} on {type}")

    def _integer_abs(self, type: str, a: str, width: int) -> str:
        suffix = (f"v{width}" if width else "") + REGISTER[type]
        t = llvm_type(type, width)
        return self.call(f"llvm.abs.{suffix}", t, [(t, a), ("i1", "false")])

    def _integer_sign(self, type: str, a: str, width: int) -> str:
        one = self.splat(1, type, width)
        if type in UNSIGNED:
            return self.intrinsic("umin", type, [a, one], width)
        low = self.intrinsic("smax", type, [a, self.splat(-1, type, width)], width)
        return self.intrinsic("smin", type, [low, one], width)

    def _shift(self, op: str, type: str, args: list[str], width: int, const: object) -> str:
        """Shift by a count; one that is not below the bits of the type shifts all of them out."""
        t, bits = llvm_type(type, width), 8 * SIZE[type]
        x, count = args
        name = "shl" if op == "shl" else "lshr" if type in UNSIGNED else "ashr"
        if isinstance(const, int) and 0 <= const < bits:
            return self.line(f"{name} {t} {x}, {count}")
        test = llvm_type("b1", width)
        inside = self.line(f"icmp ult {t} {count}, {self.splat(bits, type, width)}")
        if name == "ashr":
            last = self.splat(bits - 1, type, width)
            count = self.line(f"select {test} {inside}, {t} {count}, {t} {last}")
            return self.line(f"ashr {t} {x}, {count}")
        moved = self.line(f"{name} {t} {x}, {count}")
        return self.line(f"select {test} {inside}, {t} {moved}, {t} {self.splat(0, type, width)}")

    # floats

    def _float(self, op: str, type: str, args: list[str], width: int) -> str:
        t = llvm_type(type, width)
        if op in _FLOAT:
            return self.line(f"{_FLOAT[op]} {t} {args[0]}, {args[1]}")
        if op in _ROUND:
            return self.intrinsic(_ROUND[op], type, args, width)
        if op == "neg":
            return self.line(f"fneg {t} {args[0]}")
        if op in ("min", "max"):
            return self.intrinsic(op + "imum", type, args, width)
        if op == "copysign":
            return self.intrinsic(op, type, args, width)
        if op == "fma":
            return self.fma(type, args, width)
        if op == "dot2":
            return bfloat.dot2(self, args, width)
        if op == "ldexp":
            return self.ldexp(type, args, width)
        if op == "sign":
            return self._float_sign(type, args[0], width)
        raise ValueError(f"codegen: no operation {op} on {type}")

    def _float_sign(self, type: str, x: str, width: int) -> str:
        t, b1 = llvm_type(type, width), llvm_type("b1", width)
        zero = self.splat(constant(type, 0.0), type, width)
        result = self.line(f"select {b1} {self.line(f'fcmp oeq {t} {x}, {zero}')}, {t} {zero}, {t} {x}")
        for compare, value in (("ogt", 1.0), ("olt", -1.0)):
            where = self.line(f"fcmp {compare} {t} {x}, {zero}")
            c = self.splat(constant(type, value), type, width)
            result = self.line(f"select {b1} {where}, {t} {c}, {t} {result}")
        return result

    def fma(self, type: str, args: list[str], width: int) -> str:
        """a * b + c, rounded once; where the target has no instruction, computed exactly."""
        if self.target.fma:
            return self.intrinsic("fma", type, args, width)
        if type == "f64":
            return self._per_lane("flambeau.fma.f64", args, width)
        a, b, c = (self.convert("fpext", x, "f32", "f64", width) for x in args)
        t, i64, b1 = llvm_type("f64", width), llvm_type("i64", width), llvm_type("b1", width)
        line = self.line
        product = line(f"fmul {t} {a}, {b}")
        total = line(f"fadd {t} {product}, {c}")
        back = line(f"fsub {t} {total}, {product}")
        rest = line(f"fsub {t} {product}, {line(f'fsub {t} {total}, {back}')}")
        error = line(f"fadd {t} {rest}, {line(f'fsub {t} {c}, {back}')}")
        # Rounding the sum to odd makes the second rounding, to f32, the only one that counts.
        bits = line(f"bitcast {t} {total} to {i64}")
        signs = line(f"xor {i64} {bits}, {line(f'bitcast {t} {error} to {i64}')}")
        one, top, true = (
            self.splat(1, "i64", width),
            self.splat(63, "i64", width),
            self.splat("true", "b1", width),
        )
        away = line(f"or {i64} {line(f'ashr {i64} {signs}, {top}')}, {one}")
        zero = self.splat(constant("f64", 0.0), "f64", width)
        inexact = line(f"fcmp one {t} {error}, {zero}")
        even = line(f"xor {b1} {line(f'trunc {i64} {bits} to {b1}')}, {true}")
        fix = line(f"and {b1} {inexact}, {even}")
        odd = line(f"select {b1} {fix}, {i64} {line(f'add {i64} {bits}, {away}')}, {i64} {bits}")
        return self.convert("fptrunc", line(f"bitcast {i64} {odd} to {t}"), "f64", "f32", width)

    def _per_lane(self, name: str, args: list[str], width: int) -> str:
        """Call a function of our own, of doubles, for each lane."""
        function = self.function
        function.needed.add(name)

        def one(*parts: str) -> str:
            return self.line(f"call double @{name}({', '.join(f'double {p}' for p in parts)})")

        if not width:
            return one(*args)
        return function.each_lane("double", llvm_type("f64", width), args, width, one)

    def ldexp(self, type: str, args: list[str], width: int) -> str:
        """x * 2**n with one rounding, for any n."""
        t, i = llvm_type(type, width), llvm_type("i32", width)
        if self.target.avx512:
            prefix = f"v{width}" if width else ""
            return self.call(f"llvm.ldexp.{prefix}{type}.{prefix}i32", t, [(t, args[0]), (i, args[1])])
        bias = 127 if type == "f32" else 1023
        x, n = args
        # If every power is a normal number, which is nearly always so, one multiplication does it.
        near = self.line(f"add {i} {n}, {self.splat(bias - 1, 'i32', width)}")
        near = self.line(f"icmp ult {i} {near}, {self.splat(2 * bias, 'i32', width)}")
        if width:
            near = self.call(f"llvm.vector.reduce.and.v{width}i1", "i1", [(llvm_type("b1", width), near)])
        quick = self._times_power(type, x, n, width)
        return self.function.unless(near, quick, t, lambda: self._ldexp_steps(type, x, n, width))

    def _times_power(self, type: str, x: str, n: str, width: int) -> str:
        """x * 2**n where 2**n is a normal number."""
        bias, mantissa, integer = (127, 23, "i32") if type == "f32" else (1023, 52, "i64")
        t, it = llvm_type(type, width), llvm_type(integer, width)
        biased = self.line(f"add {llvm_type('i32', width)} {n}, {self.splat(bias, 'i32', width)}")
        wide = biased if type == "f32" else self.convert("zext", biased, "i32", "i64", width)
        bits = self.line(f"shl {it} {wide}, {self.splat(mantissa, integer, width)}")
        return self.line(f"fmul {t} {x}, {self.line(f'bitcast {it} {bits} to {t}')}")

    def _ldexp_steps(self, type: str, x: str, n: str, width: int) -> str:
        """x * 2**n by three powers: below the smallest exponent the first ones leave room for the mantissa's bits, so
        that they are exact, or the result is zero anyway."""
        bias, mantissa = (127, 23) if type == "f32" else (1023, 52)
        i, b1 = llvm_type("i32", width), llvm_type("b1", width)
        lowest = self.splat(1 - bias, "i32", width)
        for last in (False, False, True):
            power = self.intrinsic("smin", "i32", [n, self.splat(bias, "i32", width)], width)
            if last:
                power = self.intrinsic("smax", "i32", [power, lowest], width)
            else:
                deep = self.line(f"icmp slt {i} {n}, {lowest}")
                step = self.splat(2 - bias + mantissa, "i32", width)
                power = self.line(f"select {b1} {deep}, {i} {step}, {i} {power}")
                n = self.line(f"sub {i} {n}, {power}")
            x = self._times_power(type, x, power, width)
        return x

    # 16-bit floats

    def _half(self, op: str, type: str, source: str, args: list[str], width: int) -> str:
        t = llvm_type(source, width)
        if op in ("neg", "abs"):
            name, mask = ("xor", -0x8000) if op == "neg" else ("and", 0x7FFF)
            return self.line(f"{name} {t} {args[0]}, {self.splat(mask, source, width)}")
        if op == "copysign":
            size = self.line(f"and {t} {args[0]}, {self.splat(0x7FFF, source, width)}")
            sign = self.line(f"and {t} {args[1]}, {self.splat(-0x8000, source, width)}")
            return self.line(f"or {t} {size}, {sign}")
        wide = [self.widen(a, source, width) for a in args[: 1 if op == "ldexp" else None]]
        if op == "ldexp":
            wide.append(args[1])
        if op in COMPARE:
            return self._compare(op, "f32", wide, width)
        return self.narrow(self._float(op, "f32", wide, width), source, width)

    def widen(self, x: str, type: str, width: int) -> str:
        """f16 or bf16 (as i16) to f32."""
        h, i, f = llvm_type("i16", width), llvm_type("i32", width), llvm_type("f32", width)
        line = self.line
        if type == "bf16":
            wide = line(f"zext {h} {x} to {i}")
            bits = line(f"shl {i} {wide}, {self.splat(16, 'i32', width)}")
            return line(f"bitcast {i} {bits} to {f}")
        if self.target.half:
            half = f"<{width} x half>" if width else "half"
            return line(f"fpext {half} {line(f'bitcast {h} {x} to {half}')} to {f}")
        bits = line(f"zext {h} {x} to {i}")
        size = line(f"and {i} {bits}, {self.splat(0x7FFF, 'i32', width)}")
        shifted = line(f"shl {i} {size}, {self.splat(13, 'i32', width)}")
        power = self.splat(constant("f32", 2.0**112), "f32", width)
        scaled = line(f"fmul {f} {line(f'bitcast {i} {shifted} to {f}')}, {power}")
        infinite = line(f"icmp uge {i} {size}, {self.splat(0x7C00, 'i32', width)}")
        special = line(f"or {i} {shifted}, {self.splat(0x7F800000, 'i32', width)}")
        b1 = llvm_type("b1", width)
        value = line(f"select {b1} {infinite}, {i} {special}, {i} {line(f'bitcast {f} {scaled} to {i}')}")
        sign = line(f"xor {i} {bits}, {size}")
        sign = line(f"shl {i} {sign}, {self.splat(16, 'i32', width)}")
        return line(f"bitcast {i} {line(f'or {i} {value}, {sign}')} to {f}")

    def narrow(self, x: str, type: str, width: int) -> str:
        """f32 to f16 or bf16 (as i16), to nearest even."""
        h, i, f = llvm_type("i16", width), llvm_type("i32", width), llvm_type("f32", width)
        line = self.line
        if type == "f16" and self.target.half:
            half = f"<{width} x half>" if width else "half"
            # The fence: LLVM would make one conversion, a call, of this one and one from f64 to f32 before it.
            x = self.intrinsic("arithmetic.fence", "f32", [x], width)
            return line(f"bitcast {half} {line(f'fptrunc {f} {x} to {half}')} to {h}")
        if type == "bf16":
            return bfloat.narrow(self, x, width)
        return self._narrow_half(line(f"bitcast {f} {x} to {i}"), width)

    def _narrow_half(self, bits: str, width: int) -> str:
        """The bits of an f32 to f16 in integer arithmetic: subnormals by one f32 addition, then normals, inf, NaN."""
        i, f, b1 = llvm_type("i32", width), llvm_type("f32", width), llvm_type("b1", width)
        line = self.line

        def c(value: int) -> str:
            return self.splat(value, "i32", width)

        size = line(f"and {i} {bits}, {c(0x7FFFFFFF)}")
        half = self.splat(constant("f32", 0.5), "f32", width)
        tiny = line(f"fadd {f} {line(f'bitcast {i} {size} to {f}')}, {half}")
        subnormal = line(f"sub {i} {line(f'bitcast {f} {tiny} to {i}')}, {c(0x3F000000)}")
        odd = line(f"and {i} {line(f'lshr {i} {size}, {c(13)}')}, {c(1)}")
        rounded = line(f"add {i} {line(f'add {i} {size}, {c(0xFFF - (112 << 23))}')}, {odd}")
        normal = line(f"lshr {i} {rounded}, {c(13)}")
        payload = line(f"or {i} {line(f'lshr {i} {size}, {c(13)}')}, {c(0x7E00)}")
        short = line(f"and {i} {payload}, {c(0x7FFF)}")
        is_nan = line(f"icmp ugt {i} {size}, {c(0x7F800000)}")
        special = line(f"select {b1} {is_nan}, {i} {short}, {i} {c(0x7C00)}")
        is_tiny = line(f"icmp ult {i} {size}, {c(0x38800000)}")
        result = line(f"select {b1} {is_tiny}, {i} {subnormal}, {i} {normal}")
        is_huge = line(f"icmp uge {i} {size}, {c(0x47800000)}")
        result = line(f"select {b1} {is_huge}, {i} {special}, {i} {result}")
        sign = line(f"and {i} {line(f'lshr {i} {bits}, {c(16)}')}, {c(0x8000)}")
        return line(f"trunc {i} {line(f'or {i} {result}, {sign}')} to {llvm_type('i16', width)}")

    # conversions

    def convert(self, name: str, x: str, source: str, type: str, width: int) -> str:
        """LLVM's conversion `name` from one type to another."""
        return self.line(f"{name} {llvm_type(source, width)} {x} to {llvm_type(type, width)}")

    def cast(self, x: str, source: str, type: str, width: int) -> str:
        """The value as another type: floats round to nearest even, through f32 for the 16-bit floats."""
        if source == type:
            return x
        if source in HALVES:
            return self.cast(self.widen(x, source, width), "f32", type, width)
        if type in HALVES:
            return self.narrow(self.cast(x, source, "f32", width), type, width)
        if type == "b1":
            zero = self.splat(constant(source, 0), source, width)
            return self._compare("ne", source, [x, zero], width)
        if source in FLOATS:
            if type in FLOATS:
                return self.convert("fpext" if type == "f64" else "fptrunc", x, source, type, width)
            return self._to_integer(x, source, type, width)
        unsigned = source in UNSIGNED or source == "b1"
        if type in FLOATS:
            if width and source == "i64" and not self.target.avx512:
                return (whole.to_double if type == "f64" else whole.to_float)(self, x, width)
            return self.convert("uitofp" if unsigned else "sitofp", x, source, type, width)
        if source != "b1" and SIZE[source] == SIZE[type]:
            return x
        wider = source == "b1" or SIZE[source] < SIZE[type]
        return self.convert(("zext" if unsigned else "sext") if wider else "trunc", x, source, type, width)

    def _to_integer(self, x: str, source: str, type: str, width: int) -> str:
        """Truncate, saturate to i64 (NaN: 0), wrap to the type."""
        if not width:
            whole = self.call(f"llvm.fptosi.sat.i64.{source}", "i64", [(llvm_type(source, 0), x)])
            return whole if SIZE[type] == 8 else self.convert("trunc", whole, "i64", type, width)
        if SIZE[type] == 8:
            return self._saturate(x, source, width)
        line, t, b1 = self.line, llvm_type(source, width), llvm_type("b1", width)
        size = self.intrinsic("fabs", source, [x], width)
        inside = line(f"fcmp olt {t} {size}, {self.splat(constant(source, 2.0**31), source, width)}")
        zero = self.splat(constant(source, 0.0), source, width)
        near = line(f"select {b1} {inside}, {t} {x}, {t} {zero}")
        quick = self.convert("fptosi", near, source, "i32", width)
        all_inside = self.call(f"llvm.vector.reduce.and.v{width}i1", "i1", [(b1, inside)])
        result = self.function.unless(
            all_inside, quick, llvm_type("i32", width), lambda: self._wrap_large(x, source, width)
        )
        return result if SIZE[type] == 4 else self.convert("trunc", result, "i32", type, width)

    def _saturate(self, x: str, source: str, width: int) -> str:
        """trunc(x) saturated to i64 (NaN: 0)."""
        if self.target.avx512:
            return self._saturate_any(x, source, width)
        wide = self.cast(x, source, "f64", width)
        size = self.intrinsic("fabs", "f64", [wide], width)
        bound = self.splat(constant("f64", float(whole.NEAR)), "f64", width)
        inside = self.line(f"fcmp olt {llvm_type('f64', width)} {size}, {bound}")
        return self.function.unless(
            whole.everywhere(self, inside, width),
            whole.near_whole(self, wide, width),
            llvm_type("i64", width),
            lambda: self._saturate_any(x, source, width),
        )

    def _saturate_any(self, x: str, source: str, width: int) -> str:
        line, t, b1, i = self.line, llvm_type(source, width), llvm_type("b1", width), llvm_type("i64", width)
        bound = self.splat(constant(source, 2.0**63), source, width)
        least = self.splat(constant(source, -(2.0**63)), source, width)
        inside = line(f"fcmp olt {t} {self.intrinsic('fabs', source, [x], width)}, {bound}")
        near = line(f"select {b1} {inside}, {t} {x}, {t} {self.splat(constant(source, 0.0), source, width)}")
        result = self.convert("fptosi", near, source, "i64", width)
        for compare, limit, value in (("oge", bound, 2**63 - 1), ("ole", least, -(2**63))):
            beyond = line(f"fcmp {compare} {t} {x}, {limit}")
            result = line(f"select {b1} {beyond}, {i} {self.splat(value, 'i64', width)}, {i} {result}")
        return result

    def _wrap_large(self, x: str, source: str, width: int) -> str:
        """trunc(x) saturated to i64, modulo 2**32, as i32, for any x: exact, by remainders of powers of two."""
        line, t, b1 = self.line, llvm_type(source, width), llvm_type("b1", width)

        def c(value: float) -> str:
            return self.splat(constant(source, value), source, width)

        whole = self.intrinsic("trunc", source, [x], width)
        high = self.intrinsic("trunc", source, [line(f"fmul {t} {whole}, {c(2.0**-32)}")], width)
        rest = line(f"fsub {t} {whole}, {line(f'fmul {t} {high}, {c(2.0**32)}')}")
        for compare, bound, shift in (("oge", 2.0**31, -(2.0**32)), ("olt", -(2.0**31), 2.0**32)):
            where = line(f"fcmp {compare} {t} {rest}, {c(bound)}")
            rest = line(f"select {b1} {where}, {t} {line(f'fadd {t} {rest}, {c(shift)}')}, {t} {rest}")
        near = line(f"fcmp olt {t} {self.intrinsic('fabs', source, [x], width)}, {c(2.0**63)}")
        known = line(f"and {b1} {line(f'fcmp ord {t} {rest}, {rest}')}, {near}")
        small = line(f"select {b1} {known}, {t} {rest}, {t} {c(0.0)}")
        i = llvm_type("i32", width)
        wrapped = self.convert("fptosi", small, source, "i32", width)
        top = line(f"fcmp oge {t} {x}, {c(2.0**63)}")
        return line(f"select {b1} {top}, {i} {self.splat(-1, 'i32', width)}, {i} {wrapped}")
