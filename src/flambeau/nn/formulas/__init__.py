"""Formulas of functionals over other functions: what `nn.functional` uses where the book of ops has no entry."""

from __future__ import annotations

from importlib import import_module
from typing import Any

FAMILIES = ("dropping", "loss", "spatial", "lookup", "recurrent")


def __getattr__(name: str) -> Any:
    if not name.startswith("__"):
        for family in FAMILIES:
            found = vars(import_module(f"{__name__}.{family}")).get(name)
            if callable(found) and found.__module__ == f"{__name__}.{family}":
                return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
