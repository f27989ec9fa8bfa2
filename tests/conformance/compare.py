"""Compare a run of the conformance tool with `passing.txt`: no entry may be lost; new ones are reported.

usage: compare.py RESULTS.json [--write]

An entry passes if its values and gradients (`function`, `backward`) pass on every sample in float32. `--write` replaces
the list. The last line is 'N passed, N failed': entries of the list that pass and that are lost.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path

LIST = Path(__file__).with_name("passing.txt")


def passing(results: list[dict]) -> set[str]:
    """The entries all of whose cells of values and gradients pass."""
    found: dict[str, set[str]] = defaultdict(set)
    for row in results:
        if row["db"] == "ops" and row["dtype"] == "float32":
            for variant, cell in row["cells"].items():
                if variant in ("function", "backward") and cell["status"] != "untested":
                    found[row["name"]].add(cell["status"])
    return {name for name, statuses in found.items() if statuses == {"pass"}}


def main() -> int:
    """Print what was lost and gained; exit status 1 if anything was lost."""
    try:
        now = passing(json.loads(Path(sys.argv[1]).read_text())["results"])
    except (OSError, ValueError) as error:
        print(f"no results: {error}")
        now = set()
    if "--write" in sys.argv:
        LIST.write_text("".join(f"{name}\n" for name in sorted(now)))
    listed = set(LIST.read_text().split())
    lost, new = sorted(listed - now), sorted(now - listed)
    if new:
        print(f"{len(new)} entries pass that are not listed: {', '.join(new)}")
    if lost:
        print(f"{len(lost)} entries are lost: {', '.join(lost)}")
    print(f"{len(listed) - len(lost)} passed, {len(lost)} failed")
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
