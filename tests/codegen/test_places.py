"""Where integer arithmetic goes: once, in front of loops that do not change it, and never out of a branch."""

import re
import time

import llvmlite.binding
import numpy as np
import pytest
from codegen_native import compare, run, runnable

from flambeau.codegen import engine, llvm, objects, target
from flambeau.loop.build import Builder
from flambeau.loop.ir import Kernel


def strided() -> Kernel:
    """y[r * n + c] = x[(r + 1) * s + 2 * c] over a table, and the last row again if there is more than one."""
    b = Builder("strided")
    rows, n, s = b.integer("rows"), b.integer("n"), b.integer("s")
    x, y = b.buf("x", "f32"), b.buf("y", "f32", "rw")
    with b.for_("r", 0, rows) as r, b.for_("c", 0, n) as c:
        y[r * n + c] = x[(r + 1) * s + c * 2]
    with b.if_(rows > 1), b.for_("k", 0, n) as k:
        y[k + (rows - 1) * n] = x[k * 2 + rows * s] + 1.0
    y[rows * s] = x[(rows - 1) * n]
    return b.kernel()


def lines_of(kernel: Kernel) -> list[str]:
    """The lines of its function."""
    return llvm.module([kernel], ["k"], target.named("x86-64-v3")).splitlines()


def test_loops_hold_what_they_change_alone():
    text = lines_of(strided())
    loads = [k for k, line in enumerate(text) if re.search(r"= load float", line)]
    heads = [k for k, line in enumerate(text) if line.endswith(":")]
    inner = text[max(h for h in heads if h < loads[0]) : loads[0]]
    assert not any(" mul " in line for line in inner if "%i" not in line), inner
    counted = [line for line in text if re.match(r"  %m\d+ = phi", line)]
    assert len(counted) == 2  # r * s and r * n


def test_the_values_are_right():
    rows, n, s = 3, 4, 9
    x = np.arange(64, dtype=np.float32)
    y = np.zeros(64, np.float32)
    compare(strided(), rows, n, s, x, y)
    run(strided(), rows, n, s, x, y)
    want = np.zeros(64, np.float32)
    for r in range(rows):
        for c in range(n):
            want[r * n + c] = x[(r + 1) * s + 2 * c]
    for k in range(n):
        want[k + (rows - 1) * n] = x[k * 2 + rows * s] + 1
    want[rows * s] = x[(rows - 1) * n]
    assert (y == want).all()


def test_a_branch_keeps_its_own():
    """(rows - 1) * n is computed in the branch and again behind it: the branch may not have been taken."""
    text = lines_of(strided())
    assert (
        sum(("add i64" in line and ", -1" in line) or ("sub i64" in line and ", 1" in line) for line in text)
        == 2
    )


def test_the_search_of_llvm_is_on_again_for_others(monkeypatch):
    asked: list[str] = []
    real = llvmlite.binding.set_option
    monkeypatch.setattr(
        llvmlite.binding, "set_option", lambda name, option: (asked.append(option), real(name, option))
    )
    engine.emit([strided()], target.named("x86-64-v3"))
    half = len(asked) // 2
    assert asked[0] == "-disable-lsr=true" and asked[half] == "-disable-lsr=false"
    assert [a.split("=")[0] for a in asked[:half]] == [a.split("=")[0] for a in asked[half:]]
    asked.clear()
    new = [divided(), strided()]
    for kernel in new:
        kernel.name = f"new_{time.time_ns()}"
    engine.compile_kernels(new)
    assert asked and len(asked) == len(set(asked)) and not objects._set[0]  # once for both


def divided() -> Kernel:
    """out[4 i ...] = quotient and remainder of x + i by y and by 7."""
    b = Builder("divided")
    x, y = b.integer("x"), b.integer("y")
    out = b.buf("out", "i64", "w")
    with b.for_("i", 0, 2) as i:
        for k, value in enumerate(((x + i) // y, (x + i) % y, (x + i) // 7, (x + i) % 7)):
            out[i * 4 + k] = value
    return b.kernel()


def test_what_makes_a_divisor_safe_is_in_front_of_the_loop():
    text = lines_of(divided())
    loop = next(k for k, line in enumerate(text) if "= phi" in line)
    asked = [k for k, line in enumerate(text) if "= icmp eq i64" in line]
    assert len(asked) == 2  # 0 and -1
    assert max(asked) < loop


@pytest.mark.parametrize("on", runnable(), ids=lambda on: on.name)
def test_division_that_cannot_trap(on: target.Target):
    least, most = -(2**63), 2**63 - 1

    def wrapped(a: int) -> int:
        return (a + 2**63) % 2**64 - 2**63

    def want(a: int, y: int) -> tuple[int, int]:
        if not y:
            return 0, a
        size = abs(a) // abs(y)
        quotient = size if (a < 0) == (y < 0) else -size
        return wrapped(quotient), wrapped(a - quotient * y)

    for x in (0, 1, -1, 7, -8, 10**12, least, most - 1):
        for y in (0, 1, -1, 2, -3, least, most):
            out = np.zeros(8, np.int64)
            run(divided(), x, y, out, on=on)
            assert out.tolist() == [n for i in range(2) for by in (y, 7) for n in want(x + i, by)], (x, y)


def test_loose_scratch_needs_no_mask():
    def kernel(loose: bool) -> Kernel:
        b = Builder("kept")
        n, x, y = b.integer("n"), b.buf("x", "f32"), b.buf("y", "f32", "w")
        kept = b.alloc("kept", "f32", 16, loose=loose)
        with b.vfor("i", 0, n, 16) as i:
            kept[i] = x[i] * 2.0
            y[i] = kept[i]
        return b.kernel()

    for loose, count in ((False, 2), (True, 1)):
        text = "\n".join(lines_of(kernel(loose)))
        assert len(re.findall(r"= call .* @llvm.masked.load", text)) == count
    x, y = np.arange(16, dtype=np.float32), np.zeros(16, np.float32)
    run(kernel(True), 11, x, y)
    assert (y == np.where(np.arange(16) < 11, 2 * x, 0)).all()
