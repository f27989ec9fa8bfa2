"""Single calls on a few numbers, each run at once and read: what a program pays that looks at every value.

usage: python bench/small.py [-k REGEX] [--rounds 7] [--write]

Each framework runs in a process of its own, one call at a time; the two take turns, the least of the rounds' means is
shown. A call that makes a tensor waits until it has its bytes. `--write` writes bench/RESULTS_small.md.
"""

from __future__ import annotations

import argparse
import importlib
import math
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from run import Side, machine, serve

HERE = Path(__file__).resolve().parent
CASES = {
    "relu": "torch.relu(x)",
    "three operations": "torch.relu(x) * x + y",
    "x[0]": "x[0]",
    "m[0, 1]": "m[0, 1]",
    "m[1:3]": "m[1:3]",
    "m.view": "m.view(64)",
    "m.t": "m.t()",
    "item": "s.item()",
    "float": "float(s)",
    "int": "int(i)",
    "x[0].item": "x[0].item()",
    "bool of s > 0": "bool(s > 0)",
    "any": "bool((x > 0).any())",
    "sum, item": "x.sum().item()",
    "argmax, item": "x.argmax().item()",
    "tolist": "x.tolist()",
    "numpy": "x.numpy()",
    "from_numpy": "torch.from_numpy(a)",
    "tensor of a number": "torch.tensor(1.0)",
    "tensor of a list": "torch.tensor([1.0, 2.0])",
    "zeros": "torch.zeros(4)",
    "randn": "torch.randn(4)",
    "clone": "x.clone()",
    "detach": "x.detach()",
    "cat": "torch.cat([x, y])",
    "stack": "torch.stack([x, y])",
    "max of rows": "m.max(1)",
    "matmul": "m @ m",
    "softmax": "torch.softmax(m, 1)",
    "linear": "linear(x)",
    "write a number": "m.__setitem__((0, 0), 1.0)",
    "write a row": "m.__setitem__(0, 0.5)",
    "add in place": "y.add_(1)",
    "equal": "torch.equal(x, x)",
    "allclose": "torch.allclose(x, x)",
    "backward": "(w * w).sum().backward()",
    "loop over a tensor": "[v for v in x]",
}


class Runner:
    """Runs cases with one framework, as told by lines of JSON."""

    def __init__(self, side: str):
        import numpy as np

        self.torch = torch = importlib.import_module(side)
        torch.set_num_threads(2)
        torch.manual_seed(0)
        linear = torch.nn.Linear(4, 4)
        for p in linear.parameters():
            p.requires_grad_(False)
        self.names = {
            "torch": torch,
            "linear": linear,
            "x": torch.randn(4),
            "y": torch.randn(4),
            "m": torch.randn(8, 8),
            "s": torch.tensor(3.0),
            "i": torch.tensor(3),
            "w": torch.randn(3, 4, requires_grad=True),
            "a": np.ones(4, np.float32),
            "wait": getattr(torch, "synchronize", lambda: None),
        }
        self.call: Callable[[], Any] = lambda: None

    def open(self, name: str) -> dict[str, Any]:
        text = f"def call():\n result = {CASES[name]}\n wait()\n return result"
        exec(text, self.names)
        self.call = self.names["call"]  # type: ignore[assignment]
        for _ in range(200):
            self.call()
        return {}

    def round(self, seconds: float) -> dict[str, float]:
        """The mean seconds of a call."""
        call, clock = self.call, time.perf_counter
        done, begun = 0, clock()
        while (spent := clock() - begun) < seconds:
            for _ in range(50):
                call()
            done += 50
        return {"seconds": spent / done}


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-k", default="", help="only cases whose name matches")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.02, help="of each round of a case")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    if options.serve:
        serve(Runner(options.serve))
        return
    script = str(Path(__file__).resolve())
    sides = {s: Side(s, script=[script, "--serve", s]) for s in ("torch", "flambeau")}
    lines = ["| what | PyTorch us | flambeau us | ratio |", "|---|---:|---:|---:|"]
    ratios = []
    for name in CASES:
        if not re.search(options.k, name):
            continue
        best: dict[str, float] = {}
        for side in sides.values():
            side.ask(do="open", name=name)
        for _ in range(options.rounds):
            for s, side in sides.items():
                spent = side.ask(do="round", seconds=options.seconds)["seconds"]
                best[s] = min(best.get(s, spent), spent)
        ratios.append(best["flambeau"] / best["torch"])
        lines.append(
            f"| {name} | {1e6 * best['torch']:.2f} | {1e6 * best['flambeau']:.2f} | {ratios[-1]:.2f} x |"
        )
        print(lines[-1], flush=True)
    for side in sides.values():
        side.close()
    mean = math.exp(sum(map(math.log, ratios)) / max(1, len(ratios)))
    summary = (
        f"{len(ratios)} calls, geometric mean {mean:.2f} x, {sum(r > 1 for r in ratios)} slower than PyTorch."
    )
    print(summary)
    if options.write:
        head = [
            "# Single calls on a few numbers, read at once",
            "",
            f"Written by `python bench/small.py --write`: {machine()}.",
            "",
        ]
        text = "\n".join([*head, *lines, "", summary]) + "\n"
        (HERE / "RESULTS_small.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
