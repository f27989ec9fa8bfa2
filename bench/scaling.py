"""How many times faster two threads are than one: products, convolutions, large elementwise operations.

usage: python bench/scaling.py [--rounds 9]

Through the public API, in one process; the two settings take turns, and the best rounds are compared. The first line is
the machine's own figure: a tile of a product over and over, out of the first cache. No operation can do better.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from functools import partial

import kernels

import flambeau as torch


def computed(call: Callable[[], torch.Tensor]) -> Callable[[], object]:
    """The call with its result computed before it returns; the result before is given back while it runs."""
    kept: list[object] = [None]

    def run() -> None:
        with torch.no_grad():
            kept[0] = call()
        torch.synchronize()

    return run


def operations() -> dict[str, Callable[[], object]]:
    """What is measured, by name."""
    made: dict[str, Callable[[], torch.Tensor]] = {}
    for n in (256, 512, 1024, 2048):
        a, b = torch.randn(n, n), torch.randn(n, n)
        made[f"product of {n} x {n}"] = partial(torch.matmul, a, b)
    for channels, side, taps in ((64, 56, 3), (256, 14, 3), (256, 14, 1), (512, 7, 3)):
        x, w = torch.randn(8, channels, side, side), torch.randn(channels, channels, taps, taps)
        conv = partial(torch.nn.functional.conv2d, x, w, padding=taps // 2)
        made[f"convolution {taps}x{taps}, {channels} channels at {side}"] = conv
    x, y = torch.randn(1 << 24), torch.randn(1 << 24)
    made |= {"a + b, 16 Mi": partial(torch.add, x, y), "exp, 16 Mi": partial(torch.exp, x)}
    made |= {"tanh, 16 Mi": partial(torch.tanh, x), "gelu, 16 Mi": partial(torch.nn.functional.gelu, x)}
    return {name: computed(call) for name, call in made.items()}


def turns(calls: Sequence[Callable[[], object]], before: Callable[[int], object], rounds: int) -> list[float]:
    """The best seconds of each call; before(threads) is called ahead of each turn."""
    best = [float("inf")] * len(calls)
    for _ in range(rounds):
        for k, call in enumerate(calls):
            before(k + 1)
            call()
            inner, start = 0, time.perf_counter()
            while inner == 0 or time.perf_counter() - start < 5e-3:
                call()
                inner += 1
            best[k] = min(best[k], (time.perf_counter() - start) / inner)
    return best


def show(name: str, one: float, two: float) -> None:
    """A line of the table."""
    print(f"{name:36} {one * 1e6:10.1f} {two * 1e6:10.1f} {one / two:6.2f}", flush=True)


def main(argv: Sequence[str]) -> None:
    """The table."""
    rounds = int(argv[argv.index("--rounds") + 1]) if "--rounds" in argv else 9
    print(f"{'':36} {'1 thread':>10} {'2 threads':>10} {'times':>6}")
    kernels.DEVICE.set_num_threads(2)
    tiles = [kernels.tiles(threads, 4000) for threads in (1, 2)]
    show("tiles out of the first cache", *turns(tiles, lambda threads: None, rounds))
    for name, call in operations().items():
        show(name, *turns([call, call], torch.set_num_threads, rounds))


if __name__ == "__main__":
    main(sys.argv[1:])
