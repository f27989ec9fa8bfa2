"""Every workload of the suite, flambeau beside PyTorch, as written and in each side's best mode.

usage: python bench/suite.py [-k REGEX] [--rounds 5] [--best] [--jax] [--write] [--keep FILE]

models.py (training steps and inference), dynamic.py (what changes at each step), operations.py (single operations),
halves.py (bfloat16 and float16), zoo_*.py (30 models as users write them, and some with their channels innermost;
neither is part of the mean).
Each side and mode is a process of its own with two threads; they take turns round by round and medians are compared.
Between two rounds there is a pause, in which the threads of the side before fall asleep.
--best adds PyTorch with `torch.compile` on model and loss, and flambeau with `flambeau.compile` on the whole step
(where the structure of a program changes, both compile what comes again: see dynamic.py). --jax adds `jax.jit` on the
whole step for the models that jax_models.py has. --write writes bench/RESULTS_suite.md.
--keep takes the workloads that are not measured now from a file and keeps all of them there: for a suite in parts.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from run import Side, machine
from suite_tables import TABLES

HERE = Path(__file__).resolve().parent
MODES = {"torch": ("torch", False), "flambeau": ("flambeau", False)}
BEST = {"torch best": ("torch", True), "flambeau best": ("flambeau", True)}
JAX = {"jax": ("jax", True)}
GOALS = ("models", "dynamic", "operations")  # what the suite's own mean is of
PAUSE = 0.03  # seconds


class Figures:
    """Median microseconds of one workload by mode, and what went wrong."""

    def __init__(self, name: str, title: str):
        self.name, self.title = name, title
        self.times: dict[str, list[float]] = {}
        self.values: dict[str, float] = {}

    def median(self, mode: str) -> float | None:
        """Microseconds, or None."""
        times = self.times.get(mode)
        return 1e6 * statistics.median(times) if times else None

    def best(self, side: str) -> float | None:
        """The faster of the two modes of a side."""
        found = [t for mode in (side, f"{side} best") if (t := self.median(mode)) is not None]
        return min(found) if found else None

    def ratio(self) -> float | None:
        """flambeau over PyTorch, as written."""
        ours, theirs = self.median("flambeau"), self.median("torch")
        return ours / theirs if ours and theirs else None

    def best_ratio(self) -> float | None:
        """flambeau over PyTorch, each in its best mode."""
        ours, theirs = self.best("flambeau"), self.best("torch")
        return ours / theirs if ours and theirs else None


def measure(group: str, name: str, workers: dict[str, Side], modes: dict[str, Any], rounds: int) -> Figures:
    """The modes taking turns on one workload."""
    figures = Figures(name, TABLES[group][name][1])
    ready = []
    for mode, (_, best) in modes.items():
        answer = workers[mode].ask(do="suite_open", group=group, name=name, best=best)
        if "error" in answer:
            print(f"  {mode} {name}: {answer['error']}", file=sys.stderr)
        else:
            ready.append(mode)
    for _ in range(rounds):
        for mode in ready:
            time.sleep(PAUSE)
            answer = workers[mode].ask(do="suite_round", group=group, name=name)
            if "error" in answer:
                print(f"  {mode} {name}: {answer['error']}", file=sys.stderr)
                continue
            figures.times.setdefault(mode, []).append(answer["seconds"])
    for mode in ready:
        workers[mode].ask(do="close", name=name)
    return figures


def cell(value: float | None, unit: str = "") -> str:
    """A figure of the table."""
    if value is None:
        return "–"
    return f"{value:,.2f}{unit}" if value < 10 else f"{value:,.0f}{unit}"


def mean(ratios: list[float]) -> str:
    """Their geometric mean, and how much faster that is."""
    if not ratios:
        return "–"
    m = math.exp(sum(map(math.log, ratios)) / len(ratios))
    slower = sum(r > 1 for r in ratios)
    return (
        f"{m:.2f} x (PyTorch's time over ours: {1 / m:.2f}); slower than PyTorch: {slower} of {len(ratios)}"
    )


def table(rows: list[Figures], best: bool) -> list[str]:
    """The lines of a table."""
    head = ["what", "PyTorch us", "flambeau us", "ratio"]
    head += ["PyTorch compiled us", "flambeau compiled us", "best over best"] if best else []
    jax = any("jax" in f.times for f in rows)
    head += ["JAX us", "best over JAX"] if jax else []
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    for f in rows:
        cells = [f.title, cell(f.median("torch")), cell(f.median("flambeau")), cell(f.ratio(), " x")]
        if best:
            cells += [
                cell(f.median("torch best")),
                cell(f.median("flambeau best")),
                cell(f.best_ratio(), " x"),
            ]
        if jax:
            ours, theirs = f.best("flambeau"), f.median("jax")
            cells += [cell(theirs), cell(ours / theirs if ours and theirs else None, " x")]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


class Kept:
    """Seconds of all rounds by workload and mode, in a file of JSON; without a file, nothing."""

    def __init__(self, path: Path | None):
        self.path = path
        found = path is not None and path.exists()
        self.times: dict[str, Any] = json.loads(path.read_text("utf-8")) if path and found else {}

    def has(self, group: str, name: str) -> bool:
        """Whether an earlier run measured a workload."""
        return f"{group}:{name}" in self.times

    def figures(self, group: str, name: str, title: str) -> Figures:
        """What it measured."""
        made = Figures(name, title)
        made.times = self.times[f"{group}:{name}"]
        return made

    def add(self, group: str, row: Figures) -> None:
        """Keep what was measured now."""
        self.times[f"{group}:{row.name}"] = row.times
        if self.path is not None:
            self.path.write_text(json.dumps(self.times), encoding="utf-8")


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-k", default="", help="only workloads whose group:name matches")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--best", action="store_true")
    parser.add_argument("--jax", action="store_true")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    lines = [
        "# The suite",
        "",
        f"Written by `python bench/suite.py --write`: {machine()}.",
        "",
    ]
    kept = Kept(options.keep)
    everything: list[Figures] = []
    for group, works in TABLES.items():
        names = [n for n in works if re.search(options.k, f"{group}:{n}")]
        modes = {
            **MODES,
            **(BEST if options.best else {}),
            **(JAX if options.jax and group == "models" else {}),
        }
        workers = {mode: Side(side) for mode, (side, _) in modes.items()} if names else {}
        rows = []
        for name, (_, title, _) in works.items():
            if name in names:
                rows.append(measure(group, name, workers, modes, options.rounds))
                kept.add(group, rows[-1])
                print(table(rows[-1:], options.best)[-1], flush=True)
            elif kept.has(group, name):
                rows.append(kept.figures(group, name, title))
        for worker in workers.values():
            worker.close()
        if rows:
            everything += rows if group in GOALS else []
            ratios = [r for f in rows if (r := f.ratio()) is not None]
            head = ["", f"## {group}", "", *table(rows, any("torch best" in f.times for f in rows))]
            lines += [*head, "", f"Geometric mean: {mean(ratios)}."]
            for back, title in ((False, "forward"), (True, "there and back")):
                convs = [f for f in rows if "conv_" in f.name and f.name.endswith("_back") is back]
                if some := [r for f in convs if (r := f.ratio()) is not None]:
                    lines += ["", f"ResNet-50's convolutions, {title}: {mean(some)}."]
    rounds = [len(t) for f in everything for t in f.times.values()] or [0]
    lines[3] = (
        f"Two threads each, medians of {min(rounds)} to {max(rounds)} rounds in which the sides take turns, results "
        "kept until they are read."
    )
    ratios = [r for f in everything if (r := f.ratio()) is not None]
    bests = [r for f in everything if (r := f.best_ratio()) is not None]
    lines += [
        "",
        f"## {GOALS[0]}, {GOALS[1]} and {GOALS[2]}",
        "",
        f"As written: {mean(ratios)}.",
        "",
        f"Best modes: {mean(bests)}.",
    ]
    print("\n".join(lines))
    if options.write:
        (HERE / "RESULTS_suite.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
