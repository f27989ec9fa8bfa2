"""Every name of the first tier exists: those that most PyTorch programs use, the most used first (names.txt).

missing.txt is a ratchet: names that are not there yet. It may only shrink.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import flambeau as torch

HERE = Path(__file__).parent


def listed(file: str) -> list[str]:
    return (HERE / file).read_text().split()


def exists(name: str) -> bool:
    found: Any = torch
    parts = name.split(".")
    for i, part in enumerate(parts):
        try:
            found = getattr(found, part)
        except NotImplementedError:  # the name is there and says that what it names is not
            return True
        except (AttributeError, ModuleNotFoundError):
            try:
                found = importlib.import_module("flambeau." + ".".join(parts[: i + 1]))
            except ImportError:
                return _of_an_object(found, part)
    return True


def _of_an_object(cls: Any, name: str) -> bool:
    """Attributes that only objects of the class have."""
    return name == "param_groups" and hasattr(cls([torch.ones(1)], {"lr": 1.0}), name)


def test_names_of_the_first_tier() -> None:
    missing = [name for name in listed("names.txt") if not exists(name)]
    allowed = listed("missing.txt")
    assert [name for name in missing if name not in allowed] == []
    assert [name for name in allowed if name not in missing] == [], (
        "these exist now: take them off missing.txt"
    )


def test_what_is_not_a_name_does_not_exist() -> None:
    assert not exists("softmaks") and not exists("nn.Linaer") and not exists("Tensor.vieww")
