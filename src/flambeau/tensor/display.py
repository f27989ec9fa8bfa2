"""The printed form of tensors, as PyTorch prints them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
else:
    from ..late import np

from .. import dtypes
from ..stream import gradient
from ..stream.value import Tensor
from .create import as_numpy


class Options:
    """The settings of `set_printoptions`."""

    precision, threshold, edgeitems, linewidth, sci_mode = 4, 1000.0, 3, 80, None


OPTIONS = Options()


def set_printoptions(
    precision: Any = None,
    threshold: Any = None,
    edgeitems: Any = None,
    linewidth: Any = None,
    profile: Any = None,
    sci_mode: Any = None,
) -> None:
    """How tensors are printed; profile: "default", "short" or "full"."""
    if profile is not None:
        OPTIONS.precision, OPTIONS.threshold, OPTIONS.edgeitems, OPTIONS.linewidth = {
            "default": (4, 1000, 3, 80),
            "short": (2, 1000, 2, 80),
            "full": (4, math.inf, 3, 80),
        }[profile]
    for name, value in (
        ("precision", precision),
        ("threshold", threshold),
        ("edgeitems", edgeitems),
        ("linewidth", linewidth),
    ):
        if value is not None:
            setattr(OPTIONS, name, value)
    OPTIONS.sci_mode = sci_mode


class Formatter:
    """One width and notation for all elements of a tensor."""

    def __init__(self, values: np.ndarray, floating: bool):
        self.floating, self.width = floating, 1
        self.integral, self.sci = True, False
        if not floating:
            for v in values.ravel():
                self.width = max(self.width, len(str(v)))
            return
        flat = values.ravel().astype(np.float64)
        finite = np.abs(flat[np.isfinite(flat) & (flat != 0)])
        if finite.size == 0:
            if flat.size:
                self.width = max(len(self.integer(v)) for v in flat)
            return
        low, high = finite.min(), finite.max()
        nonzero = flat[np.isfinite(flat) & (flat != 0)]
        self.integral = bool(np.all(nonzero == np.ceil(nonzero)))
        p = OPTIONS.precision
        if self.integral:
            if high / low > 1000.0 or high > 1.0e8:
                self.sci = True
                self.width = max(len(f"{v:.{p}e}") for v in nonzero)
            else:
                self.width = max(len(f"{v:.0f}") + 1 for v in nonzero)
        elif high / low > 1000.0 or high > 1.0e8 or low < 1.0e-4:
            self.sci = True
            self.width = max(len(f"{v:.{p}e}") for v in nonzero)
        else:
            self.width = max(len(f"{v:.{p}f}") for v in nonzero)
        if OPTIONS.sci_mode is not None:
            self.sci = OPTIONS.sci_mode
            if self.sci:
                self.width = max(len(f"{v:.{p}e}") for v in nonzero)
            else:
                self.width = max(len(f"{v:.{0 if self.integral else p}f}") + self.integral for v in nonzero)

    @staticmethod
    def integer(v: float) -> str:
        """A whole number among floats, with its point."""
        return f"{v:.0f}." if math.isfinite(v) else str(float(v))

    def format(self, v: Any) -> str:
        """One element as text."""
        if not self.floating:
            text = str(v)
        elif self.sci:
            text = f"{v:{self.width}.{OPTIONS.precision}e}"
        elif self.integral:
            text = self.integer(v)
        else:
            text = f"{v:.{OPTIONS.precision}f}"
        return text.rjust(self.width)


class PairFormatter:
    """Complex elements: a notation for the real parts, one for the imaginary ones."""

    def __init__(self, values: np.ndarray):
        self.parts = Formatter(values.real, True), Formatter(values.imag, True)
        self.width = self.parts[0].width + self.parts[1].width + 1

    def format(self, v: complex) -> str:
        """One element as text."""
        re, im = self.parts[0].format(v.real), (self.parts[1].format(v.imag) + "j").lstrip()
        return re + im if im[0] in "+-" else f"{re}+{im}"


def _vector(row: np.ndarray, indent: int, summarize: bool, f: Formatter | PairFormatter) -> str:
    length = f.width + 2
    per_line = max(1, math.floor((OPTIONS.linewidth - indent) / length))
    n = OPTIONS.edgeitems
    values = row.tolist()
    if summarize and not n:
        data = ["..."]
    elif summarize and len(values) > 2 * n:
        data = [f.format(v) for v in values[:n]] + [" ..."] + [f.format(v) for v in values[-n:]]
    else:
        data = [f.format(v) for v in values]
    lines = [data[i : i + per_line] for i in range(0, len(data), per_line)]
    return "[" + ("," + "\n" + " " * (indent + 1)).join(", ".join(line) for line in lines) + "]"


def _block(a: np.ndarray, indent: int, summarize: bool, f: Formatter | PairFormatter) -> str:
    if a.ndim == 0:
        return f.format(a.item())
    if a.ndim == 1:
        return _vector(a, indent, summarize, f)
    n = OPTIONS.edgeitems
    if summarize and len(a) > 2 * n:
        slices = [_block(a[i], indent + 1, summarize, f) for i in range(n)] + ["..."]
        slices += [_block(a[i], indent + 1, summarize, f) for i in range(len(a) - n, len(a))]
    else:
        slices = [_block(a[i], indent + 1, summarize, f) for i in range(len(a))]
    return "[" + ("," + "\n" * (a.ndim - 1) + " " * (indent + 1)).join(slices) + "]"


def _shown(a: np.ndarray) -> np.ndarray:
    """The part of a large tensor that is printed: what decides the width of its columns."""
    n = OPTIONS.edgeitems
    for d in range(a.ndim):
        if a.shape[d] > 2 * n:
            keep = np.r_[0:n, a.shape[d] - n : a.shape[d]]
            a = np.take(a, keep, axis=d)
    return a


def is_usual(d: dtypes.dtype) -> bool:
    """Whether a printed tensor does not name its dtype."""
    usual = dtypes.default_dtype()
    also = dtypes.complex128 if usual is dtypes.float64 else dtypes.complex64
    return d in (usual, also, dtypes.int64, dtypes.bool_)


def contents(t: Tensor, indent: int) -> str:
    """The elements of a tensor, in brackets."""
    meta = t._meta
    if not meta.numel:
        return "[]"
    a = readable(t)
    summarize = meta.numel > OPTIONS.threshold
    shown = _shown(a) if summarize else a
    f = PairFormatter(shown) if meta.dtype.is_complex else Formatter(shown, meta.dtype.is_floating_point)
    return _block(a, indent, summarize, f)


def to_text(t: Tensor) -> str:
    """repr(t)."""
    prefix = "tensor("
    indent = len(prefix)
    meta = t._meta
    suffixes = []
    d = meta.dtype
    default = is_usual(d)
    if meta.device.type == "meta":
        suffixes += [f"device='{meta.device}'", f"size={tuple(meta.shape)}"]
        default = d is dtypes.default_dtype()
        text = "..."
    elif meta.numel == 0:
        if meta.ndim != 1:
            suffixes.append(f"size={tuple(meta.shape)}")
        default = d is dtypes.default_dtype()
        text = "[]"
    else:
        text = contents(t, indent)
    if not default:
        suffixes.append(f"dtype={d}")
    try:
        node = gradient.grad_fn(t)
        name = node and node.name()
    except RuntimeError:  # a view that lost its history
        name = "Invalid"
    if name:
        suffixes.append(f"grad_fn=<{name}>")
    elif t._rg:
        suffixes.append("requires_grad=True")
    return with_suffixes(prefix + text, suffixes, indent)


def readable(t: Tensor) -> np.ndarray:
    """The elements as NumPy numbers (bfloat16 as float32)."""
    a = as_numpy(t)
    if t._meta.dtype.name == "bfloat16":
        return (a.astype(np.uint32) << 16).view(np.float32)
    return a


def with_suffixes(text: str, suffixes: list[str], indent: int, break_first: bool = False) -> str:
    """The printed form, closed; break_first: the suffixes begin on a line of their own."""
    last = len(text) - text.rfind("\n") + 1
    parts = [text]
    for suffix in suffixes:
        if break_first or last + len(suffix) + 2 > OPTIONS.linewidth:
            break_first = False
            parts.append(",\n" + " " * indent + suffix)
            last = indent + len(suffix)
        else:
            parts.append(", " + suffix)
            last += len(suffix) + 2
    return "".join(parts) + ")"


def format_spec(self: Tensor, spec: str) -> str:
    """format(t, spec): numbers by their value, others as printed."""
    if self._meta.ndim == 0 and self._meta.device.type != "meta":
        return self.item().__format__(spec)  # type: ignore[attr-defined]
    return object.__format__(self, spec)
