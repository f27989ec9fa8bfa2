"""Runs flambeau's own `nn` on PyTorch's tensors: `mirror.nn` is flambeau.nn with `import flambeau` meaning PyTorch.

What nn does above the tensors (names, errors, hooks, state dictionaries, shapes of calls) can so be compared with
torch.nn directly, whatever the state of the layers below.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import torch

PACKAGE = Path(__file__).resolve().parents[2] / "src" / "flambeau"


class _Loader(importlib.machinery.SourceFileLoader):
    def get_code(self, fullname: str) -> Any:
        source = Path(self.path).read_text(encoding="utf-8")
        return compile(
            source.replace("import flambeau as torch", "import mirror as torch"), self.path, "exec"
        )


class _Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Any:
        if not fullname.startswith(("mirror.nn", "mirror.autograd.handles")):
            return None
        place = PACKAGE.joinpath(*fullname.split(".")[1:])
        if (place / "__init__.py").exists():
            loader = _Loader(fullname, str(place / "__init__.py"))
            return importlib.util.spec_from_file_location(
                fullname, place / "__init__.py", loader=loader, submodule_search_locations=[str(place)]
            )
        file = place.with_suffix(".py")
        return (
            importlib.util.spec_from_file_location(fullname, file, loader=_Loader(fullname, str(file)))
            if file.exists()
            else None
        )


class _Mirror(ModuleType):
    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)


def load(ops: bool = True) -> ModuleType:
    """The package `mirror`; with `ops`, nn.functional finds its ops in torch.nn.functional, else only formulas."""
    if "mirror" not in sys.modules:
        mirror = _Mirror("mirror")
        mirror.__path__ = []
        entry = ModuleType("mirror.ops.entry")
        entry.FACES, entry.FUNCTIONS = {"nn.functional": {}}, {}
        modes = ModuleType("mirror.ops.modes")
        modes.disabled_torch_function = torch._C._disabled_torch_function_impl
        sys.modules["mirror.ops.modes"] = modes
        value = ModuleType("mirror.stream.value")
        value.PLAIN = set()
        value.LOCAL = SimpleNamespace(s=SimpleNamespace(grad=True))  # nothing is flushed at the end of a call
        boundary = ModuleType("mirror.stream.boundary")
        boundary.end_of_call = None
        autograd = ModuleType("mirror.autograd")
        autograd.__path__ = []  # of the package, only `handles` is flambeau's own file
        sys.modules |= {
            "mirror.autograd": autograd,
            "mirror.stream": ModuleType("mirror.stream"),
            "mirror.stream.value": value,
            "mirror.stream.boundary": boundary,
            "mirror": mirror,
            "mirror.ops": ModuleType("mirror.ops"),
            "mirror.ops.entry": entry,
        }
        sys.meta_path.insert(0, _Finder())
        mirror.nn = importlib.import_module("mirror.nn")
        mirror.nn.Parameter.__torch_function__ = torch._C._disabled_torch_function_impl
        mirror.nn.UninitializedBuffer.__torch_function__ = torch._C._disabled_torch_function_impl
    provide(ops)
    return sys.modules["mirror"]


def provide(ops: bool) -> None:
    """Chooses what `ops` of nn.functional are made of."""
    from mirror.nn.functional import table

    table.ops.__dict__.clear()
    faces = sys.modules["mirror.ops.entry"].FACES["nn.functional"]
    faces.clear()
    formulas = importlib.import_module("mirror.nn.formulas")
    for name, function in vars(torch.nn.functional).items():
        if callable(function) and (ops or not hasattr(formulas, name.rstrip("_"))):
            faces[name] = function
