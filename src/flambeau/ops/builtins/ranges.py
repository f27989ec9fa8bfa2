"""Whether indices are in range, by vectors: what places.py asks in the call of every op that is given indices."""

from __future__ import annotations

from ...device.cpython import Function, Module

WIDE = 16  # indices at a time
_OUTSIDE = f"""declare i64 @llvm.vector.reduce.or.v{WIDE}i64(<{WIDE} x i64>)
define internal i1 @outside(ptr %p, i64 %n, i64 %low, i64 %last) nounwind {{
entry:
  %lows = insertelement <{WIDE} x i64> zeroinitializer, i64 %low, i64 0
  %vlow = shufflevector <{WIDE} x i64> %lows, <{WIDE} x i64> poison, <{WIDE} x i32> zeroinitializer
  %lasts = insertelement <{WIDE} x i64> zeroinitializer, i64 %last, i64 0
  %vlast = shufflevector <{WIDE} x i64> %lasts, <{WIDE} x i64> poison, <{WIDE} x i32> zeroinitializer
  %whole = and i64 %n, -{WIDE}
  br label %vector
vector:
  %i = phi i64 [0, %entry], [%i.next, %vector.do]
  %bad = phi <{WIDE} x i64> [zeroinitializer, %entry], [%bad.next, %vector.do]
  %more = icmp slt i64 %i, %whole
  br i1 %more, label %vector.do, label %vector.end
vector.do:
  %at = getelementptr i64, ptr %p, i64 %i
  %x = load <{WIDE} x i64>, ptr %at, align 8
  %above = sub <{WIDE} x i64> %x, %vlow
  %below = sub <{WIDE} x i64> %vlast, %x
  %either = or <{WIDE} x i64> %above, %below
  %bad.next = or <{WIDE} x i64> %bad, %either
  %i.next = add i64 %i, {WIDE}
  br label %vector
vector.end:
  %found = call i64 @llvm.vector.reduce.or.v{WIDE}i64(<{WIDE} x i64> %bad)
  br label %single
single:
  %k = phi i64 [%whole, %vector.end], [%k.next, %single.do]
  %all = phi i64 [%found, %vector.end], [%all.next, %single.do]
  %left = icmp slt i64 %k, %n
  br i1 %left, label %single.do, label %end
single.do:
  %one = getelementptr i64, ptr %p, i64 %k
  %y = load i64, ptr %one, align 8
  %over = sub i64 %y, %low
  %under = sub i64 %last, %y
  %wrong = or i64 %over, %under
  %all.next = or i64 %all, %wrong
  %k.next = add i64 %k, 1
  br label %single
end:
  %result = icmp slt i64 %all, 0
  ret i1 %result
}}"""


def within(m: Module) -> None:
    """flambeau_within(address, count, low, last): whether all of count int64 at an address are from low to last."""
    m.globals.append(_OUTSIDE)
    f: Function = m.function("flambeau_within", "pppi", exported=True)
    p, n, low, last = (f.call("PyLong_AsSsize_t", f.item("%a1", k)) for k in range(4))
    start = f.value(f"inttoptr i64 {p} to ptr")
    out = f.value(f"call i1 @outside(ptr {start}, i64 {n}, i64 {low}, i64 {last})")
    yes, no = f.object("True"), f.object("False")
    answer = f.value(f"select i1 {out}, ptr {no}, ptr {yes}")
    f.incref(answer)
    f.ret(answer)
    f.end()
