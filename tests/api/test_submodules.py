"""`from package import module` for every module of the package, as programs write it."""

from __future__ import annotations

import subprocess
import sys

EVERY = """
import importlib, pkgutil
import flambeau
failed = []
for found in pkgutil.walk_packages(flambeau.__path__, "flambeau."):
    parent, _, leaf = found.name.rpartition(".")
    if leaf[:2] == "__":
        continue
    try:
        exec(f"from {parent} import {leaf}")
    except ImportError as error:
        if (error.name or "flambeau").startswith("flambeau"):
            failed.append((found.name, repr(error)))
    except RecursionError as error:
        failed.append((found.name, repr(error)))
print(failed)
"""


def test_every_module_can_be_imported_from_its_package() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", EVERY], capture_output=True, text=True, timeout=120
    )
    assert done.stdout.strip() == "[]", done.stdout + done.stderr
