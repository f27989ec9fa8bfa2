"""The native half of the thread pool and the runner, as LLVM IR; pool.py and runner.py are the Python half.

The state of the pool is one block of memory (byte offsets below). A fork raises `seq` = generation << 16 | parts,
which is what idle workers watch. Part t of a generation belongs to worker t (0: the caller). Whoever runs a part first
raises slot[t] to `seq` by compare-and-swap: its owner, or the caller when it has done its own part and the owner has
not begun ("rescue": a sleeping or descheduled worker never delays the join). A slot only grows, so a worker that wakes
late cannot take a part of a newer generation. What is to run is read after taking a slot: it cannot change before the
part is done. Parts must not wait for one another, since one thread may run several of them in turn.
"""

from __future__ import annotations

SEQ, FUNCTION, TABLE, WHERE, PAUSES, THREADS, KEPT = 0, 8, 16, 24, 32, 40, 48
DONE, SLEEPERS, WAKER, BUSY, TICKS, OS, PYTHON, SLOTS = 64, 128, 136, 192, 200, 256, 288, 384
THREAD_AT = SLOTS + 8  # the system's number of a worker's thread, beside its slot
NEAR = 8  # threads up to which the waker moves those that were woken where it runs; more move by themselves
MAX_THREADS = 256
STATE_BYTES = SLOTS + 64 * (MAX_THREADS + 1)

# A frame is one activation of a program: these i64 (the error record has four), then the table.
ENTRIES, FIRST, LAST, ERROR, DERIVED, FRAME_TABLE = 0, 8, 16, 24, 56, 64
# What DERIVED points to: the number of derived slots, then slot, base, offset, index, scale of each, all i64.
DERIVED_WORDS = 5
# An entry of a program: function, where, parts, and what else: bit 0: there is an epilogue; the slot of the table that
# counts its turns << 1; the slot that says how many there are << 32 (0: one turn, nothing is counted).
ENTRY_BYTES = 32
PAGE = 4096  # the smallest that a system has

_PAUSE = {
    "x86_64": "call void @llvm.x86.sse2.pause()",
    "aarch64": "call void @llvm.aarch64.isb(i32 15)",
}
_CLOCK = {"x86_64": "llvm.readcyclecounter", "aarch64": "llvm.readsteadycounter"}

_WORKER = """
define void @flambeau_worker(i64 %tid) nounwind {{
entry:
  %p = load ptr, ptr @state
  %kept.p = getelementptr i8, ptr %p, i64 {KEPT}
  %pauses.p = getelementptr i8, ptr %p, i64 {PAUSES}
  %sleepers = getelementptr i8, ptr %p, i64 {SLEEPERS}
  %waker.p = getelementptr i8, ptr %p, i64 {WAKER}
  %done = getelementptr i8, ptr %p, i64 {DONE}
  %slot.i = mul i64 %tid, 64
  %slot.o = add i64 %slot.i, {SLOTS}
  %slot = getelementptr i8, ptr %p, i64 %slot.o
  %thread.p = getelementptr i8, ptr %slot, i64 8
  %thread = call i64 @os_thread()
  store atomic i64 %thread, ptr %thread.p monotonic, align 8
  br label %top
top:
  %last = phi i64 [0, %entry], [%seq, %seen], [%seq, %claim], [%seq, %take], [%seq, %run]
  %kept = load atomic i64, ptr %kept.p monotonic, align 8
  %leave = icmp sge i64 %tid, %kept
  br i1 %leave, label %out, label %ready
ready:
  %pauses = load atomic i64, ptr %pauses.p monotonic, align 8
  %eager = lshr i64 %pauses, 3
  br label %spin
spin:
  %i = phi i64 [0, %ready], [%i.next, %wait]
  %seq.spin = load atomic i64, ptr %p acquire, align 8
  %new = icmp ne i64 %seq.spin, %last
  br i1 %new, label %seen, label %more
more:
  {pause}
  %i.next = add i64 %i, 1
  %part = and i64 %i.next, 255
  %turn = icmp eq i64 %part, 0
  %patient = icmp sgt i64 %i.next, %eager
  %lend = and i1 %turn, %patient
  br i1 %lend, label %yield, label %wait
yield:
  call void @os_yield()
  br label %wait
wait:
  %again = icmp slt i64 %i.next, %pauses
  br i1 %again, label %spin, label %sleep
sleep:
  store atomic i32 1, ptr %sleepers seq_cst, align 4
  %expected = trunc i64 %last to i32
  call void @os_wait(ptr %p, i32 %expected)
  %seq.sleep = load atomic i64, ptr %p acquire, align 8
  %woken = icmp ne i64 %seq.sleep, %last
  br i1 %woken, label %apart, label %sleep
apart:
  %waker = load atomic i64, ptr %waker.p monotonic, align 8
  %here = call i64 @os_cpu()
  %beside = icmp eq i64 %waker, %here
  br i1 %beside, label %move, label %seen
move:
  call void @os_apart(i64 0, i64 %here)
  br label %seen
seen:
  %seq = phi i64 [%seq.spin, %spin], [%seq.sleep, %apart], [%seq.sleep, %move]
  %nt = and i64 %seq, 65535
  %mine = icmp slt i64 %tid, %nt
  br i1 %mine, label %claim, label %top
claim:
  %before = load atomic i64, ptr %slot monotonic, align 8
  %free = icmp ult i64 %before, %seq
  br i1 %free, label %take, label %top
take:
  %swap = cmpxchg ptr %slot, i64 %before, i64 %seq acq_rel monotonic
  %won = extractvalue {{i64, i1}} %swap, 1
  br i1 %won, label %run, label %top
run:
  %f.p = getelementptr i8, ptr %p, i64 {FUNCTION}
  %table.p = getelementptr i8, ptr %p, i64 {TABLE}
  %where.p = getelementptr i8, ptr %p, i64 {WHERE}
  %f = load ptr, ptr %f.p
  %table = load ptr, ptr %table.p
  %where = load ptr, ptr %where.p
  call void %f(ptr %table, ptr %where, i64 %tid, i64 %nt)
  %d = atomicrmw add ptr %done, i64 1 release
  br label %top
out:
  store atomic i64 0, ptr %thread.p monotonic, align 8
  ret void
}}
"""

_FORK = """
define internal void @publish(ptr %p, i64 %nt) nounwind {{
entry:
  %sleepers = getelementptr i8, ptr %p, i64 {SLEEPERS}
  %old = load atomic i64, ptr %p monotonic, align 8
  %generation = lshr i64 %old, 16
  %generation.next = add i64 %generation, 1
  %shifted = shl i64 %generation.next, 16
  %seq = or i64 %shifted, %nt
  store atomic i64 %seq, ptr %p seq_cst, align 8
  %asleep = load atomic i32, ptr %sleepers seq_cst, align 4
  %none = icmp eq i32 %asleep, 0
  br i1 %none, label %out, label %first
first:
  %claimed = atomicrmw xchg ptr %sleepers, i32 0 seq_cst
  %other = icmp eq i32 %claimed, 0
  br i1 %other, label %out, label %wake
wake:
  %waker.p = getelementptr i8, ptr %p, i64 {WAKER}
  %cpu = call i64 @os_cpu()
  store atomic i64 %cpu, ptr %waker.p monotonic, align 8
  call void @os_wake(ptr %p)
  %threads.p = getelementptr i8, ptr %p, i64 {THREADS}
  %threads = load atomic i64, ptr %threads.p monotonic, align 8
  %many = icmp sgt i64 %threads, {NEAR}
  br i1 %many, label %out, label %others
others:
  %t = phi i64 [1, %wake], [%t.next, %pushed]
  %more = icmp slt i64 %t, %threads
  br i1 %more, label %far, label %out
far:
  %slot.i = mul i64 %t, 64
  %slot.o = add i64 %slot.i, {THREAD_AT}
  %thread.p = getelementptr i8, ptr %p, i64 %slot.o
  %thread = load atomic i64, ptr %thread.p monotonic, align 8
  %started = icmp ne i64 %thread, 0
  br i1 %started, label %push, label %pushed
push:
  call void @os_apart(i64 %thread, i64 %cpu)
  br label %pushed
pushed:
  %t.next = add i64 %t, 1
  br label %others
out:
  ret void
}}
define void @flambeau_kick() nounwind {{
entry:
  %p = load ptr, ptr @state
  %busy = getelementptr i8, ptr %p, i64 {BUSY}
  br label %try
try:
  %swap = cmpxchg ptr %busy, i64 0, i64 1 acquire monotonic
  %won = extractvalue {{i64, i1}} %swap, 1
  br i1 %won, label %go, label %wait
wait:
  call void @os_yield()
  br label %try
go:
  call void @publish(ptr %p, i64 0)
  store atomic i64 0, ptr %busy release, align 8
  ret void
}}
; Run f on nt parts and return nt; 1 if the pool was busy and this thread ran all as one part.
define internal i64 @fork(ptr %p, ptr %f, ptr %table, ptr %where, i64 %nt) nounwind {{
entry:
  %busy = getelementptr i8, ptr %p, i64 {BUSY}
  %swap = cmpxchg ptr %busy, i64 0, i64 1 acquire monotonic
  %won = extractvalue {{i64, i1}} %swap, 1
  br i1 %won, label %go, label %alone
alone:
  call void %f(ptr %table, ptr %where, i64 0, i64 1)
  ret i64 1
go:
  %f.p = getelementptr i8, ptr %p, i64 {FUNCTION}
  %table.p = getelementptr i8, ptr %p, i64 {TABLE}
  %where.p = getelementptr i8, ptr %p, i64 {WHERE}
  %done = getelementptr i8, ptr %p, i64 {DONE}
  store ptr %f, ptr %f.p
  store ptr %table, ptr %table.p
  store ptr %where, ptr %where.p
  store atomic i64 0, ptr %done monotonic, align 8
  call void @publish(ptr %p, i64 %nt)
  %seq = load atomic i64, ptr %p monotonic, align 8
  call void %f(ptr %table, ptr %where, i64 0, i64 %nt)
  %others = sub i64 %nt, 1
  %done.early = load atomic i64, ptr %done acquire, align 8
  %all.early = icmp sge i64 %done.early, %others
  br i1 %all.early, label %out, label %rescue
rescue:
  %u = phi i64 [1, %go], [%u.next, %next]
  %rescued = phi i64 [0, %go], [%rescued.next, %next]
  %slot.i = mul i64 %u, 64
  %slot.o = add i64 %slot.i, {SLOTS}
  %slot = getelementptr i8, ptr %p, i64 %slot.o
  %before = load atomic i64, ptr %slot monotonic, align 8
  %free = icmp ult i64 %before, %seq
  br i1 %free, label %take, label %next
take:
  %swap.u = cmpxchg ptr %slot, i64 %before, i64 %seq acq_rel monotonic
  %won.u = extractvalue {{i64, i1}} %swap.u, 1
  br i1 %won.u, label %run, label %next
run:
  call void %f(ptr %table, ptr %where, i64 %u, i64 %nt)
  br label %next
next:
  %one = phi i64 [0, %rescue], [0, %take], [1, %run]
  %rescued.next = add i64 %rescued, %one
  %u.next = add i64 %u, 1
  %more.u = icmp slt i64 %u.next, %nt
  br i1 %more.u, label %rescue, label %join
join:
  %need = sub i64 %others, %rescued.next
  br label %wait
wait:
  %i = phi i64 [0, %join], [%i.next, %pause], [0, %yield]
  %count = load atomic i64, ptr %done acquire, align 8
  %all = icmp sge i64 %count, %need
  br i1 %all, label %out, label %pause
pause:
  {pause}
  %i.next = add i64 %i, 1
  %again = icmp slt i64 %i.next, 4000
  br i1 %again, label %wait, label %yield
yield:
  call void @os_yield()
  br label %wait
out:
  store atomic i64 0, ptr %busy release, align 8
  ret i64 %nt
}}
"""

# -1: all entries are done. i >= 0: entry i wrote the error record. -2 - i: the time slice is over, entry i is next.
# The clock is read after entries that could be divided, after every 32nd, and after each turn of one with several: the
# entry is begun again, forked anew, as often as its table says, and finds the number of the turn in its slot, which is
# zero before and after.
_RUN = """
define i64 @flambeau_run(ptr %frame) nounwind {{
entry:
  %p = load ptr, ptr @state
  %threads.p = getelementptr i8, ptr %p, i64 {THREADS}
  %ticks.p = getelementptr i8, ptr %p, i64 {TICKS}
  %first.p = getelementptr i8, ptr %frame, i64 {FIRST}
  %last.p = getelementptr i8, ptr %frame, i64 {LAST}
  %error = getelementptr i8, ptr %frame, i64 {ERROR}
  %table = getelementptr i8, ptr %frame, i64 {FRAME_TABLE}
  %entries = load ptr, ptr %frame
  %first = load i64, ptr %first.p
  %last = load i64, ptr %last.p
  %threads = load atomic i64, ptr %threads.p monotonic, align 8
  %ticks = load i64, ptr %ticks.p
  store i64 0, ptr %error
  %start = call i64 @{clock}()
  %derived.p = getelementptr i8, ptr %frame, i64 {DERIVED}
  %derived = load ptr, ptr %derived.p
  %count = load i64, ptr %derived
  br label %derive
derive:
  %k = phi i64 [0, %entry], [%k.next, %one]
  %d = phi ptr [%derived, %entry], [%d.next, %one]
  %again = icmp slt i64 %k, %count
  br i1 %again, label %one, label %begin
one:
  %to.p = getelementptr i64, ptr %d, i64 1
  %base.p = getelementptr i64, ptr %d, i64 2
  %offset.p = getelementptr i64, ptr %d, i64 3
  %index.p = getelementptr i64, ptr %d, i64 4
  %d.next = getelementptr i64, ptr %d, i64 5
  %to = load i64, ptr %to.p
  %base = load i64, ptr %base.p
  %shift = load i64, ptr %offset.p
  %index = load i64, ptr %index.p
  %scale = load i64, ptr %d.next
  %base.at = getelementptr i64, ptr %table, i64 %base
  %index.at = getelementptr i64, ptr %table, i64 %index
  %to.at = getelementptr i64, ptr %table, i64 %to
  %base.v = load i64, ptr %base.at
  %index.v = load i64, ptr %index.at
  %scaled = mul i64 %index.v, %scale
  %moved = add i64 %base.v, %shift
  %value = add i64 %moved, %scaled
  store i64 %value, ptr %to.at
  %k.next = add i64 %k, 1
  br label %derive
begin:
  %any = icmp slt i64 %first, %last
  br i1 %any, label %loop, label %finished
loop:
  %i = phi i64 [%first, %begin], [%i.next, %on]
  %offset = mul i64 %i, 32
  %e = getelementptr i8, ptr %entries, i64 %offset
  %where.p = getelementptr i8, ptr %e, i64 8
  %parts.p = getelementptr i8, ptr %e, i64 16
  %epilogue.p = getelementptr i8, ptr %e, i64 24
  %f = load ptr, ptr %e
  %where = load ptr, ptr %where.p
  %parts = load i64, ptr %parts.p
  %epilogue = load i64, ptr %epilogue.p
  %long = icmp sgt i64 %parts, 1
  br i1 %long, label %divisible, label %serial
serial:
  call void %f(ptr %table, ptr %where, i64 0, i64 1)
  %few = and i64 %i, 31
  %every = icmp eq i64 %few, 31
  %turned = icmp ugt i64 %epilogue, 1
  %look = or i1 %every, %turned
  br i1 %look, label %timed, label %after
divisible:
  %fewer = icmp slt i64 %parts, %threads
  %nt.want = select i1 %fewer, i64 %parts, i64 %threads
  %several = icmp sgt i64 %nt.want, 1
  br i1 %several, label %forked, label %whole
whole:
  call void %f(ptr %table, ptr %where, i64 0, i64 1)
  br label %timed
forked:
  %nt.got = call i64 @fork(ptr %p, ptr %f, ptr %table, ptr %where, i64 %nt.want)
  br label %timed
timed:
  %nt.timed = phi i64 [1, %serial], [1, %whole], [%nt.got, %forked]
  %now = call i64 @{clock}()
  %spent = sub i64 %now, %start
  br label %after
after:
  %nt = phi i64 [1, %serial], [%nt.timed, %timed]
  %used = phi i64 [0, %serial], [%spent, %timed]
  %epilogue.bit = and i64 %epilogue, 1
  %has = icmp ne i64 %epilogue.bit, 0
  br i1 %has, label %finish, label %check
finish:
  call void %f(ptr %table, ptr %where, i64 -1, i64 %nt)
  br label %check
check:
  %code = load i64, ptr %error
  %ok = icmp eq i64 %code, 0
  br i1 %ok, label %next, label %failed
next:
  %turns.slot = lshr i64 %epilogue, 32
  %counted = icmp ne i64 %turns.slot, 0
  br i1 %counted, label %turn, label %on
turn:
  %shifted = lshr i64 %epilogue, 1
  %turn.slot = and i64 %shifted, 2147483647
  %turns.p = getelementptr i64, ptr %table, i64 %turns.slot
  %turn.p = getelementptr i64, ptr %table, i64 %turn.slot
  %turns = load i64, ptr %turns.p
  %turn.now = load i64, ptr %turn.p
  %turn.next = add i64 %turn.now, 1
  %turns.left = icmp slt i64 %turn.next, %turns
  %turn.kept = select i1 %turns.left, i64 %turn.next, i64 0
  store i64 %turn.kept, ptr %turn.p
  %stays = zext i1 %turns.left to i64
  br label %on
on:
  %again.here = phi i64 [0, %next], [%stays, %turn]
  %i.up = add i64 %i, 1
  %i.next = sub i64 %i.up, %again.here
  %more = icmp slt i64 %i.next, %last
  %late = icmp ugt i64 %used, %ticks
  %stop = select i1 %more, i1 %late, i1 true
  br i1 %stop, label %stopped, label %loop
stopped:
  br i1 %more, label %paused, label %finished
paused:
  %r = sub i64 -2, %i.next
  ret i64 %r
failed:
  ret i64 %i
finished:
  ret i64 -1
}}
"""

# A builtin function of one argument, the address of a frame: releases the GIL, runs, returns an int.
_BUILTIN = """
define ptr @flambeau_call(ptr %self, ptr %argument) nounwind {{
  %p = load ptr, ptr @state
  %words = getelementptr i8, ptr %p, i64 {PYTHON}
  %save.p = getelementptr i8, ptr %words, i64 8
  %restore.p = getelementptr i8, ptr %words, i64 16
  %result.p = getelementptr i8, ptr %words, i64 24
  %address = load ptr, ptr %words
  %save = load ptr, ptr %save.p
  %restore = load ptr, ptr %restore.p
  %result = load ptr, ptr %result.p
  %frame = call ptr %address(ptr %argument)
  %thread = call ptr %save()
  %r = call i64 @flambeau_run(ptr %frame)
  call void %restore(ptr %thread)
  %object = call ptr %result(i64 %r)
  ret ptr %object
}}
"""

# A list of calls of one kernel as one: where = number of calls, parameters of each, the kernel's address (two words),
# then the parameters. Calls take the parts in turn, so that many small ones spread over the threads.
_LIST = """
define void @flambeau_list(ptr %table, ptr %where, i64 %tid, i64 %nt) nounwind {{
entry:
  %width.p = getelementptr i32, ptr %where, i64 1
  %f.p = getelementptr i32, ptr %where, i64 2
  %first = getelementptr i32, ptr %where, i64 4
  %count.32 = load i32, ptr %where
  %width.32 = load i32, ptr %width.p
  %count = sext i32 %count.32 to i64
  %width = sext i32 %width.32 to i64
  %f = load ptr, ptr %f.p, align 4
  br label %loop
loop:
  %i = phi i64 [0, %entry], [%i.next, %loop]
  %t = phi i64 [%tid, %entry], [%t.next, %loop]
  %at = mul i64 %i, %width
  %here = getelementptr i32, ptr %first, i64 %at
  call void %f(ptr %table, ptr %here, i64 %t, i64 %nt)
  %i.next = add i64 %i, 1
  %t.more = add i64 %t, 1
  %wraps = icmp sge i64 %t.more, %nt
  %t.next = select i1 %wraps, i64 0, i64 %t.more
  %again = icmp slt i64 %i.next, %count
  br i1 %again, label %loop, label %out
out:
  ret void
}}
"""

_BIND = """
@state = internal global ptr null
define void @flambeau_bind(ptr %p) nounwind {{
  store ptr %p, ptr @state
  ret void
}}
define internal ptr @os_function(i64 %i) nounwind {{
  %p = load ptr, ptr @state
  %o = mul i64 %i, 8
  %o.os = add i64 %o, {OS}
  %f.p = getelementptr i8, ptr %p, i64 %o.os
  %f = load ptr, ptr %f.p
  ret ptr %f
}}
define i64 @flambeau_pauses(i64 %n) nounwind {{
entry:
  %start = call i64 @{clock}()
  br label %loop
loop:
  %i = phi i64 [0, %entry], [%i.next, %loop]
  {pause}
  %i.next = add i64 %i, 1
  %again = icmp slt i64 %i.next, %n
  br i1 %again, label %loop, label %out
out:
  %end = call i64 @{clock}()
  %spent = sub i64 %end, %start
  ret i64 %spent
}}
"""
_TOUCH = """
define void @flambeau_touch(ptr %start, ptr %end, ptr %stop, i8 %zero) nounwind {{
entry:
  br label %loop
loop:
  %p = phi ptr [%end, %entry], [%page, %more]
  %leave = load atomic i32, ptr %stop monotonic, align 4
  %stay = icmp eq i32 %leave, 0
  %above = icmp ugt ptr %p, %start
  %again = and i1 %stay, %above
  br i1 %again, label %more, label %out
more:
  %page = getelementptr i8, ptr %p, i64 -{PAGE}
  %old = atomicrmw add ptr %page, i8 %zero monotonic
  br label %loop
out:
  ret void
}}
"""
NAMES = (
    "flambeau_bind",
    "flambeau_worker",
    "flambeau_kick",
    "flambeau_run",
    "flambeau_call",
    "flambeau_pauses",
    "flambeau_list",
    "flambeau_touch",
)


def text(machine: str, sleep: str) -> str:
    """The whole module for a machine ("x86_64", "aarch64", ...) with the given way to sleep (device/sleep.py)."""
    pause, clock = _PAUSE.get(machine, ""), _CLOCK.get(machine, "llvm.readsteadycounter")
    declared = [f"declare i64 @{clock}()"]
    if pause:
        declared.append("declare void @llvm.x86.sse2.pause()" if machine == "x86_64" else _ISB)
    offsets = {name: value for name, value in globals().items() if isinstance(value, int)}
    body = "".join((_BIND, _WORKER, _FORK, _RUN, _LIST, _BUILTIN, _TOUCH)).format(
        pause=pause, clock=clock, **offsets
    )
    return "\n".join(declared) + sleep + body


_ISB = "declare void @llvm.aarch64.isb(i32)"
