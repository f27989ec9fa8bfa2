"""From the call to the record the way is short: few files, few changes of file, no bytes touched."""

from __future__ import annotations

import subprocess
import sys

import flambeau as torch
from flambeau.tools import measures


def test_softmax_is_recorded_through_few_files() -> None:
    x = torch.ones(4, 8, requires_grad=True)
    kept = [x.softmax(-1), x.softmax(-1)]  # the first call of a shape traces the op; later ones look it up
    files, calls, hops = measures.hops(lambda: kept.append(x.softmax(-1)))
    assert files <= 6 and hops <= 15 and calls <= 60, (files, calls, hops)


def test_importing_brings_in_nothing_heavy() -> None:
    """What is slow to import waits until it is needed."""
    heavy = (
        "llvmlite",
        "scipy",
        "multiprocessing",
        "inspect",
        "tempfile",
        "pickle",
        "zipfile",
        "ssl",
        "asyncio",
        "argparse",
    )
    code = f"import sys, flambeau; print([name for name in {heavy!r} if name in sys.modules])"
    bare = f"import sys, numpy; print([name for name in {heavy!r} if name in sys.modules])"
    ours, numpys = (
        subprocess.run([sys.executable, "-c", c], capture_output=True, text=True, check=True)
        for c in (code, bare)
    )
    more = set(eval(ours.stdout)) - set(eval(numpys.stdout))
    assert not more
