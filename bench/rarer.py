"""More rows of elementwise.py: doubles, other axes, integers, copies, scatter, windows, convolutions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Make = Callable[[Any], Callable[[], Any]]
PLAIN = ((64, 1024), (4096, 1024))


def register(
    case: Callable[[str, int, Make], None],
    plain: Callable[..., None],
    gradient: Callable[..., None],
    given: Callable[..., Any],
) -> None:
    """Add all rows."""
    for label, n in (("64Ki", 1 << 16), ("4Mi", 1 << 22)):
        doubles(label, n, plain, case, given)
        flat(label, n, plain)
        elements(label, n, case, given)
    for shape in PLAIN:
        matrices("x".join(map(str, shape)), shape, plain, gradient)
        copies("x".join(map(str, shape)), shape, plain)
    for m, k in ((64, 1024), (512, 512), (4096, 1024), (1024, 4096)):
        vectors(m, k, case, given)
    distances(case, given)
    transforms(case, given)
    for label, images in (
        ("4x16x32x32", (4, 16, 32, 32)),
        ("8x64x56x56", (8, 64, 56, 56)),
        ("2x8x512x512", (2, 8, 512, 512)),
    ):
        windows(label, images, plain, gradient)
    convolutions(case, given)


def doubles(label: str, n: int, plain: Callable[..., None], case: Callable[..., None], given: Any) -> None:
    """Functions of float64."""
    size: dict[str, Any] = {"dtype": np.float64}
    for name in (
        "sin",
        "cos",
        "tan",
        "exp",
        "tanh",
        "erf",
        "expm1",
        "atan",
        "sinh",
        "sigmoid",
        "exp2",
        "erfc",
    ):
        plain(f"{name} f64 {label}", 16 * n, (n,), lambda torch, x, k=name: getattr(torch, k)(x), **size)
    for name in ("log", "log1p", "log2", "log10", "sqrt", "rsqrt", "lgamma", "digamma"):
        f: Callable[..., Any] = lambda torch, x, k=name: getattr(torch, k)(x)
        plain(f"{name} f64 {label}", 16 * n, (n,), f, kind="positive", **size)
    plain(f"gelu f64 {label}", 16 * n, (n,), lambda torch, x: torch.nn.functional.gelu(x), **size)
    plain(f"softmax f64 {label}", 16 * n, (n // 64, 64), lambda torch, x: x.softmax(1), **size)

    def two(f: Callable[..., Any]) -> Make:
        def make(torch: Any) -> Callable[[], Any]:
            x = given(torch, n, **size)
            y = given(torch, n, kind="positive", seed=1, **size)
            return lambda: f(torch, x, y)

        return make

    case(f"fmod f64 {label}", 24 * n, two(lambda torch, x, y: torch.fmod(x, y)))
    case(f"remainder f64 {label}", 24 * n, two(lambda torch, x, y: torch.remainder(x, y)))
    case(f"pow f64 {label}", 24 * n, two(lambda torch, x, y: y**x))
    case(f"atan2 f64 {label}", 24 * n, two(lambda torch, x, y: torch.atan2(x, y)))
    case(f"hypot f64 {label}", 24 * n, two(lambda torch, x, y: torch.hypot(x, y)))


INTEGERS = ("int64", "int32", "int16", "uint8")


def flat(label: str, n: int, plain: Callable[..., None]) -> None:
    """One row: scans, sorts, counts, reductions of small integers."""
    for t in INTEGERS:
        whole: dict[str, Any] = {"dtype": getattr(np, t), "kind": "100" if t == "uint8" else "30000"}
        plain(f"sum {t} {label}", n * np.dtype(t).itemsize, (n,), lambda torch, x: x.sum(), **whole)
        plain(f"amax {t} {label}", n * np.dtype(t).itemsize, (n,), lambda torch, x: x.amax(), **whole)
        plain(f"argmax {t} {label}", n * np.dtype(t).itemsize, (n,), lambda torch, x: x.argmax(), **whole)
        plain(f"cumsum {t} {label}", 9 * n, (n,), lambda torch, x: x.cumsum(0), **whole)
        plain(f"add {t} {label}", 3 * n * np.dtype(t).itemsize, (n,), lambda torch, x: x + x, **whole)
        plain(f"sort {t} {label}", 9 * n, (n,), lambda torch, x: x.sort().values, **whole)
        plain(f"argsort {t} {label}", 9 * n, (n,), lambda torch, x: x.argsort(), **whole)
        plain(f"unique {t} {label}", 9 * n, (n,), lambda torch, x: torch.unique(x), **whole)
    plain(f"unique f32 {label}", 9 * n, (n,), lambda torch, x: torch.unique(x))
    counts: Callable[..., Any] = lambda torch, x: torch.unique(x, return_inverse=True, return_counts=True)[1]
    plain(f"unique inverse {label}", 9 * n, (n,), counts, dtype=np.int64, kind="1000")
    for name in ("any", "all", "sum"):
        f: Callable[..., Any] = lambda torch, x, k=name: getattr(x, k)()
        plain(f"{name} bool {label}", n, (n,), f, dtype=np.bool_, kind="2")
    for name in ("cumsum", "cumprod", "logcumsumexp"):
        plain(f"{name} {label}", 8 * n, (n,), lambda torch, x, k=name: getattr(x, k)(0))
        plain(
            f"{name} f64 {label}", 16 * n, (n,), lambda torch, x, k=name: getattr(x, k)(0), dtype=np.float64
        )
    for name in ("cummax", "cummin"):
        plain(f"{name} {label}", 16 * n, (n,), lambda torch, x, k=name: getattr(x, k)(0).indices)
    for k in (1, 100, 1000):
        plain(f"topk {k} {label}", 4 * n, (n,), lambda torch, x, k=k: x.topk(k).values)
    plain(
        f"topk 100 int64 {label}",
        8 * n,
        (n,),
        lambda torch, x: x.topk(100).values,
        dtype=np.int64,
        kind="999999",
    )
    plain(f"histc {label}", 4 * n, (n,), lambda torch, x: x.histc(100, -3, 3))
    plain(f"histogram {label}", 4 * n, (n,), lambda torch, x: x.histogram(100)[0])
    plain(f"bincount {label}", 8 * n, (n,), lambda torch, x: x.bincount(), dtype=np.int64, kind="1000")
    for name in ("std", "var", "norm", "mean", "prod", "amax", "argmax", "min", "max"):
        plain(f"{name} {label}", 4 * n, (n,), lambda torch, x, k=name: getattr(x, k)())
    plain(f"norm 1 {label}", 4 * n, (n,), lambda torch, x: x.norm(1))
    plain(f"norm 3 {label}", 4 * n, (n,), lambda torch, x: x.norm(3))
    plain(f"std f64 {label}", 8 * n, (n,), lambda torch, x: x.std(), dtype=np.float64)
    plain(f"dot {label}", 8 * n, (n,), lambda torch, x: torch.dot(x, x))
    plain(
        f"searchsorted {label}", 12 * n, (n,), lambda torch, x: torch.searchsorted(x[:1024].sort().values, x)
    )
    plain(f"isnan any {label}", 4 * n, (n,), lambda torch, x: x.isnan().any())
    plain(f"diff {label}", 8 * n, (n,), lambda torch, x: x.diff())


def elements(label: str, n: int, case: Callable[..., None], given: Any) -> None:
    """Selecting, masks, single elements by number with duplicates."""

    def of(f: Callable[..., Any], top: int = 0) -> Make:
        def make(torch: Any) -> Callable[[], Any]:
            x, i = given(torch, n), given(torch, n, dtype=np.int64, kind=str(top or n))
            return lambda: f(torch, x, i)

        return make

    case(f"where {label}", 13 * n, of(lambda torch, x, i: torch.where(x > 0, x, 0.0)))
    case(f"masked_fill {label}", 9 * n, of(lambda torch, x, i: x.masked_fill(x > 0, 0.0)))
    case(f"masked_select {label}", 9 * n, of(lambda torch, x, i: x.masked_select(x > 0)))
    case(f"nonzero {label}", 9 * n, of(lambda torch, x, i: (x > 0).nonzero()))
    case(f"masked_scatter {label}", 9 * n, of(lambda torch, x, i: x.masked_scatter(x > 0, x)))
    for top in (1000, n):
        name = f"{label} to {top}"
        case(
            f"scatter_add {name}",
            20 * n,
            of(lambda torch, x, i, k=top: torch.zeros(k).scatter_add(0, i, x), top),
        )
        case(
            f"index_add {name}", 20 * n, of(lambda torch, x, i, k=top: torch.zeros(k).index_add(0, i, x), top)
        )
        put: Callable[..., Any] = lambda torch, x, i, k=top: torch.zeros(k).index_put(
            (i,), x, accumulate=True
        )
        case(f"index_put accumulate {name}", 20 * n, of(put, top))
        put = lambda torch, x, i, k=top: torch.zeros(k).index_put((i,), x) * 0
        case(f"index_put {name}", 20 * n, of(put, top))
        most: Callable[..., Any] = lambda torch, x, i, k=top: torch.zeros(k).scatter_reduce(0, i, x, "amax")
        case(f"scatter_reduce amax {name}", 20 * n, of(most, top))
        case(f"x[i] {name}", 16 * n, of(lambda torch, x, i: x[i], top))
    each: Callable[..., Any] = lambda torch, x, i: x[:4096].repeat_interleave(i[:4096], 0)
    case(f"repeat_interleave by each {label}", 4 * 4096, of(each, 5))
    case(f"isin {label}", 9 * n, of(lambda torch, x, i: torch.isin(i, i[:100])))
    case(f"one_hot {label}", 88 * n, of(lambda torch, x, i: torch.nn.functional.one_hot(i, 10), 10))


def matrices(label: str, shape: tuple[int, int], plain: Any, gradient: Any) -> None:
    """Softmax and reductions along each axis, and norms."""
    n = shape[0] * shape[1]
    for name in ("softmax", "log_softmax"):
        f: Callable[..., Any] = lambda torch, x, k=name: getattr(x, k)(0)
        plain(f"{name} dim 0 {label}", 8 * n, shape, f)
        gradient(f"{name} dim 0 there and back {label}", 20 * n, [shape], f)
        inner = (shape[0], 64, shape[1] // 64)
        g: Callable[..., Any] = lambda torch, x, k=name: getattr(x, k)(1)
        plain(f"{name} dim 1 of 3 {label}", 8 * n, inner, g)
        gradient(f"{name} dim 1 of 3 there and back {label}", 20 * n, [inner], g)
        h: Callable[..., Any] = lambda torch, x, k=name: getattr(x, k)(1)
        plain(f"{name} dim 1 {label}", 8 * n, shape, h)
        gradient(f"{name} short rows {label}", 20 * n, [(n // 10, 10)], h)
    for name in (
        "amax",
        "argmax",
        "std",
        "var",
        "norm",
        "argmin",
        "cumsum",
        "cummax",
        "cumprod",
        "logcumsumexp",
    ):
        for dim in (0, 1):
            r: Callable[..., Any] = lambda torch, x, k=name, d=dim: getattr(x, k)(dim=d)
            moved = 16 if name == "cummax" else 8 if name in ("cumsum", "cumprod", "logcumsumexp") else 4
            plain(f"{name} dim {dim} {label}", moved * n, shape, r)
    for rows in (12, 21, 50):
        for name in ("sum", "mean", "amax", "prod"):
            few: Callable[..., Any] = lambda torch, x, k=name: getattr(x, k)(1)
            plain(f"{name} of {rows} rows {label}", 4 * n, (8, rows, n // 8 // rows), few)
    for width in (16, 24, 32):
        for name in ("softmax", "log_softmax", "logsumexp"):
            some: Callable[..., Any] = lambda torch, x, k=name: getattr(x, k)(1)
            plain(f"{name} rows of {width} {label}", 8 * n, (n // width, width), some)
    plain(f"sum 0, 2 {label}", 4 * n, (shape[0] // 8, 8, shape[1]), lambda torch, x: x.sum((0, 2)))
    plain(f"sum 1 of 3 {label}", 4 * n, (shape[0] // 8, 64, shape[1] // 8), lambda torch, x: x.sum(1))
    plain(
        f"cumsum int64 dim 1 {label}", 16 * n, shape, lambda torch, x: x.cumsum(1), dtype=np.int64, kind="9"
    )
    plain(
        f"cumsum int64 dim 0 {label}", 16 * n, shape, lambda torch, x: x.cumsum(0), dtype=np.int64, kind="9"
    )
    plain(
        f"sort rows int64 {label}",
        24 * n,
        shape,
        lambda torch, x: x.sort(1).values,
        dtype=np.int64,
        kind="9999",
    )
    plain(f"topk 50 rows {label}", 4 * n, shape, lambda torch, x: x.topk(50).values)
    plain(f"sum bool dim 1 {label}", n, shape, lambda torch, x: x.sum(1), dtype=np.bool_, kind="2")
    plain(f"sum uint8 dim 0 {label}", n, shape, lambda torch, x: x.sum(0), dtype=np.uint8, kind="99")
    plain(f"normalize {label}", 8 * n, shape, lambda torch, x: torch.nn.functional.normalize(x))
    w = (shape[1],)
    norm: Callable[..., Any] = lambda torch, x, w, b: torch.nn.functional.layer_norm(x, (x.shape[1],), w, b)
    gradient(f"layer_norm there and back {label}", 20 * n, [shape, w, w], norm)


def copies(label: str, shape: tuple[int, int], plain: Any) -> None:
    """Elements moved."""
    n = shape[0] * shape[1]
    four = (shape[0] // 8, 8, 16, shape[1] // 16)
    for order in ((0, 2, 1, 3), (0, 2, 3, 1), (0, 3, 1, 2), (3, 2, 1, 0), (1, 0, 2, 3)):
        name = "".join(map(str, order))
        plain(f"permute {name} {label}", 8 * n, four, lambda torch, x, o=order: x.permute(*o).contiguous())
    for name, t, kind in (("f64", np.float64, "normal"), ("u8", np.uint8, "9"), ("i64", np.int64, "9")):
        size, like = 2 * n * np.dtype(t).itemsize, {"dtype": t, "kind": kind}
        order = lambda torch, x: x.permute(0, 2, 3, 1).contiguous()
        plain(f"permute {name} 0231 {label}", size, four, order, **like)
        plain(f"transpose {name} {label}", size, shape, lambda torch, x: x.t().contiguous(), **like)
    plain(f"transpose f32 {label}", 8 * n, shape, lambda torch, x: x.t().contiguous())
    plain(f"x[:, ::2] {label}", 4 * n, shape, lambda torch, x: x[:, ::2].contiguous())
    plain(f"x[::2] {label}", 4 * n, shape, lambda torch, x: x[::2].contiguous())
    plain(f"flip 0 {label}", 8 * n, shape, lambda torch, x: x.flip(0))
    plain(f"flip 1 {label}", 8 * n, shape, lambda torch, x: x.flip(1))
    plain(f"roll 0 {label}", 8 * n, shape, lambda torch, x: x.roll(3, 0))
    plain(f"roll 1 {label}", 8 * n, shape, lambda torch, x: x.roll(3, 1))
    plain(f"repeat {label}", 12 * n, shape, lambda torch, x: x.repeat(2, 2))
    plain(f"repeat_interleave {label}", 12 * n, shape, lambda torch, x: x.repeat_interleave(2, 1))
    plain(f"chunk cat {label}", 8 * n, shape, lambda torch, x: torch.cat(x.chunk(4, 1), 0))
    plain(
        f"expand contiguous {label}",
        4 * n,
        (shape[1],),
        lambda torch, x, r=shape[0]: x.expand(r, -1).contiguous(),
    )
    plain(f"unfold {label}", 12 * n, (shape[0], shape[1]), lambda torch, x: x.unfold(1, 4, 2).contiguous())


def vectors(m: int, k: int, case: Callable[..., None], given: Any) -> None:
    """A matrix (m x k) and a vector, in both orders and layouts."""

    def of(f: Callable[..., Any], length: int, turned: bool = False, dtype: Any = np.float32) -> Make:
        def make(torch: Any) -> Callable[[], Any]:
            a = given(torch, *((k, m) if turned else (m, k)), dtype=dtype)
            v = given(torch, length, seed=1, dtype=dtype)
            a = a.t() if turned else a
            return lambda: f(torch, a, v)

        return make

    size = 4 * m * k
    label = f"{m}x{k}"
    case(f"A @ v {label}", size, of(lambda torch, a, v: a @ v, k))
    case(f"A.t() @ v {label}", size, of(lambda torch, a, v: a @ v, k, True))
    case(f"v @ A {label}", size, of(lambda torch, a, v: v @ a, m))
    case(f"v @ A.t() {label}", size, of(lambda torch, a, v: v @ a, m, True))
    case(f"A @ v f64 {label}", 2 * size, of(lambda torch, a, v: a @ v, k, False, np.float64))
    case(f"v @ A f64 {label}", 2 * size, of(lambda torch, a, v: v @ a, m, False, np.float64))
    case(f"linear one row {label}", size, of(lambda torch, a, v: torch.nn.functional.linear(v[None], a), k))
    case(f"A @ (v, v) {label}", size, of(lambda torch, a, v: a @ torch.stack([v, v], 1), k))
    case(f"outer {label}", size, of(lambda torch, a, v: torch.outer(a[:, 0], v), k))


def transforms(case: Callable[..., None], given: Any) -> None:
    """Fourier transforms, factors of matrices, images at places of a grid, alignments."""

    def add(label: str, f: Callable[..., Any], *shapes: tuple[int, ...]) -> None:
        def make(torch: Any) -> Callable[[], Any]:
            tensors = [given(torch, *shape, seed=k) for k, shape in enumerate(shapes)]
            return lambda: f(torch, *tensors)

        case(label, sum(8 * int(np.prod(shape)) for shape in shapes), make)

    for shape in ((64, 400), (256, 256), (8, 64, 64, 64)):
        label = "x".join(map(str, shape))
        add(f"rfft {label}", lambda torch, x: torch.fft.rfft(x), shape)
        add(f"fft2 {label}", lambda torch, x: torch.fft.fft2(x), shape)
    for shape in ((1024, 4, 4), (64, 64, 64), (512, 512)):
        label = "x".join(map(str, shape))
        add(f"qr {label}", lambda torch, x: torch.linalg.qr(x)[1], shape)
        add(f"lu_factor {label}", lambda torch, x: torch.linalg.lu_factor(x)[0], shape)
        add(f"solve {label}", lambda torch, x, y: torch.linalg.solve(x, y), shape, shape)
    for shape in ((4, 16, 32, 32), (1, 3, 224, 224)):
        sample = lambda torch, x, g: torch.nn.functional.grid_sample(x, g.clamp(-1, 1), align_corners=False)
        add(f"grid_sample {'x'.join(map(str, shape))}", sample, shape, (shape[0], *shape[2:], 2))


def distances(case: Callable[..., None], given: Any) -> None:
    """Pairs of rows, Kronecker products, bags of embeddings."""

    def of(f: Callable[..., Any], *shapes: tuple[int, ...]) -> Make:
        def make(torch: Any) -> Callable[[], Any]:
            tensors = [given(torch, *shape, seed=k) for k, shape in enumerate(shapes)]
            return lambda: f(torch, *tensors)

        return make

    for m, d in ((100, 16), (1000, 16), (1000, 256)):
        label = f"{m}x{d}"
        case(f"pdist {label}", 2 * m * m, of(lambda torch, x: torch.pdist(x), (m, d)))
        case(f"cdist {label}", 4 * m * m, of(lambda torch, x, y: torch.cdist(x, y), (m, d), (m, d)))
        case(f"cdist p=1 {label}", 4 * m * m, of(lambda torch, x, y: torch.cdist(x, y, 1.0), (m, d), (m, d)))
    for a, b in (((16, 16), (16, 16)), ((32, 32), (64, 64)), ((8, 8), (4, 4))):
        size = 4 * a[0] * a[1] * b[0] * b[1]
        case(f"kron {a[0]} {b[0]}", size, of(lambda torch, x, y: torch.kron(x, y), a, b))
    for rows, count, bags in ((1000, 4096, 256), (50000, 16384, 1024)):
        for mode in ("sum", "mean", "max"):
            case(f"embedding_bag {mode} {rows}x64, {count}", 256 * count, bag(rows, count, bags, mode, given))


def bag(rows: int, count: int, bags: int, mode: str, given: Any) -> Make:
    """Bags of a table of 64 columns."""

    def make(torch: Any) -> Callable[[], Any]:
        table, i = given(torch, rows, 64), given(torch, count, dtype=np.int64, kind=str(rows))
        offsets = torch.arange(0, count, count // bags)
        return lambda: torch.nn.functional.embedding_bag(i, table, offsets, mode=mode)

    return make


def windows(label: str, shape: tuple[int, ...], plain: Any, gradient: Any) -> None:
    """Pools, resizing, norms of images, depthwise convolutions."""
    n = int(np.prod(shape))
    c = shape[1]
    calls: dict[str, Callable[..., Any]] = {
        "max_pool2d indices": lambda F, x: F.max_pool2d(x, 2, return_indices=True)[0],
        "max_pool2d 3 s2": lambda F, x: F.max_pool2d(x, 3, 2, 1),
        "avg_pool2d 3 s2": lambda F, x: F.avg_pool2d(x, 3, 2, 1),
        "avg_pool2d 2": lambda F, x: F.avg_pool2d(x, 2),
        "adaptive_avg_pool2d 7": lambda F, x: F.adaptive_avg_pool2d(x, 7),
        "adaptive_max_pool2d 7": lambda F, x: F.adaptive_max_pool2d(x, 7),
        "adaptive_avg_pool2d 1": lambda F, x: F.adaptive_avg_pool2d(x, 1),
        "lp_pool2d 2": lambda F, x: F.lp_pool2d(x, 2.0, 2),
        "interpolate nearest": lambda F, x: F.interpolate(x, scale_factor=2),
        "interpolate bilinear": lambda F, x: F.interpolate(x, scale_factor=2, mode="bilinear"),
        "interpolate bicubic": lambda F, x: F.interpolate(x, scale_factor=2, mode="bicubic"),
        "interpolate half": lambda F, x: F.interpolate(x, scale_factor=0.5, mode="bilinear"),
        "pixel_shuffle": lambda F, x: F.pixel_shuffle(x, 2),
        "unfold 3": lambda F, x: F.unfold(x, 3, padding=1),
        "pad reflect": lambda F, x: F.pad(x, (1, 1, 1, 1), mode="reflect"),
        "pad replicate": lambda F, x: F.pad(x, (1, 1, 1, 1), mode="replicate"),
        "pad circular": lambda F, x: F.pad(x, (1, 1, 1, 1), mode="circular"),
        "local_response_norm": lambda F, x: F.local_response_norm(x, 5),
        "instance_norm": lambda F, x: F.instance_norm(x),
    }
    for name, f in calls.items():
        call: Callable[..., Any] = lambda torch, x, f=f: f(torch.nn.functional, x)
        plain(f"{name} {label}", 8 * n, shape, call)
        gradient(f"{name} there and back {label}", 16 * n, [shape], call)
    norm: Callable[..., Any] = lambda torch, x, w, b: torch.nn.functional.group_norm(x, 8, w, b)
    gradient(f"group_norm there and back {label}", 16 * n, [shape, (c,), (c,)], norm)
    norm = lambda torch, x, w, b: torch.nn.functional.batch_norm(x, None, None, w, b, True)
    gradient(f"batch_norm there and back {label}", 16 * n, [shape, (c,), (c,)], norm)
    for k in (3, 5, 7):
        conv: Callable[..., Any] = lambda torch, x, w, k=k: torch.nn.functional.conv2d(
            x, w, None, 1, k // 2, 1, c
        )
        gradient(f"depthwise {k} there and back {label}", 16 * n, [shape, (c, 1, k, k)], conv)


# name, shape of the input, of the weight, then stride, padding, dilation (groups: from the shapes)
CONVOLUTIONS: dict[str, tuple[tuple[int, ...], tuple[int, ...], int, int, int]] = {
    **{f"depthwise 7 96 at 56 b{n}": ((n, 96, 56, 56), (96, 1, 7, 7), 1, 3, 1) for n in (1, 8)},  # ConvNeXt
    **{f"depthwise 7 384 at 14 b{n}": ((n, 384, 14, 14), (384, 1, 7, 7), 1, 3, 1) for n in (1, 8)},
    "depthwise 3 32 at 112": ((1, 32, 112, 112), (32, 1, 3, 3), 1, 1, 1),  # MobileNet
    "depthwise 3/2 96 at 112": ((1, 96, 112, 112), (96, 1, 3, 3), 2, 1, 1),
    "depthwise 3 144 at 56": ((1, 144, 56, 56), (144, 1, 3, 3), 1, 1, 1),
    "depthwise 3/2 144 at 56": ((1, 144, 56, 56), (144, 1, 3, 3), 2, 1, 1),
    "depthwise 3 192 at 28": ((1, 192, 28, 28), (192, 1, 3, 3), 1, 1, 1),
    "depthwise 3 384 at 14": ((1, 384, 14, 14), (384, 1, 3, 3), 1, 1, 1),
    "depthwise 3/2 576 at 14": ((1, 576, 14, 14), (576, 1, 3, 3), 2, 1, 1),
    "depthwise 3 960 at 7": ((1, 960, 7, 7), (960, 1, 3, 3), 1, 1, 1),
    "1x1 16-96 at 112": ((1, 16, 112, 112), (96, 16, 1, 1), 1, 0, 1),
    "1x1 192-32 at 28": ((1, 192, 28, 28), (32, 192, 1, 1), 1, 0, 1),
    "1x1 384-64 at 14": ((1, 384, 14, 14), (64, 384, 1, 1), 1, 0, 1),
    "1x1 320-1280 at 7": ((1, 320, 7, 7), (1280, 320, 1, 1), 1, 0, 1),
    "3x3/2 3-32 at 224": ((1, 3, 224, 224), (32, 3, 3, 3), 2, 1, 1),
    "1x1/2 256-512 at 56": ((1, 256, 56, 56), (512, 256, 1, 1), 2, 0, 1),  # ResNet
    "1x1/2 512-1024 at 28": ((1, 512, 28, 28), (1024, 512, 1, 1), 2, 0, 1),
    "1x1/2 1024-2048 at 14": ((1, 1024, 14, 14), (2048, 1024, 1, 1), 2, 0, 1),
    "7x7/2 3-64 at 224 b1": ((1, 3, 224, 224), (64, 3, 7, 7), 2, 3, 1),
    "7x7/2 3-64 at 224 b4": ((4, 3, 224, 224), (64, 3, 7, 7), 2, 3, 1),
    "3x3 64-64 at 56": ((1, 64, 56, 56), (64, 64, 3, 3), 1, 1, 1),
    "3x3 256-256 at 14": ((1, 256, 14, 14), (256, 256, 3, 3), 1, 1, 1),
    "1x1 64-256 at 56": ((1, 64, 56, 56), (256, 64, 1, 1), 1, 0, 1),
    "1x1 1024-256 at 14": ((1, 1024, 14, 14), (256, 1024, 1, 1), 1, 0, 1),
    "dilation 2 256 at 28": ((1, 256, 28, 28), (256, 256, 3, 3), 1, 2, 2),
    "dilation 4 256 at 28": ((1, 256, 28, 28), (256, 256, 3, 3), 1, 4, 4),
    "groups 32 128 at 56": ((1, 128, 56, 56), (128, 4, 3, 3), 1, 1, 1),  # ResNeXt
    "groups 32 256 at 28": ((1, 256, 28, 28), (256, 8, 3, 3), 1, 1, 1),
    "groups 32 512 at 14": ((1, 512, 14, 14), (512, 16, 3, 3), 1, 1, 1),
    "groups 32 1024 at 7": ((1, 1024, 7, 7), (1024, 32, 3, 3), 1, 1, 1),
    **{f"16x16/16 3-768 at 224 b{n}": ((n, 3, 224, 224), (768, 3, 16, 16), 16, 0, 1) for n in (1, 8)},  # ViT
    "4x4/4 3-96 at 224": ((1, 3, 224, 224), (96, 3, 4, 4), 4, 0, 1),
    "2x2/2 96-192 at 56": ((1, 96, 56, 56), (192, 96, 2, 2), 2, 0, 1),
    "3x3 64 at 32 b32": ((32, 64, 32, 32), (64, 64, 3, 3), 1, 1, 1),
    "1d 7 64 16000": ((1, 64, 16000), (64, 64, 7), 1, 3, 1),
    "1d 10/5 1-512 16000": ((1, 1, 16000), (512, 1, 10), 5, 0, 1),
    **{
        f"1d 2 dilation {d} 64 16000": ((1, 64, 16000), (64, 64, 2), 1, 0, d) for d in (1, 16, 512)
    },  # WaveNet
    "3d 3 3-64 16x56x56": ((1, 3, 16, 56, 56), (64, 3, 3, 3, 3), 1, 1, 1),
    "3d 3 64-64 8x28x28": ((1, 64, 8, 28, 28), (64, 64, 3, 3, 3), 1, 1, 1),
    "transposed 4/2 512-256 at 8": ((1, 512, 8, 8), (512, 256, 4, 4), 2, 1, 1),  # DCGAN
    "transposed 4/2 128-64 at 32": ((1, 128, 32, 32), (128, 64, 4, 4), 2, 1, 1),
    "transposed 4/2 128-64 at 32 b16": ((16, 128, 32, 32), (128, 64, 4, 4), 2, 1, 1),
    "transposed 4/2 64-3 at 32 b16": ((16, 64, 32, 32), (64, 3, 4, 4), 2, 1, 1),
    "transposed 2/2 128-64 at 64": ((1, 128, 64, 64), (128, 64, 2, 2), 2, 0, 1),  # U-Net
    "transposed 2/2 512-256 at 16": ((1, 512, 16, 16), (512, 256, 2, 2), 2, 0, 1),
}


def convolutions(case: Callable[[str, int, Make], None], given: Callable[..., Any]) -> None:
    """Those of CONVOLUTIONS, forward and there and back; of two dimensions with the channels last in memory too."""
    for name, how in CONVOLUTIONS.items():
        moved = 4 * sum(int(np.prod(shape)) for shape in how[:2])
        for back in ("", " back"):
            case(f"conv {name}{back}", moved, convolution(name, given, bool(back), False))
            if len(how[0]) == 4:
                case(f"conv last {name}{back}", moved, convolution(name, given, bool(back), True))


def convolution(name: str, given: Callable[..., Any], back: bool, last: bool) -> Make:
    """One of them, and its gradients for a gradient of ones."""
    shape, weight, stride, padding, dilation = CONVOLUTIONS[name]
    rank, transposed = len(shape) - 2, name.startswith("transposed")

    def make(torch: Any) -> Callable[[], Any]:
        x, w = given(torch, *shape), given(torch, *weight, seed=1)
        if last:
            x, w = (t.contiguous(memory_format=torch.channels_last) for t in (x, w))
        f = getattr(torch.nn.functional, f"conv{'_transpose' * transposed}{rank}d")
        groups = 1 if transposed else shape[1] // weight[1]
        options = (0, groups, dilation) if transposed else (dilation, groups)
        if not back:
            return lambda: f(x, w, None, stride, padding, *options)
        x.requires_grad_(), w.requires_grad_()
        ones = torch.ones_like(f(x, w, None, stride, padding, *options))
        return lambda: torch.autograd.grad(f(x, w, None, stride, padding, *options), (x, w), ones)

    return make
