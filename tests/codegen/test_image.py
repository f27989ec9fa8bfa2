"""Images: objects linked by our own linker do what LLVM's loader makes of them."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest
from tests.loop.fuzz import differences, random_kernel
from tests.loop.fuzz import run as run_parts

from flambeau.codegen import engine, image, objects, target
from flambeau.loop.interp import interpret

pytestmark = pytest.mark.skipif(not image.STATE["usable"], reason="images are for Linux on x86-64")
FUNCTION = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
COUNTER = """
declare i32 @abs(i32)
@count = internal global i32 0
@step = internal global i32 5
@zeros = internal global [100 x i32] zeroinitializer
define i32 @bump(i32 %x) nounwind {
  %old = load i32, ptr @count
  %step = load i32, ptr @step
  %new = add i32 %old, %step
  store i32 %new, ptr @count
  %place = getelementptr [100 x i32], ptr @zeros, i32 0, i32 99
  %last = load i32, ptr %place
  %sum = add i32 %new, %last
  store i32 %x, ptr %place
  %r = call i32 @abs(i32 %sum)
  ret i32 %r
}
"""


def compiled(text: str) -> bytes:
    return objects.compiled(objects.Order(*target.host().code, text))


def test_random_kernels_linked_together_give_the_interpreters_bits() -> None:
    made = [(seed, *random_kernel(seed)) for seed in range(70, 82)]
    contents = []
    for seed, kernel, _ in made:
        content = engine.emit([kernel], target.host())
        assert isinstance(content, bytes)
        contents.append(content.replace(b"_0\0", b"_%s\0" % bytes([65 + seed - 70])))
    whole = image.link(contents)
    assert whole is not None
    found = image.load(whole)
    assert found is not None and len(found) == len(made)
    for (seed, kernel, inputs), address in zip(made, found.values()):

        def machine(_, table, where, tid: int, nt: int, call=address) -> None:  # type: ignore[no-untyped-def]
            FUNCTION(call)(table.ctypes.data, where.ctypes.data, tid, nt)

        expected = run_parts(kernel, inputs, interpret)
        assert not differences(kernel, expected, run_parts(kernel, inputs, machine)), seed


def test_variables_zeros_and_functions_of_the_process() -> None:
    whole = image.link([compiled(COUNTER)])
    assert whole is not None
    calls = []
    for _ in range(2):  # each time with variables of its own
        found = image.load(whole)
        assert found is not None
        bump = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_int32)(found["bump"])
        calls.append([bump(-100), bump(3), bump(0)])
    assert calls == [[5, 90, 18]] * 2


def test_a_need_that_nobody_meets() -> None:
    whole = image.link([compiled(COUNTER.replace("@abs", "@flambeau_no_such_function"))])
    assert whole is not None
    with pytest.raises(RuntimeError, match="flambeau_no_such_function"):
        image.load(whole)


def test_what_is_not_linked_here() -> None:
    assert image.link([b"no object"]) is None
    arm = engine.emit([random_kernel(1)[0]], target.named("aarch64"))
    assert isinstance(arm, bytes) and image.link([arm]) is None
    address = "@x = external global i32\ndefine ptr @f() { ret ptr @x }"
    assert image.link([compiled(address)]) is None
    twice = compiled(COUNTER)
    assert image.link([twice, twice]) is None


def test_where_memory_may_not_be_executed_llvm_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    import codegen_native as native
    import test_engine

    monkeypatch.setitem(image.STATE, "usable", True)
    monkeypatch.setattr(image, "load", lambda content: None)
    kernel = test_engine.scaled("unlinked", 7.0)
    x = np.ones(20, np.float32)
    native.run(kernel, 20, x)
    assert (x == 7).all()
