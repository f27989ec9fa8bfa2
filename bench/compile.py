"""The time to compile a kernel: every kernel of the first steps of models from an empty cache, pass by pass.

usage: python bench/compile.py [-k REGEX] [--write]

Each workload runs in a process of its own with an empty cache, which keeps the kernels that it needs. They are then
compiled again one by one, alone: milliseconds of processor time, the least of two. `--write` writes
bench/RESULTS_compile.md.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
WORK = ("linear_regression", "mlp", "lenet_4", "vae", "gpt_small", "resnet_train", "one_shot")
OURS = ("key", "verify", "math", "text")
RECIPES = ("matmul", "conv", "pool")


def kernels_of(name: str) -> dict[str, Any]:
    """The kernels of the first three steps of a workload, by key."""
    import dynamic
    import models

    import flambeau
    from flambeau.codegen import engine

    flambeau.set_num_threads(2)
    found: dict[str, Any] = {}
    compiled = engine._compile

    def keeping(kernels: dict[str, Any], *rest: Any) -> None:
        found.update(kernels)
        compiled(kernels, *rest)

    engine._compile = keeping
    make: Any = dynamic.DYNAMIC[name][0] if name in dynamic.DYNAMIC else None
    step = make(flambeau, False) if make else models.MODELS[name][0](flambeau, False)
    for _ in range(3):
        result = step()
        last = result[-1] if isinstance(result, list) else result
        float(last.reshape(-1)[0].item())
    return found


def passes_of(kernel: Any) -> dict[str, float]:
    """Milliseconds of each pass."""
    import llvmlite.binding as llvm

    from flambeau.codegen import engine, objects, target
    from flambeau.codegen.llvm import module as text_of
    from flambeau.codegen.math import expand
    from flambeau.loop.spec import verify

    on = target.chosen()
    machine = engine.machine(on)
    spent: dict[str, float] = {}

    def timed(name: str, call: Any) -> Any:
        begun = time.process_time()
        result = call()
        spent[name] = spent.get(name, 0.0) + 1e3 * (time.process_time() - begun)
        return result

    timed("key", lambda: engine.kernel_key(kernel, on))
    timed("verify", lambda: verify(kernel))
    expanded = timed("math", lambda: expand(kernel))
    text = timed("text", lambda: text_of([expanded], ["k"], on))
    timed("parse", lambda: llvm.parse_assembly(text))
    module = timed("passes", lambda: objects.optimise(text, machine, True))
    made = timed("code", lambda: objects.emitted(module, machine, True))
    spent["passes"] -= spent["parse"]  # it parses too
    return {**spent, "lines": text.count("\n"), "bytes": len(made)}


def kind_of(kernel: Any) -> str:
    """The kind of a kernel: a recipe's name, or what its nest does."""
    from flambeau.loop.text import show

    if kernel.name in RECIPES:
        return kernel.name
    return "reduction" if re.search(r"^ *reg ", show(kernel), re.MULTILINE) else "elementwise"


def serve(name: str) -> None:
    """Print the figures of a workload's kernels as JSON."""
    kernels = kernels_of(name)
    rows = []
    passes_of(next(iter(kernels.values())))
    for key, kernel in kernels.items():
        both = [passes_of(kernel) for _ in range(2)]
        least = {part: min(one[part] for one in both) for part in both[0]}
        rows.append({"kernel": key, "kind": kind_of(kernel), **least})
    print(json.dumps(rows))


def line(kind: str, rows: list[dict[str, Any]]) -> str:
    """A line of the table."""
    ours = sorted(sum(r[part] for part in OURS) for r in rows)
    llvm = sorted(r["parse"] + r["passes"] + r["code"] for r in rows)
    cells = [kind, str(len(rows)), f"{statistics.mean(r['lines'] for r in rows):.0f}"]
    for times in (ours, llvm):
        high = times[int(0.9 * (len(times) - 1))]
        cells += [f"{x:.1f}" for x in (statistics.median(times), statistics.mean(times), high)]
    cells += [f"{statistics.mean(r[part] for r in rows):.1f}" for part in (*OURS, "parse", "passes", "code")]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-k", default="", help="only workloads whose name matches")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve)
        return
    rows: dict[str, dict[str, Any]] = {}
    work = [name for name in WORK if re.search(options.k, name)]
    for name in work:
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, str(Path(__file__).resolve()), "--serve", name]
            settings = {**os.environ, "FLAMBEAU_CACHE_DIR": folder}
            done = subprocess.run(command, env=settings, cwd=HERE, capture_output=True, text=True, check=True)
        rows |= {row.pop("kernel"): row for row in json.loads(done.stdout)}
    found = list(rows.values())
    head = [
        "kernels",
        "n",
        "lines",
        *(f"{s} {w}" for s in ("ours", "LLVM") for w in ("median", "mean", "90%")),
    ]
    head += [*OURS, "parse", "passes", "code"]
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1), line("all", found)]
    for kind in ("elementwise", "reduction", *RECIPES):
        if some := [r for r in found if r["kind"] == kind]:
            lines.append(line(kind, some))
    print("\n".join(lines))
    if options.write:
        from run import machine

        title = "# The time to compile a kernel"
        about = [
            f"Written by `python bench/compile.py --write`: {machine()}.",
            f"Milliseconds of processor time of one kernel, over the different kernels of {', '.join(work)} (three",
            "steps, nothing cached). Ours: the key, the check of the loop IR, the expansion of mathematical functions",
            "and the text of LLVM IR; LLVM: parsing, its passes, and machine code. The last columns are means.",
        ]
        content = "\n".join([title, "", *about, "", *lines]) + "\n"
        (HERE / "RESULTS_compile.md").write_text(content, encoding="utf-8")


if __name__ == "__main__":
    main()
