"""Random programs of ops, views, in-place writes, gradients and flush points: the oracle of the stream.

A program is a seed, and the same program however it is run: eagerly, instruction by instruction, planned as a whole,
with random flush points, on the interpreter. All give the same bits, also over other extents, offsets and numbers for
which the same plans and kernels serve. In float64 it also agrees with PyTorch, where that is installed.

    python -m tests.fuzz.programs --minutes 60 --seed 0          an hour; ends with status 1 if a program differs
    python -m tests.fuzz.programs --show SEED                    the shortest beginning that differs, and how
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import random
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from random_steps import Machine, finished


def nothing() -> None:
    pass


@contextlib.contextmanager
def backend(name: str) -> Iterator[None]:
    """Programs run on another device inside; what was planned for the other is forgotten."""
    from flambeau import config
    from flambeau.stream.value import LOCAL

    LOCAL.s.flush()  # type: ignore[attr-defined]
    before = config.backend
    config.set("backend", name)
    try:
        yield
    finally:
        LOCAL.s.flush()  # type: ignore[attr-defined]
        config.set("backend", before)


@contextlib.contextmanager
def planned_from(times: int) -> Iterator[None]:
    """A sequence is planned as a whole when it comes for that time; small results take the place of others, too."""
    from flambeau.stream import overwrite
    from flambeau.stream.flush import Novelty

    before, least = Novelty.__dict__["plans"], overwrite.LEAST
    overwrite.LEAST = 1
    Novelty.plans = classmethod(lambda cls, known, *_: known.seen >= times)  # type: ignore[assignment]
    try:
        yield
    finally:
        Novelty.plans = before  # type: ignore[method-assign]
        overwrite.LEAST = least


def eagerly(seed: int, steps: int, dtype: str, **options: Any) -> Machine:
    """Each instruction is run at once."""
    import flambeau
    from flambeau.stream.value import LOCAL

    LOCAL.s.eager = True
    try:
        return finished(Machine(flambeau, seed, dtype, nothing, **options), steps)
    finally:
        LOCAL.s.eager = False


def by_units(seed: int, steps: int, dtype: str, **options: Any) -> Machine:
    """Each sequence is run from the programs of its instructions and fragments."""
    import flambeau

    with planned_from(1 << 30):
        return finished(Machine(flambeau, seed, dtype, nothing, **options), steps)


def deferred(seed: int, steps: int, dtype: str, **options: Any) -> Machine:
    """Each sequence is planned as a whole."""
    import flambeau

    with planned_from(1):
        return finished(Machine(flambeau, seed, dtype, nothing, **options), steps)


def cut(seed: int, steps: int, dtype: str, **options: Any) -> Machine:
    """With flush points of its own."""
    import flambeau
    from flambeau.stream.value import LOCAL

    when = random.Random(seed ^ 0x5EED)

    def flush() -> None:
        if when.random() < 0.2:
            LOCAL.s.flush()  # type: ignore[attr-defined]

    with planned_from(1 + seed % 2):
        return finished(Machine(flambeau, seed, dtype, flush, **options), steps)


def by_one_thread(seed: int, steps: int, dtype: str, **options: Any) -> Machine:
    """Each sequence is planned as a whole and nothing is shared out."""
    import flambeau

    threads = flambeau.get_num_threads()
    flambeau.set_num_threads(1)
    try:
        return deferred(seed, steps, dtype, **options)
    finally:
        flambeau.set_num_threads(threads)


def interpreted(seed: int, steps: int, dtype: str, **options: Any) -> Machine:
    """On the device that interprets loop IR."""
    with backend("python"):
        return deferred(seed, steps, dtype, **options)


def by_torch(seed: int, steps: int, dtype: str, **options: Any) -> Machine:
    """In PyTorch."""
    import torch

    return finished(Machine(torch, seed, dtype, nothing, **options), steps)


# --- comparison -------------------------------------------------------------------------------------------------------


def same_bits(a: Any, b: Any) -> bool:
    if isinstance(a, str) or isinstance(b, str):
        return type(a) is type(b) and a == b
    a, b = np.asarray(a), np.asarray(b)
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    bits = f"u{a.dtype.itemsize}"
    equal = np.ascontiguousarray(a).view(bits) == np.ascontiguousarray(b).view(bits) if a.ndim else a == b
    return bool(np.all(equal | (np.isnan(a) & np.isnan(b))))


def near(a: Any, b: Any) -> bool:
    if isinstance(a, str) or isinstance(b, str):
        return type(a) is type(b) and a == b
    a, b = np.asarray(a), np.asarray(b)
    with np.errstate(all="ignore"):
        return a.shape == b.shape and bool(np.allclose(a, b, rtol=1e-6, atol=1e-8, equal_nan=True))


def difference(a: Machine, b: Machine, equal: Callable[[Any, Any], bool]) -> str:
    """What differs between two runs, or ''."""
    x, y = a.outcome, b.outcome  # type: ignore[attr-defined]
    if len(x) != len(y):
        return f"{len(x)} and {len(y)} results; errors {a.errors!r} and {b.errors!r}"
    for i, (p, q) in enumerate(zip(x, y)):
        if not equal(p, q):
            return f"result {i}:\n{p}\n{q}"
    return ""


WAYS = (by_units, deferred, cut)


def check(
    seed: int,
    steps: int = 40,
    interpreter: bool = False,
    reference: bool = False,
    ways: tuple[Any, ...] = WAYS,
    large: bool = False,
) -> str:
    """Run one program in these ways; '' or what differs."""
    base = eagerly(seed, steps, "float32", large=large)
    if large:
        ways = (*ways, by_one_thread)
    elif interpreter:
        ways = (*ways, interpreted)
    for way in ways:
        found = difference(base, way(seed, steps, "float32", large=large), same_bits)
        if found:
            return f"eager and {way.__name__}: {found}"
    for options in () if large else ({"draw": 1}, {"other_sizes": True, "draw": 2}):
        base = eagerly(seed, steps, "float32", **options)
        found = difference(base, deferred(seed, steps, "float32", **options), same_bits)
        if found:
            return f"eager and deferred with {options}: {found}"
    if reference:
        theirs = by_torch(seed, steps, "float64", reference=True, large=large)
        ours = deferred(seed, steps, "float64", reference=True, large=large)
        found = difference(theirs, ours, near)
        if found:
            return f"PyTorch and deferred: {found}"
    return ""


def smallest(seed: int, steps: int, **options: Any) -> tuple[int, str]:
    """The shortest beginning of a program that still differs."""
    for n in range(1, steps + 1):
        found = check(seed, n, **options)
        if found:
            return n, found
    return steps, ""


def hunt(first: int, seconds: float, steps: int = 40, **options: Any) -> tuple[int, list[int]]:
    """Programs from seed `first` on until the time is over; how many ran, and the seeds that differ."""
    end, bad, seed = time.monotonic() + seconds, [], first
    every = options.pop("interpret_every", 10)
    while time.monotonic() < end and len(bad) < 5:
        found = check(seed, steps, interpreter=bool(every) and seed % every == 0, **options)
        if found:
            bad.append(seed)
            print(f"seed {seed}: {found}", flush=True)
        seed += 1
    return seed - first, bad


def main() -> None:
    faulthandler.enable()
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=1)
    parser.add_argument("--seed", type=int, default=0, help="the first program")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--no-torch", action="store_true", help="do not compare with PyTorch")
    parser.add_argument("--large", action="store_true", help="extents that threads share")
    parser.add_argument("--show", type=int, metavar="SEED", help="print one program and what differs")
    given = parser.parse_args()
    reference = not given.no_torch and find_spec("torch") is not None
    if given.show is not None:
        n, found = smallest(given.show, given.steps, reference=reference, large=given.large)
        print(
            "\n".join(eagerly(given.show, n, "float32", large=given.large).lines),
            f"\n{n} steps",
            found,
            sep="\n",
        )
        if found.startswith("PyTorch"):
            for way in (by_torch, deferred):
                run = way(given.show, n, "float64", reference=True)
                print(f"\n{way.__name__}:", *run.lines, sep="\n")
        return
    ran, bad = hunt(given.seed, 60 * given.minutes, given.steps, reference=reference, large=given.large)
    print(f"{ran} programs from seed {given.seed}; differ: {bad or 'none'}")
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
