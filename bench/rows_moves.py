"""More rows of elementwise.py: what moves, selects, casts and compares, and reductions over columns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Make = Callable[[Any], Callable[[], Any]]
SIZES = {"256Ki": 1 << 18, "8Mi": 1 << 23}  # elements
WIDE = 2048  # columns of a matrix
TYPES = {
    "float32": 4,
    "float64": 8,
    "bfloat16": 2,
    "float16": 2,
    "uint8": 1,
    "int32": 4,
    "int64": 8,
    "bool": 1,
}
SIZE = TYPES | {"int16": 2, "int8": 1, "complex64": 8, "complex128": 16}
Call = Callable[..., Any]


def register(case: Callable[[str, int, Make], None], given: Callable[..., Any]) -> None:
    """Add all rows."""
    for label, n in SIZES.items():

        def of(
            name: str, moved: float, shape: tuple[int, ...], f: Call, dtype: str = "float32", tag: str = label
        ) -> None:
            """f(torch, x); moved: bytes for each element."""

            def make(torch: Any) -> Callable[[], Any]:
                x = given(
                    torch, *shape, **({"kind": "99"} if dtype[0] in "iub" and dtype != "bfloat16" else {})
                )
                x = x > 50 if dtype == "bool" else x.to(getattr(torch, dtype))
                return lambda: f(torch, x)

            case(f"{name} of {tag}", int(moved * int(np.prod(shape))), make)

        for group in (joined, placed, cast, compared, whole, columns, images, parts):
            group(n, of)
        chosen(label, n, case, given)


def joined(n: int, of: Callable[..., None]) -> None:
    """What copies rows and columns to other places."""
    m = (n // WIDE, WIDE)
    for dtype in ("float32", "uint8", "int64"):
        s = SIZE[dtype]
        for dim in (0, 1):
            of(f"cat {dim} {dtype}", 3 * s, m, lambda torch, x, d=dim: torch.cat([x, x], d), dtype)
            of(f"flip {dim} {dtype}", 2 * s, m, lambda torch, x, d=dim: x.flip(d), dtype)
            of(f"roll {dim} {dtype}", 2 * s, m, lambda torch, x, d=dim: x.roll(3, d), dtype)
            of(
                f"repeat_interleave {dim} {dtype}",
                3 * s,
                m,
                lambda torch, x, d=dim: x.repeat_interleave(2, d),
                dtype,
            )
        of(f"stack 0 {dtype}", 3 * s, m, lambda torch, x: torch.stack([x, x], 0), dtype)
        of(f"stack last {dtype}", 3 * s, m, lambda torch, x: torch.stack([x, x], -1), dtype)
        of(f"tile {dtype}", 3 * s, m, lambda torch, x: x.tile(1, 2), dtype)
        of(f"repeat {dtype}", 3 * s, m, lambda torch, x: x.repeat(2, 1), dtype)
        of(f"pad {dtype}", 2 * s, m, lambda torch, x: torch.nn.functional.pad(x, (1, 2, 1, 2)), dtype)
        of(f"every second {dtype}", 2 * s, m, lambda torch, x: x[:, ::2].contiguous(), dtype)
        of(f"rot90 {dtype}", 2 * s, m, lambda torch, x: x.rot90(), dtype)
        of(f"tril {dtype}", 1.5 * s, m, lambda torch, x: x.tril(), dtype)
        of(f"full {dtype}", s, m, lambda torch, x: torch.full_like(x, 3), dtype)
    of("cat three 1", 6 * 4, (n // 64, 64), lambda torch, x: torch.cat([x, x, x], 1))
    of(
        "pad reflect",
        8,
        (n // 65536, 256, 256),
        lambda torch, x: torch.nn.functional.pad(x, (2, 2, 2, 2), "reflect"),
    )
    of("unfold", 8 * 3, (n // 65536, 256, 256), lambda torch, x: x.unfold(1, 2, 1).contiguous())


def placed(n: int, of: Callable[..., None]) -> None:
    """Masks and differences by place."""
    m = (n // WIDE, WIDE)
    of("triu", 6, m, lambda torch, x: x.triu())
    of("diff 0", 8, m, lambda torch, x: x.diff(dim=0))
    of("diff 1", 8, m, lambda torch, x: x.diff(dim=1))
    of("masked_fill", 9, m, lambda torch, x: x.masked_fill(x > 0, 0.0))
    of("dropout", 8, m, lambda torch, x: torch.nn.functional.dropout(x, 0.5))
    of("one_hot 16", 136, (n // 16,), lambda torch, x: torch.nn.functional.one_hot(x % 16, 16), "int64")
    of("addcmul", 8, m, lambda torch, x: torch.addcmul(x, x, x))
    of("lerp", 8, m, lambda torch, x: torch.lerp(x, x, 0.5))
    of("x + row", 8, m, lambda torch, x: x + x[0])
    of("x + column", 8, m, lambda torch, x: x + x[:, :1])
    of("x + x.t()", 8, (int(n**0.5),) * 2, lambda torch, x: x + x.t())
    of("outer", 4, (int(n**0.5),) * 2, lambda torch, x: torch.outer(x[0], x[1]))


def cast(n: int, of: Callable[..., None]) -> None:
    """Every type to every other."""
    for a, s in TYPES.items():
        for b, t in TYPES.items():
            if a != b:
                of(f"cast {a} {b}", s + t, (n,), lambda torch, x, to=b: x.to(getattr(torch, to)), a)


def compared(n: int, of: Callable[..., None]) -> None:
    """Comparisons, logic, bits, small types."""
    for dtype, s in SIZE.items():
        of(f"clone {dtype}", 2 * s, (n,), lambda torch, x: x.clone(), dtype)
        if dtype != "bool":
            of(f"add {dtype}", 2 * s, (n,), lambda torch, x: x + x, dtype)
            of(f"eq {dtype}", s + 1, (n,), lambda torch, x: x == 3, dtype)
        if dtype not in ("complex64", "complex128", "bool"):
            of(f"gt {dtype}", s + 1, (n,), lambda torch, x: x > 3, dtype)
            of(f"mul {dtype}", 2 * s, (n,), lambda torch, x: x * x, dtype)
            of(f"maximum {dtype}", 2 * s, (n,), lambda torch, x: torch.maximum(x, x), dtype)
            of(f"where {dtype}", 2 * s, (n,), lambda torch, x: torch.where(x > 3, x, 0), dtype)
        if dtype[0] in "iu" or dtype == "bool":
            of(f"bitwise_and {dtype}", 2 * s, (n,), lambda torch, x: x & x, dtype)
            of(f"bitwise_not {dtype}", 2 * s, (n,), lambda torch, x: ~x, dtype)
        if dtype[0] in "iu":
            of(f"shift {dtype}", 2 * s, (n,), lambda torch, x: x << 1, dtype)
    for dtype in ("complex64", "complex128"):
        s = SIZE[dtype]
        of(f"mul {dtype}", 2 * s, (n // 2,), lambda torch, x: x * x, dtype)
        of(f"conj {dtype}", 2 * s, (n // 2,), lambda torch, x: x.conj().resolve_conj(), dtype)
        of(f"abs {dtype}", 1.5 * s, (n // 2,), lambda torch, x: x.abs(), dtype)
        of(f"real {dtype}", 1.5 * s, (n // 2,), lambda torch, x: x.real.clone(), dtype)
        of(f"sum {dtype}", s, (n // 2,), lambda torch, x: x.sum(), dtype)
        of(f"sum 0 {dtype}", s, (n // 2 // 1024, 1024), lambda torch, x: x.sum(0), dtype)
    of("complex", 12, (n,), lambda torch, x: torch.complex(x, x))
    of("isnan", 5, (n,), lambda torch, x: x.isnan())
    of("logical_not", 5, (n,), lambda torch, x: x.logical_not())


def whole(n: int, of: Callable[..., None]) -> None:
    """Reductions of all elements and of rows."""
    for dtype in ("float32", "float64", "bfloat16", "float16", "int64", "int32", "uint8"):
        s = SIZE[dtype]
        for name in ("sum", "amax", "argmax", "prod"):
            for dim in ((), (0,), (1,)):
                if not (name == "prod" and dtype != "float32"):
                    f = lambda torch, x, k=name, d=dim: getattr(x, k)(*d)
                    of(f"{name} {dim[0] if dim else 'all'} {dtype}", s, (n // 1024, 1024), f, dtype)
    for dtype in ("float32", "float64", "bfloat16"):
        for name in ("var", "norm", "mean"):
            for dim in ((), (0,), (1,)):
                f = lambda torch, x, k=name, d=dim: getattr(x, k)(**({"dim": d} if d else {}))
                of(f"{name} {dim[0] if dim else 'all'} {dtype}", SIZE[dtype], (n // 1024, 1024), f, dtype)
    of("any bool", 1, (n,), lambda torch, x: (~x).all(), "bool")
    of("count_nonzero", 4, (n,), lambda torch, x: x.count_nonzero())
    of("max 0", 4, (n // 1024, 1024), lambda torch, x: x.max(0).values)
    of("max 1", 4, (n // 1024, 1024), lambda torch, x: x.max(1).values)
    of("aminmax", 4, (n,), lambda torch, x: torch.aminmax(x)[0])
    of("median rows", 4, (n // 1024, 1024), lambda torch, x: x.median(1).values)
    of("dot", 4, (n,), lambda torch, x: torch.dot(x, x))
    of("dist", 4, (n,), lambda torch, x: torch.dist(x, x[:1]))


def columns(n: int, of: Callable[..., None]) -> None:
    """Along columns, high and low, and in the middle."""
    shapes = {"high": ((n // 64, 64), 0), "low": ((64, n // 64), 0), "middle": ((n // 16384, 256, 64), 1)}
    for where, (shape, d) in shapes.items():
        for name, moved in (
            ("sum", 4),
            ("amax", 4),
            ("argmax", 4),
            ("softmax", 8),
            ("cumsum", 8),
            ("cummax", 16),
            ("logsumexp", 4),
            ("cumprod", 8),
        ):
            f = lambda torch, x, k=name, d=d: getattr(x, k)(d)
            g = (lambda torch, x, d=d: x.cummax(d).values) if name == "cummax" else f
            of(f"{name} {where}", moved, shape, g)
        of(f"var {where}", 4, shape, lambda torch, x, d=d: x.var(d))
        of(f"normalize {where}", 8, shape, lambda torch, x, d=d: torch.nn.functional.normalize(x, dim=d))
    four = (n // 65536, 64, 32, 32)
    functional: Call = lambda torch: torch.nn.functional
    of("layer_norm", 8, (n // 1024, 1024), lambda torch, x: functional(torch).layer_norm(x, (1024,)))
    of("layer_norm 64", 8, (n // 64, 64), lambda torch, x: functional(torch).layer_norm(x, (64,)))
    of("rms_norm", 8, (n // 1024, 1024), lambda torch, x: functional(torch).rms_norm(x, (1024,)))
    of("batch_norm", 8, four, lambda torch, x: functional(torch).batch_norm(x, None, None, None, None, True))
    of("group_norm", 8, four, lambda torch, x: functional(torch).group_norm(x, 8))
    of("instance_norm", 8, four, lambda torch, x: functional(torch).instance_norm(x))


def images(n: int, of: Callable[..., None]) -> None:
    """Pools and interpolation."""
    four = (n // 65536, 16, 64, 64)
    for dtype in ("float32", "bfloat16"):
        s = SIZE[dtype]
        for name in ("max_pool2d", "avg_pool2d"):
            f = lambda torch, x, k=name: getattr(torch.nn.functional, k)(x, 2)
            of(f"{name} 2 {dtype}", 1.25 * s, four, f, dtype)
            f = lambda torch, x, k=name: getattr(torch.nn.functional, k)(x, 3, 1, 1)
            of(f"{name} 3/1 {dtype}", 2 * s, four, f, dtype)
            f = lambda torch, x, k=name: getattr(torch.nn.functional, k)(x, 3, 2, 1)
            of(f"{name} 3/2 {dtype}", 1.25 * s, four, f, dtype)
        for mode in ("nearest", "bilinear"):
            f = lambda torch, x, m=mode: torch.nn.functional.interpolate(x, scale_factor=2, mode=m)
            of(f"{mode} twice {dtype}", 5 * s, four, f, dtype)
        f = lambda torch, x: torch.nn.functional.adaptive_avg_pool2d(x, 1)
        of(f"adaptive_avg_pool2d 1 {dtype}", s, four, f, dtype)


def parts(n: int, of: Callable[..., None]) -> None:
    """Axes exchanged of types that have no row yet, and of sides that are no powers of two."""
    for dtype in ("uint8", "int16", "bfloat16", "float32", "int64", "complex64"):
        s = SIZE[dtype]
        for rows in (100, 1000, 3):
            f = lambda torch, x: x.t().contiguous()
            of(f"t {rows} rows {dtype}", 2 * s, (rows, n // rows), f, dtype)
        of(f"t narrow {dtype}", 2 * s, (n // 3, 3), lambda torch, x: x.t().contiguous(), dtype)
        for order in ((3, 2, 1, 0), (0, 2, 3, 1), (0, 3, 1, 2), (0, 2, 1, 3)):
            f = lambda torch, x, o=order: x.permute(*o).contiguous()
            of(
                f"permuted 3x224 {''.join(map(str, order))} {dtype}",
                2 * s,
                (n // 150528, 3, 224, 224),
                f,
                dtype,
            )


def chosen(label: str, n: int, case: Callable[[str, int, Make], None], given: Call) -> None:
    """Rows and elements by number."""
    m = (n // WIDE, WIDE)

    def of(name: str, moved: float, f: Call, top: int, count: int, across: tuple[int, ...] = ()) -> None:
        def make(torch: Any) -> Callable[[], Any]:
            x = given(torch, *m)
            i = given(torch, *(across or (count,)), dtype=np.int64, kind=str(top))
            return lambda: f(torch, x, i)

        case(f"{name} of {label}", int(moved * n), make)

    of("index_select 0", 8, lambda torch, x, i: x.index_select(0, i), m[0], m[0])
    of("index_select 1", 8, lambda torch, x, i: x.index_select(1, i), m[1], m[1])
    of("x[:, i]", 8, lambda torch, x, i: x[:, i], m[1], m[1])
    of("gather 0", 16, lambda torch, x, i: x.gather(0, i), m[0], 0, m)
    of("gather 1", 16, lambda torch, x, i: x.gather(1, i), m[1], 0, m)
    of("scatter 1", 20, lambda torch, x, i: x.scatter(1, i, x), m[1], 0, m)
    of("scatter 0", 20, lambda torch, x, i: x.scatter(0, i, x), m[0], 0, m)
    of("take_along_dim", 16, lambda torch, x, i: x.take_along_dim(i, 1), m[1], 0, m)
    of("x[mask]", 7, lambda torch, x, i: x[x > 0], 2, 1)
    of("where three", 13, lambda torch, x, i: torch.where(i > 0, x, -x), 2, 0, m)
    of("index_fill", 8, lambda torch, x, i: x.index_fill(0, i, 1.0), m[0], 8)
    of("index_copy", 8, lambda torch, x, i: x.index_copy(0, i, x[: len(i)]), m[0], 8)
