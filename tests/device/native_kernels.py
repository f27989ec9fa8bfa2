"""Kernels written in LLVM IR for the tests of the pool and the runner, and programs of them run in child processes."""

from __future__ import annotations

import ctypes
import os
import struct
import subprocess
import sys
from pathlib import Path

from flambeau.codegen.engine import compile_ir
from flambeau.device.runner import NativeProgram

# Parameters: slot 1 and where[0], where[1] as each kernel needs.
TEXT = """
define internal i64 @parameter(ptr %t, ptr %w, i64 %i) alwaysinline nounwind {
  %w.p = getelementptr i32, ptr %w, i64 %i
  %slot = load i32, ptr %w.p
  %s = sext i32 %slot to i64
  %p = getelementptr i64, ptr %t, i64 %s
  %v = load i64, ptr %p
  ret i64 %v
}
define void @empty(ptr %t, ptr %w, i64 %tid, i64 %nt) nounwind {
  ret void
}
; a[tid] += 1; the epilogue: a[63] += 1
define void @mark(ptr %t, ptr %w, i64 %tid, i64 %nt) nounwind {
  %a.i = call i64 @parameter(ptr %t, ptr %w, i64 0)
  %a = inttoptr i64 %a.i to ptr
  %slot = and i64 %tid, 63
  %q = getelementptr i64, ptr %a, i64 %slot
  %old = atomicrmw add ptr %q, i64 1 monotonic
  ret void
}
; part 0: a[0] += 1 if it is the number of the turn; all parts: a[1] += 1
define void @turn(ptr %t, ptr %w, i64 %tid, i64 %nt) nounwind {
entry:
  %a.i = call i64 @parameter(ptr %t, ptr %w, i64 0)
  %turn = call i64 @parameter(ptr %t, ptr %w, i64 1)
  %a = inttoptr i64 %a.i to ptr
  %all = getelementptr i64, ptr %a, i64 1
  %old = atomicrmw add ptr %all, i64 1 monotonic
  %seen = load i64, ptr %a
  %right = icmp eq i64 %seen, %turn
  %first = icmp eq i64 %tid, 0
  %counts = and i1 %right, %first
  br i1 %counts, label %count, label %out
count:
  %next = add i64 %seen, 1
  store i64 %next, ptr %a
  br label %out
out:
  ret void
}
; b[i] = a[i] + 1 for the slice of part nt - 1 - tid of 4096 elements
define void @step(ptr %t, ptr %w, i64 %tid, i64 %nt) nounwind {
entry:
  %a.i = call i64 @parameter(ptr %t, ptr %w, i64 0)
  %b.i = call i64 @parameter(ptr %t, ptr %w, i64 1)
  %a = inttoptr i64 %a.i to ptr
  %b = inttoptr i64 %b.i to ptr
  %last = sub i64 %nt, 1
  %part = sub i64 %last, %tid
  %part.next = add i64 %part, 1
  %lo.n = mul i64 %part, 4096
  %hi.n = mul i64 %part.next, 4096
  %lo = sdiv i64 %lo.n, %nt
  %hi = sdiv i64 %hi.n, %nt
  br label %loop
loop:
  %i = phi i64 [%lo, %entry], [%i.next, %loop]
  %p = getelementptr i64, ptr %a, i64 %i
  %q = getelementptr i64, ptr %b, i64 %i
  %v = load i64, ptr %p
  %v.next = add i64 %v, 1
  store i64 %v.next, ptr %q
  %i.next = add i64 %i, 1
  %more = icmp slt i64 %i.next, %hi
  br i1 %more, label %loop, label %out
out:
  ret void
}
; a few microseconds for each thousand of the parameter
define void @busy(ptr %t, ptr %w, i64 %tid, i64 %nt) nounwind {
entry:
  %n = call i64 @parameter(ptr %t, ptr %w, i64 0)
  br label %loop
loop:
  %i = phi i64 [0, %entry], [%i.next, %loop]
  call void asm sideeffect "", ""()
  %i.next = add i64 %i, 1
  %more = icmp slt i64 %i.next, %n
  br i1 %more, label %loop, label %out
out:
  ret void
}
; part 1 writes the error record: code = parameter, value 7, position tid
define void @fail(ptr %t, ptr %w, i64 %tid, i64 %nt) nounwind {
entry:
  %code = call i64 @parameter(ptr %t, ptr %w, i64 0)
  %last = sub i64 %nt, 1
  %mine = icmp eq i64 %tid, %last
  br i1 %mine, label %write, label %out
write:
  %record = load ptr, ptr %t
  %value = getelementptr i64, ptr %record, i64 1
  %position = getelementptr i64, ptr %record, i64 2
  store i64 %code, ptr %record
  store i64 7, ptr %value
  store i64 %tid, ptr %position
  br label %out
out:
  ret void
}
"""
NAMES = ("empty", "mark", "turn", "step", "busy", "fail")
_addresses: dict[str, int] = {}


def kernel(name: str) -> int:
    """The address of a kernel of TEXT."""
    if not _addresses:
        _addresses.update(zip(NAMES, compile_ir(TEXT, NAMES, keep=False), strict=True))
    return _addresses[name]


class Steps:
    """A program that adds `count` to 4096 numbers, one at a time, every element by another thread each time."""

    def __init__(self, count: int, parts: int = 64):
        entries = [(kernel("step"), ([1, 2], [2, 1])[i % 2], parts, False) for i in range(count)]
        self.program, self.count = NativeProgram(entries, 3), count

    def check(self) -> bool:
        """Run once with new data; is every element right?"""
        pair = (ctypes.c_int64 * 4096)(*range(4096)), (ctypes.c_int64 * 4096)()
        frame = self.program.take()
        struct.pack_into("2q", frame.table, 8, *map(ctypes.addressof, pair))
        assert self.program.run(frame) == -1
        self.program.give(frame)
        return list(pair[self.count % 2]) == list(range(self.count, self.count + 4096))


def run_child(code: str, timeout: float = 60, **env: str) -> subprocess.CompletedProcess[str]:
    """Run Python code in a new process in which this file can be imported."""
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    return subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": path} | env,
        capture_output=True,
        text=True,
        timeout=timeout,
    )
