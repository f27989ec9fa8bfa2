"""What a profile has seen: calls with their times, the sums of calls with one name, and the table of these."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from ..errors import fail

Shapes = list[list[int]]
COLUMNS = ("Self CPU %", "Self CPU", "CPU total %", "CPU total", "CPU time avg")
MEMORY = ("CPU Mem", "Self CPU Mem")
SORTS = {
    "cpu_time": "cpu_time",
    "cpu_time_total": "cpu_time_total",
    "self_cpu_time_total": "self_cpu_time_total",
    "cpu_memory_usage": "cpu_memory_usage",
    "self_cpu_memory_usage": "self_cpu_memory_usage",
    "count": "count",
}


def time_text(us: float) -> str:
    """Microseconds in the unit that reads best."""
    for unit, size in (("s", 1e6), ("ms", 1e3)):
        if us >= size:
            return f"{us / size:.3f}{unit}"
    return f"{us:.3f}us"


def memory_text(nbytes: float) -> str:
    """Bytes in the unit that reads best."""
    for unit, size in (("GB", 1 << 30), ("MB", 1 << 20), ("KB", 1 << 10)):
        if abs(nbytes) >= size:
            return f"{nbytes / size:.2f} {unit}"
    return f"{nbytes:.0f} B"


class Interval:
    """From one time to another, in microseconds since the profile began."""

    def __init__(self, start: float, end: float):
        self.start, self.end = start, end

    def elapsed_us(self) -> float:
        """How long it is."""
        return self.end - self.start


class FunctionEvent:
    """One call: its name, when it ran, within which other one, and what memory it left."""

    count = 1

    def __init__(self, id: int, name: str, thread: int, start: float, shapes: Shapes, user: bool):
        self.id, self.name, self.key, self.thread = id, name, name, thread
        self.time_range = Interval(start, start)
        self.input_shapes, self.is_user_annotation = shapes, user
        self.cpu_parent: FunctionEvent | None = None
        self.cpu_children: list[FunctionEvent] = []
        self.cpu_memory_usage = 0

    @property
    def cpu_time_total(self) -> float:
        """Microseconds from its begin to its end."""
        return self.time_range.elapsed_us()

    cpu_time = cpu_time_total

    @property
    def self_cpu_time_total(self) -> float:
        """Microseconds spent in no call within it."""
        return self.cpu_time_total - sum(c.cpu_time_total for c in self.cpu_children)

    @property
    def self_cpu_memory_usage(self) -> int:
        """Bytes that no call within it left."""
        return self.cpu_memory_usage - sum(c.cpu_memory_usage for c in self.cpu_children)

    def __repr__(self) -> str:
        return (
            f"<FunctionEvent id={self.id} name={self.name} cpu_time={time_text(self.cpu_time)} "
            f"cpu_children={[c.id for c in self.cpu_children]} thread={self.thread} input_shapes={self.input_shapes}>"
        )


class FunctionEventAvg:
    """The calls with one name."""

    def __init__(self, key: str, shapes: Shapes):
        self.key, self.input_shapes, self.count = key, shapes, 0
        self.cpu_time_total = self.self_cpu_time_total = 0.0
        self.cpu_memory_usage = self.self_cpu_memory_usage = 0
        self.is_user_annotation = False

    def add(self, other: Any) -> FunctionEventAvg:
        """Count another call, or those of another sum, with these; returns self."""
        self.count += other.count
        for name in ("cpu_time_total", "self_cpu_time_total", "cpu_memory_usage", "self_cpu_memory_usage"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.is_user_annotation = self.is_user_annotation or other.is_user_annotation
        return self

    @property
    def cpu_time(self) -> float:
        """Microseconds of a call, on average."""
        return self.cpu_time_total / self.count if self.count else 0.0

    def __repr__(self) -> str:
        return (
            f"<FunctionEventAvg key={self.key} count={self.count} self_cpu_time={time_text(self.self_cpu_time_total)} "
            f"cpu_time={time_text(self.cpu_time)} input_shapes={self.input_shapes}>"
        )


class EventList(list[Any]):
    """Calls, or sums of calls, in a table."""

    def __init__(self, events: Iterable[Any] = (), memory: bool = False):
        super().__init__(events)
        self.memory = memory

    @property
    def self_cpu_time_total(self) -> float:
        """Microseconds of all of them, each counted once."""
        return sum(e.self_cpu_time_total for e in self)

    def key_averages(self, group_by_input_shape: bool = False, group_by_stack_n: int = 0) -> EventList:
        """The sums of the calls with one name (and one list of shapes, if asked)."""
        sums: dict[Any, FunctionEventAvg] = {}
        for e in self:
            shapes = e.input_shapes if group_by_input_shape else []
            at = (e.key, str(shapes))
            sums.setdefault(at, FunctionEventAvg(e.key, shapes)).add(e)
        return EventList(sums.values(), self.memory)

    def total_average(self) -> FunctionEventAvg:
        """One sum over everything."""
        total = FunctionEventAvg("Total", [])
        for e in self:
            total.add(e)
        return total

    def table(
        self,
        sort_by: str | None = None,
        row_limit: int = 100,
        max_src_column_width: int = 75,
        max_name_column_width: int = 55,
        max_shapes_column_width: int = 80,
        header: str | None = None,
        top_level_events_only: bool = False,
    ) -> str:
        """A row for each event, the largest first if `sort_by` names a figure ("cpu_time_total", "count", ...)."""
        events = [e for e in self if not (top_level_events_only and getattr(e, "cpu_parent", None))]
        if sort_by is not None:
            figure = SORTS.get(sort_by)
            if figure is None:
                fail(AttributeError, f"table: cannot sort by {sort_by!r}; one of {', '.join(SORTS)}")
            events.sort(key=lambda e: getattr(e, figure), reverse=True)
        if row_limit >= 0:
            events = events[:row_limit]
        shapes = any(e.input_shapes for e in events)
        names = ["Name", *COLUMNS, *MEMORY * self.memory, "# of Calls", *["Input Shapes"] * shapes]
        cuts = (max_name_column_width, max_shapes_column_width)
        rows = [self._row(e, shapes, *cuts) for e in events]
        widths = [max(len(r[i]) for r in (names, *rows)) + 2 for i in range(len(names))]
        rule = "  ".join("-" * w for w in widths)
        lines = [rule, *("  ".join(c.rjust(w) for c, w in zip(r, widths)) for r in (names, *rows))]
        lines.insert(2, rule)
        total = f"Self CPU time total: {time_text(self.self_cpu_time_total)}"
        return "\n".join([*([header] if header else []), *lines, rule, total, ""])

    def _row(self, e: Any, shapes: bool, name_width: int, shapes_width: int) -> list[str]:
        def cut(text: str, width: int) -> str:
            return text if len(text) <= width or width < 4 else text[: width - 3] + "..."

        whole = self.self_cpu_time_total or 1.0
        row = [cut(e.key, name_width)]
        for us in (e.self_cpu_time_total, e.cpu_time_total):
            row += [f"{100 * us / whole:.2f}%", time_text(us)]
        row.append(time_text(e.cpu_time))
        if self.memory:
            row += [memory_text(e.cpu_memory_usage), memory_text(e.self_cpu_memory_usage)]
        row.append(str(e.count))
        if shapes:
            row.append(cut(str(e.input_shapes), shapes_width))
        return row

    def export_chrome_trace(self, path: str, process: int = 0, more: dict[str, Any] | None = None) -> None:
        """Write the calls as a file that chrome://tracing and Perfetto show."""
        calls = [
            {
                "ph": "X",
                "cat": "user_annotation" if e.is_user_annotation else "cpu_op",
                "name": e.name,
                "pid": process,
                "tid": e.thread,
                "ts": e.time_range.start,
                "dur": e.cpu_time_total,
                "args": {"External id": e.id, **({"Input Dims": e.input_shapes} if e.input_shapes else {})},
            }
            for e in self
        ]
        with open(path, "w", encoding="utf-8") as file:
            json.dump(
                {"schemaVersion": 1, **(more or {}), "displayTimeUnit": "ms", "traceEvents": calls}, file
            )

    def __str__(self) -> str:
        return self.table()

    __repr__ = __str__
