"""Peak memory of a step, flambeau beside PyTorch eager: of every workload, each side and mode in a process of its own.

Each is forked from a process that has imported the side and done nothing with it, so that 200 single operations take
minutes.

usage: python bench/memory.py [-k REGEX] [--steps 8] [--jobs 2] [--write] [--keep FILE]

The workloads are those of suite.py, by group:name. Modes: PyTorch eager; flambeau as the program is written; captured
(`torch.compile` of the whole step or of the part that comes again); eager (FLAMBEAU_EAGER=1: one operation after the
other, the sequential execution that the others are held to). Single operations are not captured.
allocator: the most that tensors held during the steps, less what model and data held before (PyTorch: from the
allocations that its profiler reports, without what its libraries take for themselves; flambeau: `memory_stats`, blocks
of 64 KiB and more, workspaces of kernels among them).
RSS: the most memory that the process had (VmHWM) less what it had before the first step, after import, one tiny
operation with gradient (libraries are loaded then), model and data. The first steps are in it; flambeau finds its
kernels on disk (compiling them takes some 20 MiB once, in LLVM), since a mode that compiled any runs again.
--keep takes the workloads that are not measured now from a file and keeps all of them there: for a table in parts.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import re
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
MIB = 1 << 20
MODES = {  # mode -> (module, captured, environment)
    "torch": ("torch", False, {}),
    "flambeau": ("flambeau", False, {}),
    "captured": ("flambeau", True, {}),
    "eager": ("flambeau", False, {"FLAMBEAU_EAGER": "1"}),
}
SINGLE = ("operations", "halves")  # groups of what is not captured
SLACK, NOISE = 1.02, 1.0  # above PyTorch: by more than this share and so many MiB


def works() -> dict[str, tuple[str, str, Any]]:
    """group:name -> (group, title, maker over (torch, best))."""
    from suite_tables import TABLES

    return {
        f"{group}:{name}": (group, title, make)
        for group, table in TABLES.items()
        for name, (make, title, _) in table.items()
    }


def status(field: str) -> int:
    """A figure of this process in bytes."""
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith(field))


def begin_peak() -> None:
    """VmHWM begins anew at what is resident now."""
    with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
        file.write("5")


def child(name: str, mode: str, steps: int) -> dict[str, float]:
    """Run a workload and measure."""
    import gc

    from worker import read

    module, captured, _ = MODES[mode]
    torch = sys.modules[module]
    torch.set_num_threads(2)
    w = torch.ones(4, requires_grad=True)
    (w * w).sum().backward()
    float(w.grad[0])
    step = works()[name][2](torch, captured)
    if module == "flambeau":
        torch.synchronize()
        torch.reset_peak_memory_stats()
        # What making the data left would serve for the step's first blocks.
        sys.modules["flambeau.device.memory"].empty_cache()
        before = torch.memory_stats()["counted"]
    gc.collect()
    begin_peak()
    resident = status("VmRSS")
    for _ in range(steps):
        read(step())
    rss = status("VmHWM") - resident
    held = torch.memory_stats()["peak"] - before if module == "flambeau" else reported(torch, name, read)
    compiled = sys.modules["flambeau.codegen.engine"].stats()["compiled"] if module == "flambeau" else 0
    return {"rss": rss / MIB, "held": held / MIB, "compiled": compiled}


def reported(torch: Any, name: str, read: Any) -> int:
    """The peak of what PyTorch allocates in a step from its first: .grad and states of the optimizer count as well."""
    with torch.profiler.profile(
        profile_memory=True, activities=[torch.profiler.ProfilerActivity.CPU]
    ) as profile:
        step = works()[name][2](torch, False)
        with torch.profiler.record_function("begin"):
            pass
        for _ in range(3):
            read(step())
    events = sorted(profile.profiler.kineto_results.events(), key=lambda e: e.start_ns())
    held = peak = start = 0
    begun = False
    for e in events:
        if e.name() == "begin":
            begun, start, peak = True, held, held
        elif e.name() == "[memory]":
            held += e.nbytes()
            peak = max(peak, held) if begun else 0
    return peak - start


def serve(module: str) -> None:
    """For each line of a workload, a mode and a number of steps a fork that measures, and the line that it prints."""
    importlib.import_module("numpy")  # which PyTorch imports with itself
    importlib.import_module(module)
    works()
    for line in sys.stdin:
        name, mode, steps = line.split()
        pid = os.fork()
        if not pid:
            print(json.dumps(child(name, mode, int(steps))), flush=True)
            os._exit(0)
        if os.waitpid(pid, 0)[1]:
            print("null", flush=True)


class Servers(threading.local):
    """The processes that fork for this thread, by mode's module and environment."""

    def __init__(self) -> None:
        self.processes: dict[str, subprocess.Popen[str]] = {}

    def ask(self, name: str, mode: str, steps: int) -> dict[str, float] | None:
        """What a fork has measured."""
        module, _, environment = MODES[mode]
        key = f"{module} {environment}"
        if key not in self.processes:
            self.processes[key] = subprocess.Popen(
                [sys.executable, str(HERE / "memory.py"), "--serve", module],
                env={**os.environ, **environment},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        process = self.processes[key]
        assert process.stdin and process.stdout
        process.stdin.write(f"{name} {mode} {steps}\n")
        process.stdin.flush()
        return json.loads(process.stdout.readline())


SERVERS = Servers()


def measure(name: str, mode: str, steps: int) -> dict[str, float] | None:
    """The figures of one process, of a second one if the first had to compile kernels."""
    found = SERVERS.ask(name, mode, steps)
    return SERVERS.ask(name, mode, steps) if found and found["compiled"] else found


def measured(names: list[str], steps: int, jobs: int) -> Any:
    """Name and figures by mode of each workload, in order; so many processes at once."""
    groups = {name: group for name, (group, _, _) in works().items()}
    with ThreadPoolExecutor(jobs) as pool:
        waiting = {
            name: {
                mode: pool.submit(measure, name, mode, steps)
                for mode in MODES
                if mode != "captured" or groups[name] not in SINGLE
            }
            for name in names
        }
        for name, modes in waiting.items():
            yield name, {mode: found.result() for mode, found in modes.items()}


def above(ours: float | None, theirs: float | None) -> bool:
    """Whether a peak is higher than it may be."""
    return ours is not None and theirs is not None and ours > max(theirs * SLACK, theirs + NOISE)


def row(title: str, found: dict[str, Any]) -> tuple[str, list[str]]:
    """A line of the table, and what of it is too high."""
    cells, notes = [title], []
    for kind in ("held", "rss"):
        figures = {mode: (found.get(mode) or {}).get(kind) for mode in MODES}
        for mode, x in figures.items():
            over = mode in ("flambeau", "captured") and (
                above(x, figures["torch"]) or above(x, figures["eager"])
            )
            cells.append("–" if x is None else f"**{x:,.1f}**" if over else f"{x:,.1f}")
            if over:
                notes.append(f"{title}: {mode}, {'allocator' if kind == 'held' else 'RSS'}")
    return "| " + " | ".join(cells) + " |", notes


def tables(kept: dict[str, Any]) -> tuple[list[str], list[str]]:
    """The lines of the table of each group, and what is too high."""
    head = ["what", *(f"{mode}, allocator" for mode in MODES), *(f"{mode}, RSS" for mode in MODES)]
    lines: list[str] = []
    notes: list[str] = []
    last = ""
    for name, (group, title, _) in works().items():
        if name not in kept:
            continue
        if group != last:
            last = group
            lines += ["", f"## {group}", "", "| " + " | ".join(head) + " |"]
            lines.append("|---|" + "---:|" * (len(head) - 1))
        line, over = row(title, kept[name])
        lines.append(line)
        notes += over
    return lines, notes


def main() -> None:
    """Measure, print, write."""
    from run import machine

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-k", default="", help="only workloads whose name matches")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    kept: dict[str, Any] = {}
    if options.keep is not None and options.keep.exists():
        kept = json.loads(options.keep.read_text("utf-8"))
    everything = works()
    names = [name for name in everything if re.search(options.k, name)]
    for name, found in measured(names, options.steps, options.jobs):
        kept[name] = found
        print(row(everything[name][1], found)[0], flush=True)
        if options.keep is not None:
            options.keep.write_text(json.dumps(kept), encoding="utf-8")
    lines, notes = tables(kept)
    text = [
        "# Peak memory",
        "",
        f"Written by `python bench/memory.py --write`: {machine()}.",
        f"MiB above what the process had with model and data, most of {options.steps} steps; two threads. Bold: above",
        "PyTorch or above flambeau's own sequential execution (by more than 2% and 1 MiB).",
        *lines,
        "",
        *([f"Above: {len(notes)}.", "", *(f"- {n}" for n in notes)] if notes else ["Above: none."]),
    ]
    if options.write:
        (HERE / "RESULTS_memory.md").write_text("\n".join(text) + "\n", encoding="utf-8")
    print("\n".join(text[-len(notes) - 3 :]))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(sys.argv[2])
    else:
        main()
