"""Makes `import torch` and `import torchvision` mean flambeau in this process, through a finder of `sys.meta_path`.

Imports nothing of the package: a child process loads this file at its start, by its path, before anything else.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType

# The longest name that fits decides.
NAMES = {
    "torch": "flambeau",
    "torchvision": "flambeau.vision",
}


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
        if module.__name__ == NAMES["torch"]:
            module.__name__ = "torch"  # by which programs find names to replace


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
