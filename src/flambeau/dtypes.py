"""dtypes, devices, memory formats and the rules of type promotion."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from .late import np


class dtype:
    """An element type. `short` is its name in the loop IR ("f32"); one object for each type, compared by identity."""

    __slots__ = (
        *("_np", "_rank", "is_complex", "is_floating_point", "is_inexact", "is_signed", "itemsize", "name"),
        *("_dtype", "part", "short"),
    )
    part: dtype  # of the real and of the imaginary part; the type itself of a real type

    def __init__(self, name: str, short: str, itemsize: int, rank: int, np_name: str | None):
        self.name, self.short, self.itemsize, self._rank = name, short, itemsize, rank
        self.is_floating_point, self.is_complex, self.is_inexact = rank == 2, rank == 3, rank >= 2
        self.part = self
        self.is_signed = rank >= 2 or short[0] == "i"
        self._np = np_name
        self._dtype: Any = None

    @property
    def np(self) -> Any:
        """NumPy's dtype; None if NumPy has none for this type."""
        if self._dtype is None and self._np:
            self._dtype = np.dtype(self._np)
        return self._dtype

    def __repr__(self) -> str:
        return f"torch.{self.name}"

    def __reduce__(self) -> str | tuple[Any, ...]:
        return (_dtype_by_name, (self.name,))

    def __copy__(self) -> dtype:
        return self

    def __deepcopy__(self, memo: object) -> dtype:
        return self

    @property
    def in_c(self) -> str:
        """The name of the C++ type, as it stands in PyTorch's messages."""
        return IN_C.get(self.name, f"{self.name}_t")

    def to_real(self) -> dtype:
        """The type of the real part of a complex type; the type itself otherwise."""
        return self.part

    def to_complex(self) -> dtype:
        """The complex type whose parts have this type."""
        return {"float16": complex32, "float32": complex64, "float64": complex128}.get(self.name, self)


IN_C = {
    "float32": "float",
    "float64": "double",
    "float16": "c10::Half",
    "bfloat16": "c10::BFloat16",
    "int32": "int",
}
IN_C |= {"bool": "bool", "complex64": "c10::complex<float>", "complex128": "c10::complex<double>"}


def _dtype_by_name(name: str) -> dtype:
    return ALL[name] if name in ALL else NAMED[name]


# rank: 0 bool, 1 integer, 2 floating point, 3 complex
bool_ = dtype("bool", "b1", 1, 0, "bool")
uint8 = dtype("uint8", "u8", 1, 1, "uint8")
int8 = dtype("int8", "i8", 1, 1, "int8")
int16 = dtype("int16", "i16", 2, 1, "int16")
int32 = dtype("int32", "i32", 4, 1, "int32")
int64 = dtype("int64", "i64", 8, 1, "int64")
uint16 = dtype("uint16", "u16", 2, 1, "uint16")
uint32 = dtype("uint32", "u32", 4, 1, "uint32")
uint64 = dtype("uint64", "u64", 8, 1, "uint64")
float16 = dtype("float16", "f16", 2, 2, "float16")
bfloat16 = dtype("bfloat16", "bf16", 2, 2, None)
float32 = dtype("float32", "f32", 4, 2, "float32")
float64 = dtype("float64", "f64", 8, 2, "float64")
complex32 = dtype("complex32", "c32", 4, 3, None)
complex64 = dtype("complex64", "c64", 8, 3, "complex64")
complex128 = dtype("complex128", "c128", 16, 3, "complex128")

ALL = {
    d.name: d
    for d in (
        *(bool_, uint8, int8, int16, int32, int64, uint16, uint32, uint64),
        *(float16, bfloat16, float32, float64, complex32, complex64, complex128),
    )
}
ALIASES = {"half": float16, "float": float32, "double": float64, "short": int16, "int": int32, "long": int64}
ALIASES |= {"cfloat": complex64, "cdouble": complex128, "chalf": complex32}
complex32.part, complex64.part, complex128.part = float16, float32, float64
BY_SHORT = {d.short: d for d in ALL.values()}
# Types that have a name, for tables of them, and no tensors.
NAMED = {
    name: dtype(name, name, 1, 2, None)
    for name in (
        *("float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu"),
        "float4_e2m1fn_x2",
    )
} | {name: dtype(name, name, size, 1, None) for name, size in {"qint8": 1, "quint8": 1, "qint32": 4}.items()}
BY_NUMPY_NAME = {d._np: d for d in ALL.values() if d._np is not None}


@functools.lru_cache(256)  # NumPy takes long to find the name
def by_numpy(array_dtype: Any) -> dtype | None:
    """The type that NumPy calls so; None if there is none."""
    return BY_NUMPY_NAME.get(array_dtype.name) if array_dtype.isnative else None


_ORDER = {d: i for i, d in enumerate((uint8, int8, int16, int32, int64))}
_FLOAT_ORDER = {d: i for i, d in enumerate((float16, bfloat16, float32, float64))}
_default = float32
_promoted: dict[tuple[dtype, dtype], dtype] = {}


def default_dtype() -> dtype:
    """The floating-point type of new tensors."""
    return _default


AT_DEFAULT: list[Callable[[], None]] = []  # what is to be done when the default dtype changes


def set_default_dtype(d: dtype) -> None:
    """Set the type of new floating-point tensors (float32 at the start)."""
    global _default
    if not (isinstance(d, dtype) and d.is_floating_point):
        raise TypeError("only floating-point types are supported as the default type")
    _default = d
    for forget in AT_DEFAULT:
        forget()


def promote_types(a: dtype, b: dtype) -> dtype:
    """The smallest type of PyTorch's promotion lattice that is not smaller than either."""
    if a is b:
        return a
    found = _promoted.get((a, b))
    if found is None:
        found = _promoted[a, b] = _promote(a, b)
    return found


def _promote(a: dtype, b: dtype) -> dtype:
    if a._rank > b._rank:
        a, b = b, a
    if b._rank == 3:
        real = a.to_real() if a._rank == 3 else a
        value = promote_types(real, b.to_real()) if a._rank >= 2 else b.to_real()
        return value.to_complex() if value.to_complex() is not value else complex64
    if b._rank > a._rank:
        return b
    if b._rank == 2:
        if {a, b} == {float16, bfloat16}:
            return float32
        return a if _FLOAT_ORDER[a] > _FLOAT_ORDER[b] else b
    if a not in _ORDER or b not in _ORDER:
        return _promote_unsigned(a, b)
    if uint8 in (a, b) and int8 in (a, b):
        return int16
    return a if _ORDER[a] > _ORDER[b] else b


def _promote_unsigned(a: dtype, b: dtype) -> dtype:
    if not a.is_signed and not b.is_signed:
        return a if a.itemsize > b.itemsize else b
    raise RuntimeError(
        f"Promotion for uint16, uint32, uint64 types is not supported, attempted to promote {a.name} and {b.name}"
    )


NUMBER_RANK = {bool: 0, int: 1, float: 2, complex: 3}


def number_dtype(kind: type) -> dtype:
    """The type a tensor made from a Python number of this kind has."""
    if kind is bool:
        return bool_
    if kind is int:
        return int64
    return _default if kind is float else _default.to_complex()


def result_type(operands: list[tuple[dtype, int]]) -> dtype:
    """Promote (dtype, level) pairs; level 2: tensor with dimensions, 1: 0-dim tensor, 0: Python number.

    A lower level takes part only if its category (bool, integer, float, complex) is higher than that of all above it.
    """
    result: dtype | None = None
    base = 0
    for level in (2, 1, 0):
        for d, at in operands:
            if at != level:
                continue
            if result is None:
                result, base = d, level
            elif at == base or d._rank > result._rank:
                result = promote_types(result, d) if at == base else _widen(result, d)
                base = max(level, 0) if at == base else base
    if result is None:
        raise ValueError("result_type: there are no operands")
    return result


def _widen(result: dtype, d: dtype) -> dtype:
    if d._rank == 3 and result._rank == 2:
        return complex64 if result is bfloat16 else result.to_complex()
    return d


class device:
    """A place for tensors: `device("cpu")`, `device("cuda:1")`, `device("cuda", 1)`."""

    __slots__ = ("index", "type")

    index: int | None
    type: str
    mode: Any = None  # the class that sees the calls of constructors (tensor/factories.py)
    _known = ("cpu", "cuda", "mps", "xpu", "xla", "meta", "hpu", "mtia")

    def __init__(self, type: Any = "cpu", index: int | None = None):
        if isinstance(type, device):
            type, index = type.type, type.index
        elif isinstance(type, int):
            type, index = "cuda", type
        elif ":" in type:
            type, _, digits = type.partition(":")
            if not digits.isdigit():
                raise RuntimeError(f"Invalid device string: '{type}:{digits}'")
            index = int(digits)
        if type not in self._known:
            raise RuntimeError(
                f"Expected one of {', '.join(self._known)} device type at start of device string: {type}"
            )
        object.__setattr__(self, "type", type)
        object.__setattr__(self, "index", index)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"attribute '{name}' of 'torch.device' objects is not writable")

    def __repr__(self) -> str:
        return f"device(type='{self.type}'" + (f", index={self.index})" if self.index is not None else ")")

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, device) and (self.type, self.index) == (other.type, other.index)

    def __hash__(self) -> int:
        return hash((self.type, self.index))

    def __reduce__(self) -> tuple[Any, ...]:
        return (device, (self.type,) if self.index is None else (self.type, self.index))

    def __enter__(self) -> device:
        """Within `with device(...):`, constructors make their tensors there."""
        device.mode(self).__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        device.mode.leave()


CPU, META = device("cpu"), device("meta")


class layout:
    """How a tensor's elements are kept: torch.strided, torch.sparse_coo, ..."""

    __slots__ = ("name",)

    def __init__(self, name: str):
        self.name = name

    def __repr__(self) -> str:
        return f"torch.{self.name}"


class memory_format(layout):
    """The order of a tensor's elements in memory: torch.contiguous_format, torch.channels_last, ..."""

    __slots__ = ()


strided, sparse_coo, sparse_csr = layout("strided"), layout("sparse_coo"), layout("sparse_csr")
# Layouts that no tensor has.
LAYOUTS = {name: layout(name) for name in ("jagged", "sparse_bsc", "sparse_bsr", "sparse_csc", "_mkldnn")}
contiguous_format, preserve_format = memory_format("contiguous_format"), memory_format("preserve_format")
channels_last, channels_last_3d = memory_format("channels_last"), memory_format("channels_last_3d")


class finfo:
    """Limits of a floating-point type: eps, max, min, tiny, smallest_normal, resolution, bits."""

    _table = {
        "float16": (9.765625e-4, 65504.0, 6.103515625e-05, 1e-3),
        "bfloat16": (0.0078125, 3.3895313892515355e38, 1.1754943508222875e-38, 1e-2),
        "float32": (1.1920928955078125e-07, 3.4028234663852886e38, 1.1754943508222875e-38, 1e-6),
        "float64": (2.220446049250313e-16, 1.7976931348623157e308, 2.2250738585072014e-308, 1e-15),
        "float8_e4m3fn": (0.125, 448.0, 0.015625, 1.0),
        "float8_e4m3fnuz": (0.125, 240.0, 0.0078125, 1.0),
        "float8_e5m2": (0.25, 57344.0, 6.103515625e-05, 1.0),
        "float8_e5m2fnuz": (0.125, 57344.0, 3.0517578125e-05, 1.0),
        "float8_e8m0fnu": (1.0, 2.0**127, 2.0**-127, 1.0),
    }

    def __init__(self, type: dtype | None = None):
        type = (type or _default).to_real()
        if not type.is_floating_point:
            raise TypeError(
                f"torch.finfo() requires a floating point input type. Use torch.iinfo to handle '{type!r}'"
            )
        self.eps, self.max, self.tiny, self.resolution = self._table[type.name]
        self.min, self.smallest_normal, self.bits, self.dtype = (
            self.tiny if type.name == "float8_e8m0fnu" else -self.max,  # which has no sign
            self.tiny,
            type.itemsize * 8,
            type.name,
        )

    def __repr__(self) -> str:
        return (
            f"finfo(resolution={self.resolution:g}, min={self.min:g}, max={self.max:g}, eps={self.eps:g}, "
            f"smallest_normal={self.smallest_normal:g}, tiny={self.tiny:g}, dtype={self.dtype})"
        )


class iinfo:
    """Limits of an integer type: min, max, bits."""

    def __init__(self, type: dtype):
        if type._rank != 1:
            raise TypeError(
                f"torch.iinfo() requires an integer input type. Use torch.finfo to handle '{type!r}'"
            )
        self.bits, self.dtype = type.itemsize * 8, type.name
        self.max = 2 ** (self.bits - type.is_signed) - 1
        self.min = -(2 ** (self.bits - 1)) if type.is_signed else 0

    def __repr__(self) -> str:
        return f"iinfo(min={self.min:g}, max={self.max:g}, dtype={self.dtype})"
