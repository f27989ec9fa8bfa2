"""Where a mask is true, in one pass over it: what `nonzero` and indexing by masks read."""

from __future__ import annotations

from ...device.cpython import ITEMS, SIZE, Function, Module

WIDE = 16  # bytes of the mask that are passed over at once if none is true
# Writes j to out[step * place] for each j whose byte is not 0; the place after the last one. A store comes before it is
# known to count, so that nothing depends on a branch: the end is where `total` places are written.
_ROW = f"""declare i8 @llvm.vector.reduce.or.v{WIDE}i8(<{WIDE} x i8>)
define internal i64 @places_of_row(ptr %mask, i64 %n, ptr %out, i64 %step, i64 %first, i64 %total) nounwind {{
entry:
  br label %block
block:
  %j0 = phi i64 [0, %entry], [%end, %block.next]
  %p0 = phi i64 [%first, %entry], [%p2, %block.next]
  %more = icmp slt i64 %j0, %n
  br i1 %more, label %look, label %done
look:
  %far = add i64 %j0, {WIDE}
  %fits = icmp sle i64 %far, %n
  %end = select i1 %fits, i64 %far, i64 %n
  br i1 %fits, label %vector, label %one
vector:
  %at = getelementptr i8, ptr %mask, i64 %j0
  %bytes = load <{WIDE} x i8>, ptr %at, align 1
  %any = call i8 @llvm.vector.reduce.or.v{WIDE}i8(<{WIDE} x i8> %bytes)
  %none = icmp eq i8 %any, 0
  br i1 %none, label %block.next, label %one
one:
  %j = phi i64 [%j0, %look], [%j0, %vector], [%j.next, %write]
  %p = phi i64 [%p0, %look], [%p0, %vector], [%p.next, %write]
  %inside = icmp slt i64 %j, %end
  %open = icmp slt i64 %p, %total
  %go = and i1 %inside, %open
  br i1 %go, label %write, label %block.end
write:
  %to = mul i64 %p, %step
  %place = getelementptr i64, ptr %out, i64 %to
  store i64 %j, ptr %place, align 8
  %byte.at = getelementptr i8, ptr %mask, i64 %j
  %byte = load i8, ptr %byte.at, align 1
  %true = icmp ne i8 %byte, 0
  %one.more = zext i1 %true to i64
  %p.next = add i64 %p, %one.more
  %j.next = add i64 %j, 1
  br label %one
block.end:
  br label %block.next
block.next:
  %p2 = phi i64 [%p0, %vector], [%p, %block.end]
  br label %block
done:
  ret i64 %p0
}}"""


# How many of n bytes are not 0.
_COUNT = """declare i64 @llvm.ctpop.i64(i64)
define internal i64 @true_bytes(ptr %mask, i64 %n) nounwind {
entry:
  %whole = and i64 %n, -64
  br label %vector
vector:
  %i = phi i64 [0, %entry], [%i.next, %vector.do]
  %sum = phi i64 [0, %entry], [%sum.next, %vector.do]
  %more = icmp slt i64 %i, %whole
  br i1 %more, label %vector.do, label %rest
vector.do:
  %at = getelementptr i8, ptr %mask, i64 %i
  %bytes = load <64 x i8>, ptr %at, align 1
  %true = icmp ne <64 x i8> %bytes, zeroinitializer
  %bits = bitcast <64 x i1> %true to i64
  %count = call i64 @llvm.ctpop.i64(i64 %bits)
  %sum.next = add i64 %sum, %count
  %i.next = add i64 %i, 64
  br label %vector
rest:
  %j = phi i64 [%whole, %vector], [%j.next, %rest.do]
  %all = phi i64 [%sum, %vector], [%all.next, %rest.do]
  %inside = icmp slt i64 %j, %n
  br i1 %inside, label %rest.do, label %done
rest.do:
  %byte.at = getelementptr i8, ptr %mask, i64 %j
  %byte = load i8, ptr %byte.at, align 1
  %one = icmp ne i8 %byte, 0
  %more.one = zext i1 %one to i64
  %all.next = add i64 %all, %more.one
  %j.next = add i64 %j, 1
  br label %rest
done:
  ret i64 %all
}"""


def truths(m: Module) -> None:
    """flambeau_truths(address, n): how many of n bytes from an address on are not 0."""
    m.globals.append(_COUNT)
    f: Function = m.function("flambeau_truths", "pppi", exported=True)
    at, n = (f.call("PyLong_AsSsize_t", f.item("%a1", k)) for k in range(2))
    mask = f.value(f"inttoptr i64 {at} to ptr")
    f.ret(f.call("PyLong_FromSsize_t", f.value(f"call i64 @true_bytes(ptr {mask}, i64 {n})")))
    f.end()


def places(m: Module) -> None:
    """flambeau_places(mask, extents, total, addresses, step): for each of the `total` bytes of a mask of these extents that
    are not 0, its coordinates, at every `step`-th int64 from an address for each dimension on; how many there were."""
    m.globals.append(_ROW)
    f: Function = m.function("flambeau_places", "pppi", exported=True)
    extents, outs = f.item("%a1", 1), f.item("%a1", 3)
    mask, total, step = (f.call("PyLong_AsSsize_t", f.item("%a1", k)) for k in (0, 2, 4))
    ndim = f.load(extents, SIZE, "i64")
    outer = f.whole("sub", ndim, 1)
    width = length(f, extents, outer)
    last = f.value(f"inttoptr i64 {length(f, outs, outer)} to ptr")
    rows, done = f.var("i64", "1"), f.var("i64", "0")
    with f.each(outer) as d:
        f.store(f.whole("mul", f.load(rows, kind="i64"), length(f, extents, d)), rows, kind="i64")
    with f.each(f.load(rows, kind="i64")) as r:
        begun = f.load(done, kind="i64")
        f.jump_if(f.test("sge", begun, total, "i64"), "end")
        at = f.value(f"inttoptr i64 {f.whole('add', mask, f.whole('mul', r, width))} to ptr")
        row = f"ptr {at}, i64 {width}, ptr {last}, i64 {step}, i64 {begun}, i64 {total}"
        then = f.value(f"call i64 @places_of_row({row})")
        f.store(then, done, kind="i64")
        fill(f, (extents, outs, outer, step), r, begun, then)
    f.label("end")
    f.ret(f.call("PyLong_FromSsize_t", f.load(done, kind="i64")))
    f.end()


def length(f: Function, numbers: str, k: str) -> str:
    """Number k of a tuple."""
    return f.call("PyLong_AsSsize_t", f.item(f.at(numbers, ITEMS), k))


def fill(f: Function, of: tuple[str, str, str, str], row: str, begun: str, then: str) -> None:
    """The coordinates of a row, at the places that were found in it."""
    extents, outs, outer, step = of
    left = f.var("i64")
    f.store(row, left, kind="i64")
    with f.when(f.test("ne", begun, then, "i64")), f.each(outer) as k:
        d = f.whole("sub", f.whole("sub", outer, 1), k)
        size, now = length(f, extents, d), f.load(left, kind="i64")
        above = f.whole("sdiv", now, size)
        mine = f.whole("sub", now, f.whole("mul", above, size))
        f.store(above, left, kind="i64")
        start = f.value(f"inttoptr i64 {length(f, outs, d)} to ptr")
        with f.each(f.whole("sub", then, begun)) as i:
            place = f.whole("mul", f.whole("add", begun, i), step)
            f.store(mine, f.value(f"getelementptr i64, ptr {start}, i64 {place}"), kind="i64")
