"""One side of the comparison: a process that runs workloads with one framework, as told by lines of JSON on its input.

`python worker.py torch|flambeau|jax`; one answer a line. Commands: {"do": "open", "name": ...}, {"do": "round", ...},
{"do": "close", ...}, {"do": "memory", "name": ..., "steps": [...]}, {"do": "first"}; of the suite (suite.py):
{"do": "suite_open", "group": ..., "name": ..., "best": ...}, {"do": "suite_round", ...}.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from typing import Any

import workloads


def read(result: Any) -> float:
    """A number out of a result (of the last tensor of a list): it cannot be known before the work is done."""
    last = result[-1] if isinstance(result, list) else result
    plain = last.detach() if hasattr(last, "detach") else last  # JAX has none
    return float(plain.reshape(-1)[0].item())


def timed(step: workloads.Step, calls: int) -> tuple[float, float]:
    """Seconds of so many calls with the reading of the last result, and the sum of what was read of all."""
    begun = time.perf_counter()
    results = [step() for _ in range(calls)]
    read(results[-1])
    seconds = time.perf_counter() - begun
    return seconds, sum(map(read, results))


def run_round(name: str, step: workloads.Step) -> dict[str, float]:
    """Seconds for one call, and the sum of what was read (to be compared between the sides)."""
    work = workloads.WORKLOADS[name]
    calls = work.calls
    if work.reading:
        seconds, total = timed(step, calls)
    else:
        seconds = total = 0.0
        for _ in range(calls):
            begun = time.perf_counter()
            result = step()
            seconds += time.perf_counter() - begun
            total += read(result)
            del result
    return {"seconds": seconds / calls / work.per_call, "value": total}


def resident() -> float:
    """Resident memory of this process in MiB."""
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith("VmRSS"))


def engine_counts() -> dict[str, int]:
    """Programs, kernels and live bytes that flambeau holds; nothing for another framework."""
    if "flambeau" not in sys.modules:
        return {}
    from flambeau.codegen import engine
    from flambeau.device import memory
    from flambeau.stream import flush

    kernels = engine.stats()
    return {
        "programs": len(flush.CACHE),
        "kernels": int(kernels["compiled"] + kernels["from_disk"]),
        "live": memory.memory_stats()["live"],
    }


def suite_round(group: str, name: str, step: workloads.Step) -> dict[str, float]:
    """As `run_round`, for a workload of the suite. The first call is not timed: threads that slept while the other side
    had its turn are awake after it."""
    from suite_tables import TABLES

    calls = TABLES[group][name][2]
    timed(step, 1)
    seconds, total = timed(step, calls)
    return {"seconds": seconds / calls, "value": total}


def memory(step: workloads.Step, marks: list[int]) -> list[dict[str, float]]:
    """Memory and counts after these numbers of steps."""
    import gc

    rows, done = [], 0
    for mark in marks:
        while done < mark:
            result = step()
            done += 1
        read(result)
        gc.collect()
        rows.append({"step": done, "rss": resident(), **engine_counts()})
    return rows


def main() -> None:
    """Answer commands until the input ends."""
    side = sys.argv[1]
    os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")  # helpers would start while others are timed
    begun = time.perf_counter()
    torch = importlib.import_module(side)
    imported = time.perf_counter() - begun
    if hasattr(torch, "set_num_threads"):
        torch.set_num_threads(2)
    steps: dict[str, workloads.Step] = {}
    for line in sys.stdin:
        order = json.loads(line)
        name = order.get("name", "")
        answer: Any = {}
        try:
            if order["do"] == "open":
                steps[name] = workloads.WORKLOADS[name].make(torch)
                for _ in range(2):
                    run_round(name, steps[name])
            elif order["do"] == "round":
                answer = run_round(name, steps[name])
            elif order["do"] == "suite_open":
                from suite_tables import made

                steps[name] = made(torch, order["group"], name, order["best"])
                for _ in range(3):
                    suite_round(order["group"], name, steps[name])
            elif order["do"] == "suite_round":
                answer = suite_round(order["group"], name, steps[name])
            elif order["do"] == "close":
                steps.pop(name, None)
                if side == "torch":  # one limit of compiled variants for all that the same lines make
                    torch.compiler.reset()
            elif order["do"] == "memory":
                answer = memory(workloads.WORKLOADS[name].make(torch), order["steps"])
            elif order["do"] == "first":
                begun = time.perf_counter()
                read(workloads.lenet(torch)())
                answer = {"seconds": time.perf_counter() - begun, "import": imported}
        except Exception as error:  # a side that cannot do a workload says so, the other rows go on
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
