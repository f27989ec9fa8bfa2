"""Contraction, convolution and pooling kernels beside PyTorch: microseconds, and how many times faster ours are.

    python bench/kernels.py [matmul [square] [skinny] ...] [conv] [resnet] [pool] [-k REGEX] [--threads 2]
        [--rounds 3] [--public]

Ours through the device's runner, PyTorch through its Python API (out= where there is one) in a process of its own:
two pools of spinning threads on the same cores would measure each other. "peak": our rate over that of a tile of a
product of float32 out of the first cache, measured in the same rounds.
"""

from __future__ import annotations

import ctypes
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch

from flambeau.device.base import pack_values
from flambeau.device.cpu import CPU
from flambeau.device.memory import Block
from flambeau.loop.recipes import conv_planning, planning, pool
from flambeau.loop.recipes.planning import Strides

DEVICE = CPU()
Array = np.ndarray | torch.Tensor | Block
DTYPES = {
    "f32": torch.float32,
    "f64": torch.float64,
    "bf16": torch.bfloat16,
    "f16": torch.float16,
    "i32": torch.int32,
    "i64": torch.int64,
}


def median(call: Callable[[], object], budget: float = 0.15) -> float:
    """Median seconds of a call."""
    call()
    start = time.perf_counter()
    call()
    once = time.perf_counter() - start
    inner = max(1, int(2e-4 / max(once, 1e-7)))
    times = []
    for _ in range(max(5, min(60, int(budget / max(once * inner, 1e-7))))):
        start = time.perf_counter()
        for _ in range(inner):
            call()
        times.append((time.perf_counter() - start) / inner)
    return statistics.median(times)


def prepared(
    kernel, params: Sequence[tuple[str, int | None]], buffers: dict[str, Array], parts: int
) -> tuple[Callable[[], object], float]:
    """A call that runs the kernel, and the milliseconds it took to compile (0 from the cache). Workspaces lie in the
    device's memory, as a program's do."""
    start = time.perf_counter()
    (handle,) = DEVICE.load([kernel])
    compiled = (time.perf_counter() - start) * 1e3
    work = {name: DEVICE.alloc(buffers[name].nbytes) for name in ("work", "table") if name in buffers}
    buffers = {**buffers, **work}
    values = [address(buffers[name]) if value is None else value for name, value in params]
    program = DEVICE.program([(handle, range(1, len(values) + 1), parts, False)], len(values) + 1)
    frame = program.take()
    pack_values(frame, values)

    def call(keep: object = buffers) -> None:
        program.run(frame)

    return call, compiled


K, TILES = 384, 1000


def tiles(threads: int, count: int = TILES) -> Callable[[], object]:
    """A register tile of one product of float32, again and again, by so many threads: no product can be faster."""
    strides = Strides(0, 1, 6, 0, 16, 1, 0, 16, 1)
    p = planning.plan(6, 16, K, count, strides, "f32", DEVICE.target(), threads)
    kernel = planning.build(p.spec)
    buffers: dict[str, Array] = {"a": aligned((6 * K,)), "b": aligned((16 * K,))}
    buffers |= {"c": aligned((96,)), "work": np.zeros(p.work * p.parts + 64, np.uint8)}
    return prepared(kernel, planning.args(kernel, p), buffers, p.parts)[0]


def address(a: Array) -> int:
    """Where the elements begin."""
    if isinstance(a, Block):
        return a.ptr
    return a.ctypes.data if isinstance(a, np.ndarray) else a.data_ptr()


def aligned(shape: Sequence[int], dtype: type = np.float32) -> np.ndarray:
    """Normal numbers in the device's memory, of both sides: huge pages, aligned to 64 bytes."""
    count = int(np.prod(shape))
    block = DEVICE.alloc(count * np.dtype(dtype).itemsize)
    memory = (ctypes.c_char * block.nbytes).from_address(block.ptr)
    memory.block = block  # lives as long as the array
    a = np.frombuffer(memory, dtype).reshape(shape)
    a[...] = 0
    if np.issubdtype(dtype, np.floating):
        a[...] = np.random.default_rng(0).standard_normal(shape)
    return a


def strides(shape: Sequence[int]) -> tuple[int, ...]:
    """Row-major strides."""
    out = [1]
    for n in reversed(shape[1:]):
        out.insert(0, out[0] * n)
    return tuple(out)


class Case(NamedTuple):
    """One line: floating-point operations (0: none to speak of), PyTorch's call, and ours to prepare.

    `ours` gives (the call, milliseconds of compilation, the array it fills, parts); fresh, public: both through their
    public interface, a new result at each call."""

    name: str
    flops: float
    theirs: Callable[[], torch.Tensor]
    ours: Callable[[], tuple[Callable[[], object], float, Array, int]]
    fresh: Callable[[], torch.Tensor] | None = None
    public: Callable[[], Callable[[], object]] | None = None


SQUARES = (32, 48, 64, 96, 100, 128, 192, 256, 384, 500, 512, 768, 1000, 1024, 1536, 2048)
SKINNY = [
    (64, 128, 784, "nt", 1),
    (64, 784, 128, "nn", 1),
    (128, 784, 64, "tn", 1),
    (64, 10, 128, "nt", 1),
    (64, 128, 10, "nn", 1),
    (10, 128, 64, "tn", 1),
    (4, 120, 400, "nt", 1),
    (4, 400, 120, "nn", 1),
    (120, 400, 4, "tn", 1),
    (8, 512, 512, "nt", 1),
    (16, 512, 512, "nt", 1),
    (1024, 512, 128, "nt", 1),
    (512, 2304, 768, "nt", 1),
    (8192, 64, 64, "nn", 1),
    (64, 64, 8192, "tn", 1),
]
VECTORS = [
    (1, 4096, 4096, "nt", 1),
    (1, 4096, 4096, "nn", 1),
    (4096, 1, 4096, "nn", 1),
    (4096, 1, 4096, "tn", 1),
    (512, 1, 512, "nn", 1),
    (1, 512, 512, "nn", 1),
    (1, 1, 1 << 16, "nn", 1),
    (2048, 2048, 1, "nn", 1),
]
BATCHED = [
    (64, 64, 64, "nn", 32),
    (32, 32, 32, "nn", 256),
    (128, 128, 64, "nt", 48),
    (512, 512, 64, "nt", 16),
    (512, 64, 512, "nn", 16),
    (512, 64, 512, "hn", 16),
    (512, 512, 64, "ht", 16),
    (8, 8, 8, "nn", 512),
]
LAYERS = [  # (rows, inputs, outputs) of linear layers: their products forward, for the input and for the weights
    (768, 128, 384),
    (768, 128, 512),
    (768, 512, 128),
    (1024, 512, 2048),
    (1024, 2048, 512),
    (20, 256, 1024),
    (700, 256, 1024),
]
MODELS = [case for m, k, n in LAYERS for case in ((m, n, k, "nt", 1), (m, k, n, "nn", 1), (n, k, m, "tn", 1))]
MATMULS = {
    "square": [(n, n, n, "nn", 1) for n in SQUARES],
    "layouts": [(n, n, n, way, 1) for n in (64, 100, 512, 1024) for way in ("nt", "tn", "tt")],
    "skinny": SKINNY,
    "vectors": VECTORS,
    "models": MODELS,
    "batched": BATCHED,
    "f64": [(n, n, n, way, 1) for n in (64, 256, 1024) for way in ("nn", "nt")],
    "bf16": [(n, n, n, way, 1) for n in (64, 256, 512, 1024) for way in ("nn", "nt")]
    + [(m, n, k, "nt", 1) for m in (8, 12, 16, 32, 64) for n, k in ((768, 768), (3072, 768), (768, 3072))],
    "f16": [(n, n, n, "nt", 1) for n in (64, 512)],
    "i32": [(n, n, n, "nn", 1) for n in (64, 512)],
    "i64": [(n, n, n, "nn", 1) for n in (64, 512)],
}


def operand(batch: int, rows: int, cols: int, how: str, dtype: str) -> torch.Tensor:
    """A (batch, rows, columns) operand: n as it is, t transposed in memory, h heads of (rows, batch, columns)."""
    shape = {"n": (batch, rows, cols), "t": (batch, cols, rows), "h": (rows, batch, cols)}[how]
    kind = DTYPES[dtype]
    made = torch.from_numpy(aligned(shape))
    made = made.to(kind) if kind.is_floating_point else (made * 8).to(kind)
    return made if how == "n" else made.transpose(1, 2) if how == "t" else made.transpose(0, 1)


def matmuls(threads: int, only: Sequence[str] = ()) -> Iterator[Case]:
    """Matrix products."""
    for group, cases in MATMULS.items():
        dtype = group if group in DTYPES else "f32"
        for m, n, k, layout, batch in cases if not only or group in only else ():
            a, b = operand(batch, m, k, layout[0], dtype), operand(batch, k, n, layout[1], dtype)
            strides = Strides(*a.stride(), *b.stride(), m * n, n, 1)
            p = planning.plan(m, n, k, batch, strides, dtype, DEVICE.target(), threads)
            want = operand(batch, m, n, "n", dtype)
            theirs = partial(torch.bmm, a, b, out=want)
            if batch == 1:
                theirs = partial(torch.mm, a[0], b[0], out=want[0])
            name = f"{batch}x " if batch > 1 else ""
            name += f"{m}x{n}x{k} {layout} {dtype}"
            fresh = partial(torch.matmul, *((a, b) if batch > 1 else (a[0], b[0])))
            yield Case(
                f"matmul {name}",
                2 * m * n * k * batch,
                theirs,
                partial(matmul, p, a, b, batch * m * n),
                fresh,
                partial(public_matmul, a, b, batch),
            )


def matmul(
    p: planning.Plan, a: torch.Tensor, b: torch.Tensor, size: int
) -> tuple[Callable[[], object], float, torch.Tensor, int]:
    """Ours, ready to run."""
    kernel, c = planning.build(p.spec), torch.from_numpy(aligned((size,))).to(a.dtype)
    buffers = {"a": a, "b": b, "c": c, "work": torch.zeros(p.work * p.parts + 64, dtype=torch.uint8)}
    return *prepared(kernel, planning.args(kernel, p), buffers, p.parts), c, p.parts


def public_matmul(a: torch.Tensor, b: torch.Tensor, batch: int) -> Callable[[], object]:
    """Ours through the public API: a fresh result at each call, computed before it returns."""
    import flambeau

    dtype = getattr(flambeau, str(a.dtype).removeprefix("torch."))

    def taken(t: torch.Tensor) -> flambeau.Tensor:
        order = sorted(range(3), key=lambda d: -t.stride(d))
        wide = t.float() if t.dtype.itemsize < 4 else t
        made = flambeau.from_numpy(np.ascontiguousarray(wide.permute(order).numpy()).copy()).clone().to(dtype)
        made = made.permute(*(order.index(d) for d in range(3)))
        return made if batch > 1 else made[0]

    x, y = taken(a), taken(b)
    kept: list[object] = [None]

    def call() -> object:
        kept[0] = x @ y
        flambeau.synchronize()
        return kept

    return call


RESNET50 = [  # channels in and out, width of the kernel, stride, width of the image: each distinct convolution
    (3, 64, 7, 2, 224),
    *((i, o, 1, 1, 56) for i, o in ((64, 64), (64, 256), (256, 64), (256, 128))),
    (64, 64, 3, 1, 56),
    (128, 128, 3, 2, 56),
    (256, 512, 1, 2, 56),
    *((i, o, 1, 1, 28) for i, o in ((128, 512), (512, 128), (512, 256))),
    (128, 128, 3, 1, 28),
    (256, 256, 3, 2, 28),
    (512, 1024, 1, 2, 28),
    *((i, o, 1, 1, 14) for i, o in ((256, 1024), (1024, 256), (1024, 512))),
    (256, 256, 3, 1, 14),
    (512, 512, 3, 2, 14),
    (1024, 2048, 1, 2, 14),
    *((i, o, 1, 1, 7) for i, o in ((512, 2048), (2048, 512))),
    (512, 512, 3, 1, 7),
]
CONVS = [
    ((4, 3, 32, 32), (6, 3, 5, 5), 1, 0),
    ((4, 6, 14, 14), (16, 6, 5, 5), 1, 0),
    ((64, 1, 8, 8), (16, 1, 3, 3), 1, 1),
    ((64, 16, 8, 8), (32, 16, 3, 3), 1, 1),
    ((64, 16, 4, 4), (32, 16, 3, 3), 1, 1),
    ((32, 64, 32, 32), (64, 64, 3, 3), 1, 1),
    ((32, 128, 16, 16), (128, 128, 3, 3), 1, 1),
    ((8, 256, 14, 14), (256, 256, 3, 3), 1, 1),
    ((8, 512, 7, 7), (512, 512, 3, 3), 1, 1),
    ((16, 64, 56, 56), (256, 64, 1, 1), 1, 0),
    ((8, 64, 56, 56), (128, 64, 3, 3), 2, 1),
    ((8, 64, 56, 56), (128, 64, 1, 1), 2, 0),
    ((4, 3, 224, 224), (64, 3, 7, 7), 2, 3),
    ((8, 32, 56, 56), (32, 1, 3, 3), 1, 1),
]


def resnet(threads: int) -> Iterator[Case]:
    """The convolutions of ResNet-50, batch 8."""
    cases = [((8, i, size, size), (o, i, k, k), s, k // 2) for i, o, k, s, size in RESNET50]
    return convs(threads, cases)


def convs(threads: int, cases: Sequence[tuple] = CONVS) -> Iterator[Case]:
    """Convolutions, forward and both gradients."""
    for x_shape, w_shape, stride, padding in cases:
        groups = x_shape[1] // w_shape[1]
        x, w = aligned(x_shape), aligned(w_shape)
        xt, wt = torch.from_numpy(x), torch.from_numpy(w)
        options = ([stride] * 2, [padding] * 2, [1, 1])
        y = aligned(tuple(torch.conv2d(xt, wt, None, *options, groups).shape))
        yt = torch.from_numpy(y)
        g = conv_planning.geometry(x_shape, w_shape, *options, groups)
        for k, kind in enumerate(("forward", "data", "weight")):
            name = f"{kind:7} {x_shape} {w_shape[0]} {w_shape[2]}x{w_shape[3]}"
            theirs = partial(torch.conv2d, xt, wt, None, *options, groups)
            if k:
                theirs = partial(conv_backward, yt, xt, wt, options, groups, k - 1)
            ours = partial(conv, kind, g, x, w, y, threads)
            yield Case(f"conv {name} s{stride}", 2 * y.size * w[0].size, theirs, ours)


def conv_backward(
    y: torch.Tensor, x: torch.Tensor, w: torch.Tensor, options: tuple, groups: int, k: int
) -> torch.Tensor:
    """PyTorch's gradient of the input (k = 0) or the weights (1)."""
    mask = [k == 0, k == 1, False]
    return torch.ops.aten.convolution_backward(y, x, w, None, *options, False, [0, 0], groups, mask)[k]


def five(shape: Sequence[int]) -> tuple[int, ...]:
    """Strides with a depth."""
    n, c, h, w = strides(shape)
    return n, c, 0, h, w


def conv(
    kind: str, g: conv_planning.Geometry, x: np.ndarray, w: np.ndarray, y: np.ndarray, threads: int
) -> tuple[Callable[[], object], float, np.ndarray, int]:
    """Ours, ready to run."""
    all_strides = [five(a.shape) for a in (x, w, y)]
    result = np.zeros_like({"forward": y, "data": x, "weight": w}[kind])
    p = conv_planning.plan(kind, g, *all_strides, "f32", DEVICE.target(), threads)
    kernel = conv_planning.build(p.spec)
    buffers = {"x": x, "w": w, "y": y} | {{"forward": "y", "data": "x", "weight": "w"}[kind]: result}
    if kind == "data":
        buffers |= {"x": y, "y": result}
    buffers |= {"a": w, "b": buffers["x"], "c": buffers["y"]}  # of a product of matrices
    buffers["table"] = np.zeros(p.table * p.parts + 64, np.uint8)
    params = conv_planning.args(kernel, p)
    buffers["work"] = aligned((p.work * p.parts // 4 + 16,))
    return *prepared(kernel, params, buffers, p.parts), result, p.parts


POOLS = [
    ("max", (4, 6, 28, 28), 2, 2, 0),
    ("max", (64, 16, 8, 8), 2, 2, 0),
    ("max", (16, 64, 112, 112), 3, 2, 1),
    ("avg", (16, 64, 56, 56), 2, 2, 0),
    ("avg", (16, 64, 28, 28), 3, 1, 1),
]


def pools(threads: int) -> Iterator[Case]:
    """Pooling, forward and backward (PyTorch's through aten)."""
    aten = torch.ops.aten
    for kind, shape, k, s, p in POOLS:
        x = torch.from_numpy(aligned(shape))
        options = ([k, k], [s, s], [p, p])
        if kind == "max":
            values, index = aten.max_pool2d_with_indices(x, *options)
        else:
            values, index = aten.avg_pool2d(x, *options), torch.zeros(1, dtype=torch.int64)
        gradient = torch.from_numpy(aligned(tuple(values.shape)))
        theirs = {
            "max": partial(aten.max_pool2d_with_indices, x, *options),
            "max_back": partial(
                aten.max_pool2d_with_indices_backward, gradient, x, *options, [1, 1], False, index
            ),
            "avg": partial(aten.avg_pool2d, x, *options),
            "avg_back": partial(aten.avg_pool2d_backward, gradient, x, *options, False, True, None),
        }
        for name in (kind, f"{kind}_back"):
            out = tuple(values.shape[2:])
            plan = pool.plan(name, shape, strides(shape), out, "f32", (k, k), (s, s), (p, p), threads=threads)
            ours = partial(pooled, plan, x.numpy(), gradient.numpy(), index.numpy())
            yield Case(f"pool {name} {shape} {k}x{k} s{s}", 0, theirs[name], ours)


def pooled(
    p: pool.PoolPlan, x: np.ndarray, gradient: np.ndarray, index: np.ndarray
) -> tuple[Callable[[], object], float, np.ndarray, int]:
    """Ours, ready to run."""
    back = p.spec.kind.endswith("back")
    out = aligned(x.shape if back else gradient.shape)
    buffers = {"x": x, "y": out, "index": aligned(gradient.shape, np.int64)}
    if back:
        buffers = {"x": out, "y": gradient, "index": index}
    kernel = pool.pool(p.spec)
    return *prepared(kernel, pool.args(kernel, p), buffers, p.parts), out, p.parts


GROUPS = {"matmul": matmuls, "conv": convs, "resnet": resnet, "pool": pools}


def cases(names: Sequence[str], threads: int, only: Sequence[str], pattern: str = "") -> Iterator[Case]:
    """All cases of the groups whose name matches; only: the tables of matmul that are wanted (all if empty)."""
    for name in names:
        for case in matmuls(threads, only) if name == "matmul" else GROUPS[name](threads):
            if re.search(pattern, case.name):
                yield case


def theirs(names: Sequence[str], threads: int, only: Sequence[str], pattern: str) -> None:
    """PyTorch's side, in a process of its own: at each line of input the seconds of the next case (or the same one)."""
    torch.set_num_threads(threads)
    wanted = cases(names, threads, only, pattern)
    case = None
    for line in sys.stdin:
        if line.strip() == "next":
            case = next(wanted)
        assert case is not None
        call = case.fresh if line.strip() == "fresh" else case.theirs
        print(median(call or case.theirs, 0.05), flush=True)


class Other:
    """The process of PyTorch's side."""

    def __init__(self, arguments: Sequence[str]):
        command = [sys.executable, __file__, *arguments, "--theirs"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, what: str) -> float:
        """Seconds of a call: "next" case, the same "again", or "fresh" (its public interface)."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(what + "\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())


def sides(
    call: Callable[[], object], other: Other, first: str, again: str, rounds: int, peak: Callable[[], object]
) -> tuple[float, float, float]:
    """The least of the medians of both sides, which take turns, and of `peak`."""
    mine, others, peaks = [], [], []
    for r in range(rounds):
        others.append(other.ask(again if r else first))
        mine.append(median(call, 0.05))
        peaks.append(median(peak, 0.01))
    return min(mine), min(others), min(peaks)


def show(
    case: Case, other: Other, rounds: int, public: bool, peaks: Sequence[Callable[[], object]]
) -> tuple[float, float]:
    """Measure both sides and print a line; PyTorch's seconds over ours, of kernels and through the interfaces."""
    want = case.theirs()
    want = want[0] if isinstance(want, tuple) else want
    call, compiled, result, parts = case.ours()
    peak = peaks[parts - 1]
    seconds, their_time, best = sides(call, other, "next", "again", rounds, peak)
    got = torch.as_tensor(result).flatten().double()
    error = float((got - want.flatten().double()).abs().max() / want.double().abs().max())
    rate = " " * 19
    if case.flops:
        rate = f"{case.flops / seconds / 1e9:6.1f} {case.flops / their_time / 1e9:6.1f}"
        rate += f" {case.flops / seconds / (2 * 6 * 16 * K * TILES / best):5.0%}"
    line = f"{case.name:36} {parts:2} {seconds * 1e6:9.1f} {their_time * 1e6:9.1f} {their_time / seconds:6.2f} {rate}"
    through = 0.0
    if public and case.public is not None:
        mine, others, _ = sides(case.public(), other, "fresh", "fresh", rounds, peak)
        through = others / mine
        line += f" {mine * 1e6:9.1f} {others * 1e6:9.1f} {through:6.2f}"
    bound = 1e-2 if want.dtype.itemsize == 2 else 3e-5
    print(f"{line} {compiled:5.0f}{'' if error < bound else f'  WRONG {error:.1g}'}", flush=True)
    return their_time / seconds, through


def main(argv: Sequence[str]) -> None:
    """The table."""
    threads = int(argv[argv.index("--threads") + 1]) if "--threads" in argv else 2
    rounds = int(argv[argv.index("--rounds") + 1]) if "--rounds" in argv else 3
    pattern = argv[argv.index("-k") + 1] if "-k" in argv else ""
    names = [name for name in GROUPS if name in argv] or list(GROUPS)
    only = [name for name in MATMULS if name in argv]
    if "--theirs" in argv:
        theirs(names, threads, only, pattern)
        return
    other = Other(argv)
    torch.set_num_threads(1)
    DEVICE.set_num_threads(threads)
    heads = ("", "us", "PyTorch", "x", "GF/s", "PyT", "peak", "public", "PyTorch", "x", "compile ms")
    print(
        "{:36} {:>2} {:>9} {:>9} {:>6} {:>6} {:>6} {:>5} {:>9} {:>9} {:>6} {:>5}".format(
            f"{threads} threads", *heads
        )
    )
    peaks, found = [tiles(n + 1) for n in range(threads)], dict[str, list[float]]()
    for case in cases(names, threads, only, pattern):
        ratios = show(case, other, rounds, "--public" in argv, peaks)
        direction = case.name.split()[1] if case.name.startswith("conv") else ""
        for name, ratio in zip(("kernels", "public", direction), (*ratios, ratios[0])):
            if name and ratio:
                found.setdefault(name, []).append(ratio)
    for name, of in found.items():
        print(f"{name}: geometric mean {statistics.geometric_mean(of):.2f}, least {min(of):.2f}")


if __name__ == "__main__":
    main(sys.argv[1:])
