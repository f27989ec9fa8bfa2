"""Compiling and loading: addresses, keys, threads, LLVM text, code for other targets, errors instead of aborts."""

from __future__ import annotations

import ctypes
import subprocess
import sys
import threading
import time
from pathlib import Path

import codegen_native as native
import numpy as np
import pytest
from tests.loop.fuzz import differences, random_kernel
from tests.loop.fuzz import run as run_parts

from flambeau import config
from flambeau.codegen import engine, target
from flambeau.codegen.objects import Order
from flambeau.loop import ir
from flambeau.loop.build import Builder, op
from flambeau.loop.interp import interpret
from flambeau.loop.spec import LoopError

FUZZED = range(40, 52)


def scaled(name: str, factor: float, where: str = "") -> ir.Kernel:
    b = Builder(name, where)
    n, x = b.integer("n"), b.buf("x", "f32", "rw")
    with b.vfor("i", 0, n, 16) as i:
        x[i] = x[i] * factor
    return b.kernel()


def test_each_kernel_is_compiled_once() -> None:
    made = [scaled("once", 2.0), scaled("once", 3.0), scaled("once", 2.0, where="elsewhere.py:3")]
    before = engine.stats()
    first, second, third = engine.compile_kernels(made)
    assert first == third != second
    assert engine.compile_kernels([scaled("once", 3.0)]) == [second]
    after = engine.stats()
    assert after["compiled"] == before["compiled"] + 2
    for kernel, factor in zip(made, (2, 3, 2), strict=True):
        x = np.ones(20, np.float32)
        native.run(kernel, 20, x)
        assert (x == factor).all()


def test_small_kernels_are_compiled_as_one_module(monkeypatch: pytest.MonkeyPatch) -> None:
    """LLVM takes a millisecond or two for each module. A long kernel has one of its own, and so has each of a few."""
    orders, in_place = [], engine._in_place

    def counting(order: Order) -> bytes:
        orders.append(order)
        return in_place(order)

    monkeypatch.setattr(engine, "_in_place", counting)
    made = [scaled("together", 2.0 + k) for k in range(5)]
    b = Builder("alone")
    x = b.buf("x", "f32", "rw")
    for k in range(600):
        x[k] = x[k + 1] + float(k)
    made.insert(2, b.kernel())
    addresses = engine.compile_kernels(made)
    assert len(set(addresses)) == 6
    assert sorted(order.text.count("define void @k_") for order in orders) == [1, 5]
    for kernel, factor in zip(made[:2] + made[3:], (2, 3, 4, 5, 6), strict=True):
        values = np.ones(20, np.float32)
        native.run(kernel, 20, values)
        assert (values == factor).all()
    orders.clear()
    engine.compile_kernels([scaled("apart", 2.0), scaled("apart", 3.0)])
    assert len(orders) == 2


def test_keys_tell_kernels_apart() -> None:
    host = target.host()

    def key(build: ir.Kernel) -> str:
        return engine.kernel_key(build, host)

    assert key(scaled("k", 0.0)) != key(scaled("k", -0.0))
    assert key(scaled("k", 1.0)) != key(scaled("k2", 1.0))
    assert key(scaled("k", 1.0, where="a.py:1")) == key(scaled("k", 1.0, where="b.py:2"))
    assert key(scaled("k", 1.0)) != engine.kernel_key(scaled("k", 1.0), target.named("x86-64-v3"))

    def reused(again: bool) -> ir.Kernel:
        """x read once or twice, before and after a store: not the same kernel."""
        b = Builder("k")
        x = b.buf("x", "f32", "rw")
        seen = b.let(x[0])
        x[0] = seen + 1.0
        x[1] = (x[0] if again else seen) + 1.0
        return b.kernel()

    assert key(reused(False)) != key(reused(True))


def test_keys_tell_every_field_of_a_kernel() -> None:
    """Each change of a field, or of which objects are one, gives another key; equal names in other objects do not."""
    host, n, i = target.host(), ir.Var("i64", "n"), ir.Var("i64", "i")
    half, x = ir.Const("f32", 0.5), ir.Load("f32", "x", i)

    def kernel(value: ir.Expr, mode: str = "rw", **fields: object) -> ir.Kernel:
        wanted = {"var": "i", "lo": ir.i64(0), "hi": n, "width": 8, "full": False, "past": 0} | fields
        body: list[ir.Stmt] = [ir.Store("x", i, value)]
        params = [ir.Int("n"), ir.Buf("x", "f32", mode), ir.Num("a", "f64")]
        return ir.Kernel("k", params, [ir.VFor(body=body, **wanted)])  # type: ignore[arg-type]

    values = [
        x,
        half,
        ir.Load("f32", "x", i, ir.Const("b1", True)),
        ir.Load("f32", "x", n),
        ir.Get("f32", "a"),
    ]
    values += [ir.Op("f32", "add", x, half), ir.Op("f32", "sub", x, half), ir.Op("f32", "add", half, x)]
    values += [ir.Op("f32", "add", x, x), ir.Op("f32", "add", x, ir.Load("f32", "x", i)), ir.Var("f32", "a")]
    values += [ir.Op("f64", "add", x, half), ir.HReduce("f32", "add", "a"), ir.HReduce("f32", "mul", "a")]
    values += [ir.Const("f32", 1), ir.Const("f32", 1.0), ir.Const("f32", True), ir.Op("f32", "neg", x)]
    made = [kernel(v) for v in values]
    made += [kernel(x, "w"), kernel(x, full=True), kernel(x, past=9), kernel(x, width=16), kernel(x, lo=n)]
    made.append(ir.Kernel("k", made[0].params, [], made[0].body))
    made.append(ir.Kernel("k", made[0].params, made[0].body, made[0].body))
    made.append(ir.Kernel("k", made[0].params, [*made[0].body, *made[0].body[0].body]))  # type: ignore[attr-defined]
    found = [engine.kernel_key(k, host) for k in made]
    assert len(set(found)) == len(found)
    again = "".join(["ad", "d"])
    assert engine.kernel_key(kernel(ir.Op("f32", again, x, half)), host) == found[5]


def test_many_threads_compile_at_once() -> None:
    found: list[list[int]] = []

    def work() -> None:
        found.append(engine.compile_kernels([scaled("threads", float(k)) for k in range(6)]))

    threads = [threading.Thread(target=work) for _ in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(found) == 6 and all(addresses == found[0] for addresses in found)


TEXT = """
declare i32 @abs(i32)
define i32 @twice(i32 %x) {
  %y = add i32 %x, %x
  ret i32 %y
}
define i32 @size(i32 %x) {
  %y = call i32 @twice(i32 %x)
  %z = call i32 @abs(i32 %y)
  ret i32 %z
}
"""


def test_llvm_text() -> None:
    prototype = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_int32)
    addresses = engine.compile_ir(TEXT, ["twice", "size"])
    assert [prototype(a)(-21) for a in addresses] == [-42, 42]
    assert engine.compile_ir(TEXT, ["twice", "size"]) == addresses
    other = TEXT.replace("add i32 %x, %x", "mul i32 %x, %x")  # the same names again
    assert [prototype(a)(-3) for a in engine.compile_ir(other, ["twice", "size"], keep=False)] == [9, 9]


def test_a_symbol_that_does_not_exist_is_an_error() -> None:
    name = "flambeau_no_such_symbol"
    text = f"declare void @{name}()\ndefine void @f() {{\n call void @{name}()\n ret void\n}}"
    with pytest.raises(RuntimeError, match=name):
        engine.compile_ir(text, ["f"], keep=False)
    with pytest.raises(RuntimeError, match="expected"):
        engine.compile_ir("define nonsense", ["f"], keep=False)


def test_a_kernel_that_calls_a_library_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "undefined_symbols", lambda content: ["fmaf"])
    with pytest.raises(RuntimeError, match="fmaf"):
        engine.compile_kernels([scaled("calls", 2.0)])


def test_what_breaks_a_rule_does_not_reach_llvm() -> None:
    b = Builder("broken")
    x = b.buf("x", "f32", "rw")
    b.emit(
        ir.Store("x", ir.i64(0), ir.Op("f32", "idiv", ir.Load("f32", "x", ir.i64(0)), ir.Const("f32", 1.0)))
    )
    assert x.type == "f32"
    with pytest.raises(LoopError, match="idiv"):
        engine.compile_kernels([b.kernel()])


VECTORS = {"x86-64-v2": "xmm", "x86-64-v3": "ymm", "x86-64-v4": "zmm", "aarch64": "fmla"}


@pytest.mark.parametrize("name", target.NAMES)
def test_code_for_every_target(name: str) -> None:
    on = target.named(name)
    kernels = [random_kernel(seed)[0] for seed in range(3)]
    b = Builder("maths")
    x, out = b.buf("x", "f32"), b.buf("out", "f64", "w")
    with b.vfor("i", 0, 16, 16, full=True) as i:
        out[i] = op("exp", x[i]).cast("f64") + op("tanh", x[i].cast("f64"))
    content = engine.emit([*kernels, b.kernel()], on)
    assert isinstance(content, bytes) and content[:4] == b"\x7fELF"
    assert engine.undefined_symbols(content) == []
    assembly = engine.emit([b.kernel()], on, "assembly")
    assert isinstance(assembly, str) and VECTORS[name] in assembly
    assert ("zmm" in assembly) == (name == "x86-64-v4")
    assert "define void @k_maths_0" in str(engine.emit([b.kernel()], on, "llvm"))


def test_caches_are_read_or_assumed(tmp_path: Path) -> None:
    assert target.caches(str(tmp_path)) == target.CACHES
    for index, (level, kind, size) in enumerate(
        ((1, "Data", "48K"), (1, "Instruction", "64K"), (2, "Unified", "2M"))
    ):
        (folder := tmp_path / f"index{index}").mkdir()
        for name, text in (("level", level), ("type", kind), ("size", size)):
            (folder / name).write_text(f"{text}\n")
    assert target.caches(str(tmp_path)) == (48 << 10, 2 << 20, target.CACHES[2])


def test_a_target_needs_a_known_name() -> None:
    with pytest.raises(ValueError, match="pdp11"):
        target.named("pdp11")
    assert target.named("host") is target.host() and target.chosen() is target.host()
    config.set("target", "x86-64-v2")
    try:
        assert target.chosen().name == "x86-64-v2" and not target.chosen().fma
    finally:
        config.set("target", "host")


@pytest.mark.parametrize("seed", FUZZED)
def test_every_target_gives_the_interpreters_bits(seed: int) -> None:
    kernel, inputs = random_kernel(seed)
    expected = run_parts(kernel, inputs, interpret)
    for on in native.runnable():
        function = native.FUNCTION(engine.compile_kernels([kernel], on)[0])

        def machine(_, table, where, tid: int, nt: int, call=function) -> None:  # type: ignore[no-untyped-def]
            call(table.ctypes.data, where.ctypes.data, tid, nt)

        found = differences(kernel, expected, run_parts(kernel, inputs, machine))
        assert not found, f"seed {seed}, {on}: {found}"


def test_debugging_prints_each_stage(capfd: pytest.CaptureFixture[str]) -> None:
    config.set("debug", 7)
    try:
        engine.compile_kernels([scaled("printed", time.time())])
    finally:
        config.set("debug", 0)
    shown = capfd.readouterr().err
    for part in ("kernel printed", "define void @k_printed", "@function"):
        assert part in shown


FORK = """
import os, threading, sys
sys.path.insert(0, sys.argv[1])
from flambeau import config
config.set("no_cache", True)
import test_engine
from flambeau.codegen import engine

def compile_for_ever():
    k = 0.0
    while True:
        k += 1.0
        engine.compile_kernels([test_engine.scaled("parent", k)])

threading.Thread(target=compile_for_ever, daemon=True).start()
for n in range(5):
    child = os.fork()
    if not child:
        done = []
        t = threading.Thread(target=lambda: done.append(engine.compile_kernels([test_engine.scaled("child", -1.0)])))
        t.start()
        t.join(20)
        os._exit(0 if done else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
os._exit(0)
"""


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="needs fork")
def test_a_forked_child_can_compile(request: pytest.FixtureRequest) -> None:
    here = str(request.path.parent)
    root = str(request.path.parents[2])
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {root!r})\n" + FORK, here]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


FIRST = """
import os
import flambeau as torch

torch.set_num_threads(1)  # which lets what is recorded run
x = torch.ones(3).add_(1)
child = os.fork()
if not child:
    os._exit(0 if torch.ones(3).add(1).tolist() == [2.0] * 3 else 1)
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="needs fork")
def test_a_fork_before_anything_was_compiled() -> None:
    """What was recorded runs before the fork, and only then is there a lock."""
    done = subprocess.run([sys.executable, "-c", FIRST], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
