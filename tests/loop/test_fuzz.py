"""Random kernels: the interpreter and the machine agree to the last bit; and the comparison finds planted bugs."""

from __future__ import annotations

import ctypes
import random

import pytest
from tests.loop.fuzz import differences, random_kernel, run

from flambeau.loop.ir import Kernel, Op
from flambeau.loop.spec import verify
from flambeau.loop.text import parse, show

FUNCTION = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)


def machine(kernel: Kernel, table, where, tid: int, nt: int) -> None:
    from flambeau.codegen import engine

    (address,) = engine.compile_kernels([kernel])
    FUNCTION(address)(table.ctypes.data, where.ctypes.data, tid, nt)


@pytest.mark.parametrize("seed", [*range(30), *random.Random().sample(range(1000, 10**6), 20)])
def test_the_interpreter_and_the_machine_agree(seed: int) -> None:
    kernel, inputs = random_kernel(seed)
    verify(kernel)
    found = differences(kernel, run(kernel, inputs), run(kernel, inputs, machine))
    assert not found, f"seed {seed}: {found}\n{show(kernel)}"


@pytest.mark.parametrize("seed", range(8))
def test_they_agree_on_mathematical_functions(seed: int) -> None:
    from flambeau.codegen.math import DOUBLE, FLOAT, expand

    kernel, inputs = random_kernel(seed, math=sorted({*FLOAT, *DOUBLE}))
    expanded = expand(kernel)
    verify(expanded, target="x86-64-v3")
    found = differences(kernel, run(expanded, inputs), run(kernel, inputs, machine))
    assert not found, f"seed {seed}: {found}\n{show(kernel)}"


def test_a_seed_gives_the_same_kernel_again() -> None:
    (a, x), (b, y) = random_kernel(5), random_kernel(5)
    assert show(a) == show(b) and len(x) == len(y)


PLANTED = [
    ("add", "sub"),
    ("min", "max"),
    ("lt", "le"),
    ("shl", "shr"),
    ("idiv", "irem"),
    ("and", "or"),
    ("floor", "trunc"),
]


@pytest.mark.parametrize(("right", "wrong"), PLANTED)
def test_planted_bugs_are_found(right: str, wrong: str) -> None:
    """A machine that takes one operation for another is caught within a few dozen kernels."""
    for seed in range(150):
        kernel, inputs = random_kernel(seed)
        spoilt = parse(show(kernel))
        if spoil(spoilt, right, wrong) and differences(kernel, run(kernel, inputs), run(spoilt, inputs)):
            return
    pytest.fail(f"{wrong} for {right} was not noticed")


def spoil(kernel: Kernel, right: str, wrong: str) -> int:
    """Replace an operation everywhere but in indices and masks; how often."""
    from flambeau.loop.algebra import postorder
    from flambeau.loop.text import _roots

    count, blocks = 0, [kernel.body]
    while blocks:
        for s in blocks.pop():
            blocks += [getattr(s, k) for k in ("body", "then", "orelse") if hasattr(s, k)]
            for e in postorder(_roots(s)):
                if isinstance(e, Op) and e.op == right and e.args[0].type not in ("i64", "b1"):
                    e.op = wrong
                    count += 1
    return count
