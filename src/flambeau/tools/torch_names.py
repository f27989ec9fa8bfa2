"""Makes `import torch` and `import torchvision` mean flambeau in this process, through a finder of `sys.meta_path`.

Imports nothing of the package: a child process loads this file at its start, by its path, before anything else.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from functools import cache
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

NAMES = {
    "torch": "flambeau",
    "torchvision": "flambeau.vision",
}
# Of the packages whose names, arguments and behaviour are meant: what programs ask for before they use what is newer.
VERSIONS = {"torch": "2.13.0+flambeau", "torchvision": "0.28.0+flambeau"}


def target_of(name: str) -> str | None:
    """What a module's name means: torch.nn.functional is flambeau.nn.functional; None if it is none of ours."""
    top, dot, rest = name.partition(".")
    return NAMES[top] + dot + rest if top in NAMES else None


class Alias:
    """Loads a module under a second name: the same object, its own attributes left as they are."""

    def __init__(self, module: ModuleType):
        self.module, self.spec = module, module.__spec__

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """The module that is there already."""
        return self.module

    def exec_module(self, module: ModuleType) -> None:
        """Give the module back its own spec, which the import system has just replaced."""
        module.__spec__ = self.spec
        for name, ours in NAMES.items():
            if module.__name__ == ours:
                module.__name__ = name  # by which programs find names to replace
                module.__version__ = VERSIONS[name]


@cache
def installed(name: str) -> Any:
    """What importlib.metadata says of one of the packages: its version, and no files."""
    from importlib.metadata import Distribution  # which takes longer to import than all else here

    text = f"Metadata-Version: 2.1\nName: {name}\nVersion: {VERSIONS[name]}\n"
    body = {
        "read_text": lambda self, file: {"METADATA": text, "top_level.txt": name}.get(file),
        "locate_file": lambda self, path: path,
    }
    return type("Installed", (Distribution,), body)()


class Finder:
    """Finds torch.x.y as flambeau.x.y. Stands first, so that an installed PyTorch is never looked at."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """A spec that yields our module; None (not found, in the words of the import system) if we have none."""
        ours = target_of(name)
        if ours is None:
            return None
        module = self.load(ours)
        if module is None:
            return None
        spec = ModuleSpec(name, Alias(module), is_package=hasattr(module, "__path__"))  # type: ignore[arg-type]
        if spec.submodule_search_locations is not None:
            spec.submodule_search_locations = list(module.__path__)
        return spec

    def find_distributions(self, context: Any = None) -> Iterator[Any]:
        """See importlib.metadata: the packages whose names are ours, before those that are installed."""
        wanted = getattr(context, "name", None)
        return (installed(name) for name in VERSIONS if wanted in (None, name))

    def load(self, name: str) -> ModuleType | None:
        """Our module of this name: a file of ours, or a module-valued attribute of one; None if neither."""
        try:
            return import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or not (name == error.name or name.startswith(error.name + ".")):
                raise  # a module that ours needs is missing: say so
        parent, _, last = name.rpartition(".")
        above = self.load(parent) if parent else None
        found = getattr(above, last, None)
        return found if isinstance(found, ModuleType) else None


def install() -> None:
    """Put the finder first, once."""
    if not any(type(finder).__name__ == "Finder" and hasattr(finder, "load") for finder in sys.meta_path):
        sys.meta_path.insert(0, Finder())  # type: ignore[arg-type]
