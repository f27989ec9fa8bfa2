"""Runs of equal neighbours in a vector, in one pass without branches."""

from __future__ import annotations

from ..build import Builder, Value, const, select
from ..ir import Kernel


def kernel(type: str, ranks: bool, placed: bool) -> Kernel:
    """first[r], starts[r] of run r, starts[number] = n; ranks[i] (or ranks[places[i]]): the run of x[i]. n > 0."""
    b = Builder("runs")
    x = b.buf("x", type)
    places = b.buf("places", "i64") if placed else None
    first, starts, number = (
        b.buf("first", type, "rw"),
        b.buf("starts", "i64", "rw"),
        b.buf("number", "i64", "w"),
    )
    rank = b.buf("ranks", "i64", "w") if ranks else None
    n, xs = b.integer("n"), b.integer("xs")
    ps = b.integer("ps") if placed else const("i64", 1)
    value, start, run = b.reg("value", x[0], type), b.reg("start", 0, "i64"), b.reg("run", 0, "i64")
    last = b.reg("last", x[0], type)

    def put(i: Value) -> None:
        first[run.get()] = value.get()
        starts[run.get()] = start.get()
        if rank is not None:
            rank[i if places is None else places[i * ps]] = run.get()

    put(const("i64", 0))
    with b.for_("i", 1, n) as i:
        here = b.let(x[i * xs], "here")
        new = b.let(here.ne(last.get()), "new")
        last.set(here)
        value.set(select(new, here, value.get()))
        start.set(select(new, i, start.get()))
        run.set(run.get() + new.cast("i64"))
        put(i)
    starts[run.get() + 1] = n
    number[0] = run.get() + 1
    return b.kernel()
