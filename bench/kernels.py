"""Contraction, convolution and pooling kernels beside PyTorch: medians in microseconds, and the ratio.

    python bench/kernels.py [matmul] [conv] [pool] [--threads 2]

Ours through the device's runner, PyTorch through its Python API (out= where there is one) in a process of its own:
two pools of spinning threads on the same cores would measure each other.
"""

from __future__ import annotations

import json
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
from flambeau.loop.recipes import conv_planning, planning, pool
from flambeau.loop.recipes.planning import Strides

DEVICE = CPU()


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
    kernel, params: Sequence[tuple[str, int | None]], buffers: dict[str, np.ndarray], parts: int
) -> tuple[Callable[[], object], float]:
    """A call that runs the kernel, and the milliseconds it took to compile (0 from the cache)."""
    start = time.perf_counter()
    (handle,) = DEVICE.load([kernel])
    compiled = (time.perf_counter() - start) * 1e3
    values = [buffers[name].ctypes.data if value is None else value for name, value in params]
    program = DEVICE.program([(handle, range(1, len(values) + 1), parts, False)], len(values) + 1)
    frame = program.take()
    pack_values(frame, values)

    def call(keep: object = buffers) -> None:
        program.run(frame)

    return call, compiled


def aligned(shape: Sequence[int], dtype: type = np.float32) -> np.ndarray:
    """Normal numbers in memory aligned to 64 bytes."""
    count = int(np.prod(shape))
    raw = np.zeros(count * np.dtype(dtype).itemsize + 128, np.uint8)
    start = -raw.ctypes.data % 64
    a = raw[start : start + count * np.dtype(dtype).itemsize].view(dtype).reshape(shape)
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

    `ours` gives (the call, milliseconds of compilation, the array it fills, parts)."""

    name: str
    flops: float
    theirs: Callable[[], torch.Tensor]
    ours: Callable[[], tuple[Callable[[], object], float, np.ndarray, int]]


MATMULS = [
    *((n, n, n, "nn", 1) for n in (32, 64, 100, 128, 256, 512, 1024)),
    *((512, 512, 512, layout, 1) for layout in ("nt", "tn", "tt")),
    (64, 128, 784, "nt", 1),
    (64, 784, 128, "nn", 1),
    (128, 784, 64, "tn", 1),
    (64, 10, 128, "nt", 1),
    (4, 120, 400, "nt", 1),
    (4, 400, 120, "nn", 1),
    (120, 400, 4, "tn", 1),
    (1, 4096, 4096, "nt", 1),
    (1, 4096, 4096, "nn", 1),
    (4096, 1, 4096, "nn", 1),
    (512, 2304, 768, "nt", 1),
    (8192, 64, 64, "nn", 1),
    (64, 64, 64, "nn", 32),
    (128, 128, 64, "nt", 48),
]


def matmuls(threads: int) -> Iterator[Case]:
    """Matrix products."""
    for m, n, k, layout, batch in MATMULS:
        a = aligned((batch, k, m) if layout[0] == "t" else (batch, m, k))
        b = aligned((batch, n, k) if layout[1] == "t" else (batch, k, n))
        at, bt = torch.from_numpy(a), torch.from_numpy(b)
        at = at.transpose(1, 2) if layout[0] == "t" else at
        bt = bt.transpose(1, 2) if layout[1] == "t" else bt
        strides = Strides(*at.stride(), *bt.stride(), m * n, n, 1)
        p = planning.plan(m, n, k, batch, strides, "f32", DEVICE.target(), threads)
        want = torch.empty(batch, m, n)
        theirs = partial(torch.bmm, at, bt, out=want)
        if batch == 1:
            theirs = partial(torch.mm, at[0], bt[0], out=want[0])
        name = f"{batch} x " if batch > 1 else ""
        name += f"{m}x{n}x{k} {layout}"
        yield Case(
            f"matmul {name} {p.spec.kind}",
            2 * m * n * k * batch,
            theirs,
            partial(matmul, p, a, b, batch * m * n),
        )


def matmul(
    p: planning.Plan, a: np.ndarray, b: np.ndarray, size: int
) -> tuple[Callable[[], object], float, np.ndarray, int]:
    """Ours, ready to run."""
    kernel, c = planning.build(p.spec), aligned((size,))
    buffers = {"a": a, "b": b, "c": c, "work": aligned((p.work * p.parts // 4 + 16,))}
    return *prepared(kernel, planning.args(kernel, p), buffers, p.parts), c, p.parts


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


def convs(threads: int) -> Iterator[Case]:
    """Convolutions, forward and both gradients."""
    for x_shape, w_shape, stride, padding in CONVS:
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
    one = conv_planning.pointwise(kind, g, *all_strides)
    if one is not None:
        p = planning.plan(one.m, one.n, one.k, one.batch, one.strides, "f32", DEVICE.target(), threads)
        kernel = planning.build(p.spec)
        buffers = {"a": w, "b": x if kind == "forward" else y, "c": result}
        params = planning.args(kernel, p)
    else:
        p = conv_planning.plan(kind, g, *all_strides, "f32", DEVICE.target(), threads)
        kernel = conv_planning.build(p.spec)
        buffers = {"x": x, "w": w, "y": y} | {{"forward": "y", "data": "x", "weight": "w"}[kind]: result}
        if kind == "data":
            buffers |= {"x": y, "y": result}
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


GROUPS = {"matmul": matmuls, "conv": convs, "pool": pools}


def theirs(names: Sequence[str], threads: int) -> dict[str, float]:
    """PyTorch's seconds by case; runs in a process of its own."""
    torch.set_num_threads(threads)
    return {case.name: median(case.theirs) for name in names for case in GROUPS[name](threads)}


def show(case: Case, their_time: float) -> None:
    """Measure ours and print a line."""
    want = case.theirs()
    want = want[0] if isinstance(want, tuple) else want
    call, compiled, result, parts = case.ours()
    seconds = median(call)
    error = float((torch.from_numpy(result).flatten() - want.flatten()).abs().max() / want.abs().max())
    rate = (
        f"{case.flops / seconds / 1e9:6.0f} {case.flops / their_time / 1e9:6.0f}" if case.flops else " " * 13
    )
    line = f"{case.name:44} {parts:2} {seconds * 1e6:10.1f} {their_time * 1e6:10.1f} {seconds / their_time:6.2f} {rate}"
    print(f"{line} {compiled:6.0f}{'' if error < 3e-5 else f'  WRONG {error:.1g}'}", flush=True)


def main(argv: Sequence[str]) -> None:
    """The table."""
    threads = int(argv[argv.index("--threads") + 1]) if "--threads" in argv else 2
    names = [name for name in GROUPS if name in argv] or list(GROUPS)
    if "--theirs" in argv:
        print(json.dumps(theirs(names, threads)))
        return
    command = [sys.executable, __file__, "--theirs", "--threads", str(threads), *names]
    their_times = json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
    torch.set_num_threads(1)
    DEVICE.set_num_threads(threads)
    heads = ("parts", "us", "PyTorch", "ratio", "GF/s", "PyT", "compile ms")
    print("{:42} {:>4} {:>10} {:>10} {:>6} {:>6} {:>6} {:>6}".format(f"{threads} threads", *heads))
    for name in names:
        for case in GROUPS[name](threads):
            show(case, their_times[case.name])


if __name__ == "__main__":
    main(sys.argv[1:])
