"""Single operations on images whose channels are innermost in memory (channels_last), flambeau beside PyTorch: times
there, and there and back, and the strides of what is made.

usage: python bench/innermost.py [-k REGEX] [--shapes REGEX] [--dtype float32] [--seconds 0.1] [--strides]

Both sides run in one process with two threads and take turns; medians. A row ends in "!" where flambeau takes longer.
--strides compares the strides of results and gradients only, at small sizes.
"""

from __future__ import annotations

import argparse
import re
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

SHAPES = {
    "32x64x56x56": (32, 64, 56, 56),
    "8x64x56x56": (8, 64, 56, 56),
    "32x256x14x14": (32, 256, 14, 14),
    "8x3x224x224": (8, 3, 224, 224),
    "1x64x56x56": (1, 64, 56, 56),
    "8x17x28x28": (8, 17, 28, 28),
    "8x100x28x28": (8, 100, 28, 28),
    "4x32x8x28x28": (4, 32, 8, 28, 28),
}
SMALL = ((2, 8, 6, 6), (1, 8, 6, 6), (2, 3, 6, 6), (2, 8, 1, 1), (2, 1, 6, 6), (2, 8, 4, 6, 6), (2, 8, 6, 1))
PAUSE, WARM, TURN = 0.003, 5, 15  # seconds between turns; calls of a turn, before and while it is timed
Op = Callable[[Any, Any], Any]


def places(x: Any) -> tuple[int, ...]:
    """The dimensions behind the channels."""
    return tuple(range(2, x.ndim))


def kinds(name: str) -> Op:
    """A function of nn.functional with 1d, 2d or 3d at its end; its arguments follow the name."""
    name, *arguments = name.split()
    numbers = [float(a) if "." in a else int(a) for a in arguments]
    return lambda torch, x: getattr(torch.nn.functional, f"{name}{x.ndim - 2}d")(x, *numbers)


def functional(name: str, *arguments: Any, **named: Any) -> Op:
    """A function of nn.functional."""
    return lambda torch, x: getattr(torch.nn.functional, name)(x, *arguments, **named)


def shortest(x: Any, count: int) -> tuple[int, ...]:
    """As many twos as sizes that a padding is of."""
    return (1,) * (2 * min(count, x.ndim - 2))


def resized(mode: str, factor: float) -> Op:
    """interpolate; bilinear is trilinear in three dimensions."""
    return lambda torch, x: torch.nn.functional.interpolate(
        x, scale_factor=factor, mode="trilinear" if mode == "bilinear" and x.ndim == 5 else mode
    )


def bound(torch: Any, x: Any) -> Any:
    """A weight for each channel."""
    return torch.full((x.shape[1],), 0.25, dtype=x.dtype)


def halves(torch: Any, x: Any) -> Any:
    """The product of the first half of the channels and the second."""
    a, b = x.chunk(2, 1)
    return a * b


def joined(torch: Any, x: Any) -> Any:
    """The squeeze and excitation of a block."""
    return x * torch.sigmoid(x.mean(places(x), keepdim=True))


OPERATIONS: dict[str, Op] = {
    "relu": lambda torch, x: torch.relu(x),
    "gelu": functional("gelu"),
    "silu": functional("silu"),
    "hardswish": functional("hardswish"),
    "x * 2 + 1": lambda torch, x: x * 2 + 1,
    "x + x * x": lambda torch, x: x + x * x,
    "x * scale": lambda torch, x: x * bound(torch, x).view(1, -1, *[1] * (x.ndim - 2)),
    "squeeze and excite": joined,
    "clone": lambda torch, x: x.clone(),
    "contiguous": lambda torch, x: x.contiguous(),
    "sum": lambda torch, x: x.sum(),
    "sum 1": lambda torch, x: x.sum(1),
    "sum places": lambda torch, x: x.sum(places(x)),
    "sum 0 and places": lambda torch, x: x.sum((0, *places(x))),
    "mean": lambda torch, x: x.mean(),
    "mean 1": lambda torch, x: x.mean(1, keepdim=True),
    "mean places": lambda torch, x: x.mean(places(x)),
    "var 1": lambda torch, x: x.var(1),
    "var places": lambda torch, x: x.var(places(x)),
    "amax": lambda torch, x: x.amax(),
    "amax 1": lambda torch, x: x.amax(1),
    "amax places": lambda torch, x: x.amax(places(x)),
    "argmax 1": lambda torch, x: x.detach().argmax(1).float(),
    "max 1": lambda torch, x: x.max(1)[0],
    "norm 1": lambda torch, x: x.norm(dim=1),
    "normalize": functional("normalize"),
    "softmax 1": lambda torch, x: x.softmax(1),
    "log_softmax 1": lambda torch, x: x.log_softmax(1),
    "batch_norm": functional("batch_norm", None, None, None, None, True),
    "batch_norm eval": lambda torch, x: torch.nn.functional.batch_norm(x, bound(torch, x), bound(torch, x)),
    "group_norm": lambda torch, x: torch.nn.functional.group_norm(
        x, next(g for g in (8, 4, 1) if not x.shape[1] % g)
    ),
    "group_norm silu": lambda torch, x: torch.nn.functional.silu(torch.nn.functional.group_norm(x, 1)),
    "instance_norm": functional("instance_norm"),
    "layer_norm of channels": lambda torch, x: torch.nn.functional.layer_norm(
        x.movedim(1, -1), (x.shape[1],)
    ).movedim(-1, 1),
    "local_response_norm": functional("local_response_norm", 5),
    "max_pool 2": kinds("max_pool 2"),
    "max_pool 3/2": kinds("max_pool 3 2 1"),
    "avg_pool 2": kinds("avg_pool 2"),
    "avg_pool 3/2": kinds("avg_pool 3 2 1"),
    "adaptive_avg_pool 1": kinds("adaptive_avg_pool 1"),
    "adaptive_avg_pool 7": kinds("adaptive_avg_pool 7"),
    "adaptive_max_pool 1": kinds("adaptive_max_pool 1"),
    "nearest 2": resized("nearest", 2),
    "nearest 0.5": resized("nearest", 0.5),
    "bilinear 2": resized("bilinear", 2),
    "bilinear 0.5": resized("bilinear", 0.5),
    "dropout": functional("dropout", 0.5),
    "dropout of channels": kinds("dropout 0.5"),
    "prelu": lambda torch, x: torch.nn.functional.prelu(x, bound(torch, x)),
    "leaky_relu": functional("leaky_relu", 0.1),
    "pixel_shuffle": lambda torch, x: (
        torch.nn.functional.pixel_shuffle(x[:, : x.shape[1] // 4 * 4], 2)
        if x.shape[1] > 3 and x.ndim == 4
        else x + 1
    ),
    "pixel_unshuffle": lambda torch, x: (
        torch.nn.functional.pixel_unshuffle(x, 2) if x.shape[-1] > 1 and x.ndim == 4 else x + 1
    ),
    "channel_shuffle": lambda torch, x: torch.nn.functional.channel_shuffle(
        x, next(g for g in (4, 1) if not x.shape[1] % g)
    ),
    "pad": lambda torch, x: torch.nn.functional.pad(x, shortest(x, 2)),
    "pad reflect": lambda torch, x: (
        torch.nn.functional.pad(x, shortest(x, 3), mode="reflect") if x.shape[-1] > 1 else x + 1
    ),
    "pad replicate": lambda torch, x: torch.nn.functional.pad(x, shortest(x, 3), mode="replicate"),
    "cat 1": lambda torch, x: torch.cat([x, x * 2], 1),
    "cat 0": lambda torch, x: torch.cat([x, x * 2], 0),
    "chunk": halves,
    "split": lambda torch, x: torch.cat([t * 2 for t in x.split(2, 1)[:4]], 1),
    "flip": lambda torch, x: x.flip(-1),
    "flip 1": lambda torch, x: x.flip(1),
    "roll": lambda torch, x: torch.roll(x, 3, -1),
    "glu": lambda torch, x: (
        torch.nn.functional.glu(x[:, : x.shape[1] // 2 * 2], 1) if x.shape[1] > 1 else x + 1
    ),
    "where": lambda torch, x: torch.where(x > 0, x, x * 0.5),
    "bias": lambda torch, x: x + bound(torch, x).view(-1, *[1] * (x.ndim - 2)),
    "flatten": lambda torch, x: x.flatten(1) * 2,
    "index_select 1": lambda torch, x: x.index_select(1, torch.arange(x.shape[1] - 1, -1, -1)),
    "repeat": lambda torch, x: x.repeat(1, 2, *[1] * (x.ndim - 2)),
    "stack": lambda torch, x: torch.stack([x, x]),
    "cumsum 1": lambda torch, x: x.cumsum(1),
    "masked_fill": lambda torch, x: x.masked_fill(x > 1, 0.0),
    "clamp": lambda torch, x: x.clamp(-1, 1),
}


def images(torch: Any, shape: tuple[int, ...], dtype: str) -> Any:
    """Normal numbers with the channels innermost."""
    x = torch.tensor(np.random.RandomState(0).randn(*shape).astype("f")).to(getattr(torch, dtype))
    return x.to(memory_format=torch.channels_last if len(shape) == 4 else torch.channels_last_3d)


def steps(torch: Any, f: Op, shape: tuple[int, ...], dtype: str) -> list[Callable[[], Any]]:
    """There, and there and back."""
    x, y = images(torch, shape, dtype), images(torch, shape, dtype).requires_grad_()
    finish = getattr(torch, "synchronize", None) or (lambda: None)
    torch.manual_seed(0)
    grad = f(torch, x).detach() * 0.5 + 0.25

    def there() -> Any:
        made = f(torch, x)
        finish()
        return made

    def back() -> Any:
        made = f(torch, y)
        found = torch.autograd.grad(made, y, grad)[0] if made.requires_grad else None
        finish()
        return made, found

    return [there, back]


def timed(sides: dict[str, Callable[[], Any]], seconds: float) -> list[float]:
    """Median microseconds of each side; they take turns, some calls at a time: the threads of the other one sleep."""
    times: dict[str, list[float]] = {k: [] for k in sides}
    start = time.perf_counter()
    while time.perf_counter() - start < seconds or not times["torch"]:
        for k, f in sides.items():
            time.sleep(PAUSE)
            for _ in range(WARM):
                f()
            for _ in range(TURN):
                begin = time.perf_counter()
                held = f()
                times[k].append(time.perf_counter() - begin)
                del held
    return [1e6 * statistics.median(t) for t in times.values()]


def orders(made: Any) -> list[tuple[int, ...]]:
    """The strides of all tensors in a result."""
    some = made if isinstance(made, tuple) else (made,)
    return [tuple(t.stride()) for t in some if t is not None]


def main() -> None:
    """Measure and print."""
    import torch

    import flambeau

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-k", default="")
    parser.add_argument("--shapes", default="")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--seconds", type=float, default=0.1)
    parser.add_argument("--strides", action="store_true")
    options = parser.parse_args()
    both = {"torch": torch, "flambeau": flambeau}
    for m in both.values():
        m.set_num_threads(2)
    shapes = {str(s): s for s in SMALL} if options.strides else SHAPES
    for label, shape in shapes.items():
        if not re.search(options.shapes, label):
            continue
        for name, f in OPERATIONS.items():
            if not re.search(options.k, name):
                continue
            try:
                runs = {k: steps(m, f, shape, options.dtype) for k, m in both.items()}
                found = {k: orders(r[1]()) for k, r in runs.items()}
            except (RuntimeError, ValueError) as e:
                print(f"{label:14s} {name:24s} {type(e).__name__}: {str(e)[:110]}", flush=True)
                continue
            differ = (
                ""
                if found["torch"] == found["flambeau"]
                else f" STRIDES {found['torch']} {found['flambeau']}"
            )
            if options.strides:
                if differ:
                    print(f"{label:18s} {name:24s}{differ}", flush=True)
                continue
            cells = []
            for k in range(2):
                theirs, ours = timed({s: r[k] for s, r in runs.items()}, options.seconds)
                cells.append(
                    f"{theirs:8.0f} {ours:8.0f} {ours / theirs:6.2f}{' !' if ours > theirs else '  '}"
                )
            print(f"{label:14s} {name:24s}{'  '.join(cells)}{differ}", flush=True)


if __name__ == "__main__":
    main()
