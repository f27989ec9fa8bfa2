"""More rows of elementwise.py: short rows, axes exchanged, small types, counts, windows; in the caches and beyond."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Make = Callable[[Any], Callable[[], Any]]
SIZES = {"256Ki": 1 << 18, "8Mi": 1 << 23}  # elements


def register(case: Callable[[str, int, Make], None], given: Callable[..., Any]) -> None:
    """Add all rows."""
    for label, n in SIZES.items():

        def of(
            name: str,
            moved: int,
            shape: tuple[int, ...],
            f: Callable[..., Any],
            dtype: str = "float32",
            kind: str = "normal",
            *,
            back: bool = False,
            tag: str = label,
        ) -> None:
            """f(torch, x), and with `back` its gradient."""

            def make(torch: Any, grad: bool = False) -> Callable[[], Any]:
                x = given(torch, *shape, kind=kind).to(getattr(torch, dtype))
                if not grad:
                    return lambda: f(torch, x)
                x.requires_grad_()
                g = given(torch, *f(torch, x).shape, seed=9).to(getattr(torch, dtype))
                return lambda: torch.autograd.grad(f(torch, x), x, g)

            case(f"{name} of {tag}", moved, make)
            if back:
                case(f"{name} there and back of {tag}", moved * 5 // 2, lambda torch: make(torch, True))

        rows(n, of)
        orders(n, of)
        windows(n, of)
        several_axes(n, of)
        several(label, n, case, given)


def rows(n: int, of: Callable[..., None]) -> None:
    """Softmax and scans of rows."""
    for width in (32, 64, 128):
        shape = (n // width, width)
        for name in ("softmax", "log_softmax"):
            f: Callable[..., Any] = lambda torch, x, k=name: getattr(x, k)(1)
            of(f"{name} rows of {width}", 8 * n, shape, f, back=True)
        for name in ("cumsum", "cumprod", "logcumsumexp", "cummax"):
            f = lambda torch, x, k=name: getattr(x, k)(1)
            of(f"{name} rows of {width}", (16 if name == "cummax" else 8) * n, shape, f)
    of("cumsum rows of 10", 8 * n, (n // 10, 10), lambda torch, x: x.cumsum(1))
    of("softmax over columns", 8 * n, (n // 1024, 1024), lambda torch, x: x.softmax(0), back=True)
    of("log_softmax over columns", 8 * n, (n // 1024, 1024), lambda torch, x: x.log_softmax(0), back=True)
    for dtype in ("int64", "int32", "float64"):
        for dim, shape in (("rows", (n // 1024, 1024)), ("columns", (1024, n // 1024))):
            g: Callable[..., Any] = lambda torch, x, d=int(dim == "rows"): x.cummax(d)
            moved = n * (24 if dtype == "int32" else 32) // 2
            of(f"cummax {dim} {dtype}", moved, shape, g, dtype, "normal" if dtype == "float64" else "99999")
    for dim in (0, 1):
        of(f"logcumsumexp dim {dim}", 8 * n, (1024, n // 1024), lambda torch, x, d=dim: x.logcumsumexp(d))
    of("gelu", 8 * n, (n,), lambda torch, x: torch.nn.functional.gelu(x), back=True)
    tanh: Callable[..., Any] = lambda torch, x: torch.nn.functional.gelu(x, approximate="tanh")
    of("gelu tanh", 8 * n, (n,), tanh, back=True)
    of("unique_consecutive", 9 * n, (n,), lambda torch, x: x.unique_consecutive(), "int64", "3")


def orders(n: int, of: Callable[..., None]) -> None:
    """Axes exchanged, in types of one to eight bytes."""
    four = (n // 1024 // 16, 8, 32, 64)
    for dtype, size in (("uint8", 1), ("bfloat16", 2), ("float32", 4), ("float64", 8)):
        kind = "99" if dtype == "uint8" else "normal"
        f: Callable[..., Any] = lambda torch, x: x.t().contiguous()
        of(f"transposed {dtype}", 2 * size * n, (1024, n // 1024), f, dtype, kind)
        for order in ((3, 2, 1, 0), (0, 2, 3, 1), (0, 3, 1, 2), (0, 2, 1, 3)):
            f = lambda torch, x, o=order: x.permute(*o).contiguous()
            of(f"permuted {''.join(map(str, order))} {dtype}", 2 * size * n, four, f, dtype, kind)


def several_axes(n: int, of: Callable[..., None]) -> None:
    """Sums over neighbouring dimensions: of short ones, of images, and with channels innermost in memory."""
    filters = (n // 256 // 8, 256, 3, 3)
    for name in ("sum", "var", "amax", "norm"):
        f: Callable[..., Any] = lambda torch, x, k=name: getattr(x, k)()
        of(f"{name} of filters 3 x 3", 4 * 9 * n // 8, filters, f)
    for dims in ((2, 3), (1, 2, 3), (0, 1), (0, 2, 3)):
        f = lambda torch, x, d=dims: x.sum(d)
        of(f"sum of filters 3 x 3 over {dims}", 4 * 9 * n // 8, filters, f, back=True)
    for side in (7, 14, 56):
        shape = (max(1, n // 64 // side // side), side, side, 64)
        for label, dims in (
            ("all", (0, 1, 2, 3)),
            ("1, 2, 3", (1, 2, 3)),
            ("2, 3", (2, 3)),
            ("0, 2, 3", (0, 2, 3)),
        ):
            f = lambda torch, x, d=dims: x.permute(0, 3, 1, 2).sum(d)
            of(f"sum {label} channels last {side} x {side}", 4 * n, shape, f)
    of("sum of a product by columns", 4 * n, (n // 1024, 1024), lambda torch, x: (x * x[0]).sum())
    of("sum of a product by rows", 4 * n, (n // 1024, 1024), lambda torch, x: (x * x[:, :1]).sum())
    of("sum of a matrix transposed", 4 * n, (1024, n // 1024), lambda torch, x: x.t().sum())


def windows(n: int, of: Callable[..., None]) -> None:
    """Images made smaller and larger, and their parts put in another order."""
    images = (n // 16 // 64 // 64, 16, 64, 64)
    calls: dict[str, Callable[..., Any]] = {
        "nearest 0.5": lambda F, x: F.interpolate(x, scale_factor=0.5),
        "nearest 2": lambda F, x: F.interpolate(x, scale_factor=2),
        "nearest 1.5": lambda F, x: F.interpolate(x, scale_factor=1.5),
        "bilinear 0.5": lambda F, x: F.interpolate(x, scale_factor=0.5, mode="bilinear"),
        "adaptive_max_pool2d 1": lambda F, x: F.adaptive_max_pool2d(x, 1),
        "adaptive_max_pool2d 4": lambda F, x: F.adaptive_max_pool2d(x, 4),
        "adaptive_avg_pool2d 4": lambda F, x: F.adaptive_avg_pool2d(x, 4),
        "pixel_shuffle": lambda F, x: F.pixel_shuffle(x, 2),
        "pixel_unshuffle": lambda F, x: F.pixel_unshuffle(x, 2),
    }
    for name, f in calls.items():
        g: Callable[..., Any] = lambda torch, x, f=f: f(torch.nn.functional, x)
        of(name, 8 * n, images, g, back=True)
    for k, s in ((3, 1), (2, 2), (4, 2)):
        side = (64 - k) // s + 1
        count = max(1, n // (8 * k * k * side * side))
        h: Callable[..., Any] = lambda torch, x, k=k, s=s: torch.nn.functional.fold(x, (64, 64), k, stride=s)
        of(f"fold {k}/{s}", 4 * n, (count, 8 * k * k, side * side), h, back=True)


def several(label: str, n: int, case: Callable[[str, int, Make], None], given: Callable[..., Any]) -> None:
    """Elements by number, bags, products of pairs."""

    def by(name: str, moved: int, f: Callable[..., Any], top: int) -> None:
        def make(torch: Any) -> Callable[[], Any]:
            x, i = given(torch, n), given(torch, n, dtype=np.int64, kind=str(top))
            return lambda: f(torch, x, i)

        case(f"{name} of {label}", moved, make)

    for top in (10, 1000, 100000):
        add: Callable[..., Any] = lambda torch, x, i, k=top: torch.zeros(k).scatter_add(0, i, x)
        by(f"scatter_add to {top}", 12 * n, add, top)
        most: Callable[..., Any] = lambda torch, x, i, k=top: torch.zeros(k).scatter_reduce(0, i, x, "amax")
        by(f"scatter_reduce to {top}", 12 * n, most, top)
        by(f"bincount to {top}", 8 * n, lambda torch, x, i: i.bincount(), top)
    by("repeat_interleave by each", 16 * n, lambda torch, x, i: x.repeat_interleave(i), 4)
    b = n // 64 // 16

    def bag(torch: Any, mode: str, back: bool) -> Callable[[], Any]:
        table = given(torch, 1000, 64).requires_grad_(back)
        i = given(torch, b, 16, dtype=np.int64, kind="1000")
        f = lambda: torch.nn.functional.embedding_bag(i, table, mode=mode)
        g = given(torch, b, 64, seed=1)
        return (lambda: torch.autograd.grad(f(), table, g)) if back else f

    for mode in ("sum", "mean", "max"):
        case(f"embedding_bag {mode} of {label}", 4 * n, lambda torch, m=mode: bag(torch, m, False))
        case(
            f"embedding_bag {mode} there and back of {label}",
            8 * n,
            lambda torch, m=mode: bag(torch, m, True),
        )

    def kron(torch: Any) -> Callable[[], Any]:
        x, y = given(torch, 32, 32), given(torch, n // 32768, 32, seed=1)
        return lambda: torch.kron(x, y)

    case(f"kron of {label}", 4 * n, kron)
