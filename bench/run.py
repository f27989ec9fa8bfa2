"""flambeau beside PyTorch: the table of figures.

usage: python bench/run.py [-k REGEX] [--rounds 9] [--only torch|flambeau] [--venv] [--write]

Each framework runs in a process of its own, two threads each; the two take turns round by round, and medians are
compared. `--venv` also installs both into fresh venvs to weigh them. `--write` writes bench/RESULTS.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import workloads

HERE = Path(__file__).resolve().parent
SIDES = ("torch", "flambeau")
BUSY = (
    "The machine was busy: threads waited for a processor, and PyTorch's rows of small parallel steps are far above "
    "what they are on a quiet one (450 us for 784-128-10, 1,140 us for LeNet). Measure again before you quote them."
)


class Side:
    """A worker process; script: other than worker.py with its arguments; whole: another environment than this one."""

    def __init__(
        self,
        name: str,
        script: list[str] | None = None,
        whole: dict[str, str] | None = None,
        **environment: str,
    ):
        settings = {**(whole or os.environ), "OMP_NUM_THREADS": "2", "MKL_NUM_THREADS": "2", **environment}
        command = [sys.executable, *(script or [str(HERE / "worker.py"), name])]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=settings, cwd=HERE
        )

    def ask(self, **order: Any) -> Any:
        """The answer to an order; {"error": ...} if the process is gone."""
        try:
            assert self.process.stdin and self.process.stdout
            self.process.stdin.write(json.dumps(order) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except OSError:
            line = ""
        return json.loads(line) if line else {"error": "the process ended"}

    def close(self) -> None:
        """End it."""
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait(timeout=60)


def serve(runner: Any) -> None:
    """Answer orders, the names of a runner's methods with their arguments, until the input ends: the worker's side."""
    for line in sys.stdin:
        order = json.loads(line)
        try:
            answer: Any = getattr(runner, order.pop("do"))(**order)
        except Exception as error:  # a side that cannot do something says so, the other rows go on
            answer = {"error": f"{type(error).__name__}: {str(error)[:100]}"}
        print(json.dumps(answer), flush=True)


class Row:
    """A line of the table: PyTorch's figure, ours, the goal, and what was compared with it."""

    def __init__(self, title: str, unit: str, figures: dict[str, float], goal: float, absolute: bool):
        self.title, self.unit, self.figures, self.goal, self.absolute = title, unit, figures, goal, absolute

    @property
    def ratio(self) -> float | None:
        """Ours over PyTorch's, if both are known."""
        ours, theirs = self.figures.get("flambeau"), self.figures.get("torch")
        return ours / theirs if ours is not None and theirs else None

    @property
    def reached(self) -> bool | None:
        """Whether the goal is reached; None if there is no figure."""
        measure = self.figures.get("flambeau") if self.absolute else self.ratio
        return None if measure is None else measure <= self.goal

    def cells(self) -> list[str]:
        """What the table shows."""

        def shown(value: float | None) -> str:
            return (
                "–"
                if value is None
                else f"{value:,.2f} {self.unit}"
                if value < 10
                else f"{value:,.0f} {self.unit}"
            )

        goal = f"{self.goal:g} {self.unit}" if self.absolute else f"{self.goal:g} x"
        verdict = {None: "–", True: "yes", False: "**no**"}[self.reached]
        ratio = "–" if self.ratio is None else f"{self.ratio:.2f} x"
        return [
            self.title,
            shown(self.figures.get("torch")),
            shown(self.figures.get("flambeau")),
            ratio,
            goal,
            verdict,
        ]


def steps(pattern: str, rounds: int, sides: tuple[str, ...]) -> list[Row]:
    """The workloads, the sides taking turns."""
    workers = {name: Side(name) for name in sides}
    rows = []
    for name, work in workloads.WORKLOADS.items():
        if not re.search(pattern, name):
            continue
        times: dict[str, list[float]] = {side: [] for side in sides}
        failed = {}
        for side in sides:
            if error := workers[side].ask(do="open", name=name).get("error"):
                failed[side] = error
        for _ in range(rounds):
            for side in sides:
                if side in failed:
                    continue
                answer = workers[side].ask(do="round", name=name)
                if "error" in answer:
                    failed[side] = answer["error"]
                else:
                    times[side].append(answer["seconds"])
        for side in sides:
            workers[side].ask(do="close", name=name)
        for side, error in failed.items():
            print(f"  {side} {name}: {error}", file=sys.stderr)
        figures = {
            side: 1e6 * statistics.median(times[side]) for side in sides if times[side] and side not in failed
        }
        rows.append(Row(work.title, "us", figures, work.goal, work.absolute))
        print(" | ".join(rows[-1].cells()), flush=True)
    for worker in workers.values():
        worker.close()
    return rows


def installed(folder: str) -> dict[str, str]:
    """An environment in which modules keep their bytecode, as those of an installed wheel do."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    return {**environment, "PYTHONPYCACHEPREFIX": folder}


def imports(rounds: int, sides: tuple[str, ...]) -> Row:
    """Seconds of `import`, in fresh processes that take turns (the interpreter's own start taken off)."""
    code = "import time; t = time.perf_counter(); import {}; print(time.perf_counter() - t)"
    times: dict[str, list[float]] = {side: [] for side in sides}
    with tempfile.TemporaryDirectory() as bytecode:
        environment = installed(bytecode)
        for _ in range(rounds + 1):
            for side in sides:
                command = [sys.executable, "-c", code.format(side)]
                done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
                times[side].append(float(done.stdout))
    return Row("import", "s", {s: statistics.median(t[1:] or t) for s, t in times.items()}, 0.20, True)


def first_steps(rounds: int, sides: tuple[str, ...]) -> list[Row]:
    """Seconds from the import to the first loss of LeNet, with an empty cache of kernels and with a filled one."""
    cold: dict[str, list[float]] = {side: [] for side in sides}
    warm: dict[str, list[float]] = {side: [] for side in sides}
    with tempfile.TemporaryDirectory() as bytecode:
        for number in range(rounds + 1):  # the first keeps the bytecode
            for side in sides:
                with tempfile.TemporaryDirectory() as cache:
                    settings = {**installed(bytecode), "FLAMBEAU_CACHE_DIR": os.path.join(cache, "kernels")}
                    for times in (cold, warm):
                        worker = Side(side, whole=settings)
                        answer = worker.ask(do="first")
                        worker.close()
                        if "error" in answer:
                            print(f"  {side} first step: {answer['error']}", file=sys.stderr)
                        elif number:
                            times[side].append(answer["seconds"])
    return [
        Row(title, "s", {s: statistics.median(t) for s, t in times.items() if t}, goal, True)
        for title, times, goal in (
            ("first LeNet step, no kernel cached", cold, 1.5),
            ("first LeNet step, kernels cached", warm, 0.3),
        )
    ]


def growth(name: str) -> tuple[Row, str]:
    """What step 10,000 holds that step 1,000 did not: MiB of resident memory, and the counts in words."""
    worker = Side("flambeau")
    answer = worker.ask(do="memory", name=name, steps=[1000, 10000])
    worker.close()
    title = f"memory of step 10,000 over step 1,000 ({name})"
    if isinstance(answer, dict):
        return Row(title, "MiB", {}, 1.0, True), f"{name}: {answer['error']}"
    early, late = answer
    words = ", ".join(f"{key} {early[key]:,} and {late[key]:,}" for key in ("programs", "kernels", "live"))
    return Row(title, "MiB", {"flambeau": late["rss"] - early["rss"]}, 1.0, True), f"{name}: {words}"


def weight(folder: str) -> float:
    """MB of the files in a folder."""
    return sum(p.lstat().st_size for p in Path(folder).rglob("*") if p.is_file() or p.is_symlink()) / 1e6


def weights() -> Row:
    """MB that installing each framework, with what it needs, adds to an empty venv (bytecode comes with use)."""
    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        for side, package in (("flambeau", str(HERE.parent)), ("torch", "torch==2.13.0")):
            venv = os.path.join(folder, side)
            subprocess.run([sys.executable, "-m", "venv", venv], check=True)
            empty = weight(venv)
            pip = [os.path.join(venv, "bin", "python"), "-m", "pip", "install", "-q", "--no-compile", package]
            if subprocess.run([*pip, "numpy"]).returncode == 0:
                figures[side] = weight(venv) - empty
    return Row("added to an empty venv", "MB", figures, 260, True)


def machine() -> str:
    """What it was measured on, in a line."""
    model = platform.processor() or platform.machine()
    try:
        text = Path("/proc/cpuinfo").read_text()
        model = re.findall(r"^model name\s*: (.*)$", text, re.M)[0]
    except (OSError, IndexError):
        pass
    from importlib.metadata import PackageNotFoundError, version

    def of(name: str) -> str:
        try:
            return version(name)
        except PackageNotFoundError:
            return "not installed"

    versions = ", ".join(f"{name} {of(name)}" for name in ("torch", "numpy", "llvmlite"))
    busy = (
        f"load average {os.getloadavg()[0]:.1f} at the end" if hasattr(os, "getloadavg") else "load unknown"
    )
    return (
        f"{model}, {os.cpu_count()} processors seen, {busy}; Python {platform.python_version()}, {versions}"
    )


def page(rows: list[Row], notes: list[str], rounds: int) -> str:
    """bench/RESULTS.md."""
    head = ["what", "PyTorch", "flambeau", "ratio", "at most", "reached"]
    lines = [
        "# Figures",
        "",
        f"Written by `python bench/run.py --write`: {machine()}.",
        f"Two threads each, medians of {rounds} rounds in which the two take turns, results kept until they are read.",
        "The ratio is flambeau's figure over PyTorch's; a goal without an x is one of flambeau's figure.",
        "",
        "| " + " | ".join(head) + " |",
        "|---|---:|---:|---:|---:|---|",
        *("| " + " | ".join(row.cells()) + " |" for row in rows),
    ]
    if hasattr(os, "getloadavg") and os.getloadavg()[0] > (os.cpu_count() or 1):
        lines += ["", BUSY]
    if notes:
        lines += ["", "Between step 1,000 and step 10,000:", "", *(f"- {note}" for note in notes)]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-k", default="", help="only workloads whose name matches")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--only", choices=SIDES)
    parser.add_argument("--venv", action="store_true")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    sides = (options.only,) if options.only else SIDES
    notes: list[str] = []
    rows: list[Row] = []
    if re.search(options.k, "import"):
        rows.append(imports(min(options.rounds, 7), sides))
    if options.venv:
        rows.append(weights())
    rows += steps(options.k, options.rounds, sides)
    if re.search(options.k, "first"):
        rows += first_steps(min(options.rounds, 3), sides)
    if re.search(options.k, "memory") and "flambeau" in sides:
        for name in ("linear_regression", "mlp"):
            row, note = growth(name)
            rows.append(row)
            notes.append(note)
    text = page(rows, notes, options.rounds)
    print(text)
    if options.write:
        (HERE / "RESULTS.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
