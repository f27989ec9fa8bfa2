"""torch.fx.graph_module: a module whose `forward` is the code of a graph."""

from __future__ import annotations

import copy
import itertools
import linecache
import os
import sys
import traceback
from pathlib import Path
from typing import Any

from ..nn import Module
from .graph import Graph, PythonCode, _has_attribute, custom_builtins

_SOURCES = itertools.count()


def _exec_with_source(src: str, globals: dict[str, Any]) -> None:
    """Runs generated source; tracebacks and inspect find its lines."""
    name = f"<eval_with_key>.{next(_SOURCES)}"
    linecache.cache[name] = (len(src), None, [line + "\n" for line in src.split("\n")], name)
    exec(compile(src, name, "exec"), globals)


def _forward_from_src(src: str, globals: dict[str, Any]) -> Any:
    scope = globals.copy()
    _exec_with_source(src, scope)
    forward = scope["forward"]
    forward.__globals__.pop("forward")
    return forward


def _parents(to: Module, path: list[str], source: Any = None) -> Module:
    """The module to which the last name of a path belongs; what is missing on the way is made."""
    for name in path[:-1]:
        following = getattr(to, name, None)
        if not isinstance(following, Module):
            following = Module()
            setattr(to, name, following)
        to = following
    return to


def _copy_attr(source: Module, to: Module, target: str) -> None:
    """Has `to` share the submodule, parameter, buffer or value that `source` has at a path."""
    from ..nn import Parameter
    from ..stream.value import Tensor

    path = target.split(".")
    value: Any = source
    for name in path:
        value = getattr(value, name)
    owner = _parents(to, path)
    if isinstance(value, Tensor) and not isinstance(value, Parameter):
        owner.register_buffer(path[-1], value)
    else:
        setattr(owner, path[-1], value)


class _WrappedCall:
    """Calls the forward of a generated module; an error in the code is shown with its lines."""

    def __init__(self, cls: type):
        self.cls = cls

    def __call__(self, obj: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return super(self.cls, obj).__call__(*args, **kwargs)  # type: ignore[misc]
        except Exception as error:
            frames = [f for f, _ in traceback.walk_tb(error.__traceback__)]
            mine = [f for f in frames if f.f_code.co_filename.startswith("<eval_with_key>")]
            if mine and frames[-1] is mine[-1]:
                line = mine[-1].f_lineno
                text = linecache.getline(mine[-1].f_code.co_filename, line).strip()
                sys.stderr.write(f"Call using an FX-traced Module, line {line} of its code: {text}\n")
            raise


class GraphModule(Module):
    """A module made from a graph and the module (or dictionary) in which its targets are found."""

    _own = True

    def __new__(cls, *args: Any, **kwargs: Any) -> GraphModule:
        base = next(c for c in cls.__mro__ if "_made_by_graph_module" not in c.__dict__)

        class GraphModuleImpl(base):  # type: ignore[misc,valid-type]
            """The class of one object, to which its forward belongs."""

            _made_by_graph_module = True

        return super().__new__(GraphModuleImpl)

    def __init__(self, root: Module | dict[str, Any], graph: Graph, class_name: str = "GraphModule"):
        super().__init__()
        self.__class__.__name__ = class_name
        targets = dict.fromkeys(n.target for n in graph.nodes if n.op in ("get_attr", "call_module"))
        if isinstance(root, Module):
            if hasattr(root, "training"):
                self.training = root.training
            for target in targets:
                if _has_attribute(root, target):
                    _copy_attr(root, self, target)
        elif isinstance(root, dict):
            for target in sorted(targets, key=lambda t: t.count(".")):
                if target not in root:
                    raise RuntimeError(
                        f"a node of the graph referenced target {target} but that target was not provided in `root`!"
                    )
                path = target.split(".")
                setattr(_parents(self, path), path[-1], root[target])
        else:
            raise RuntimeError(f"Unsupported type {root} passed for root!")
        self.graph = graph
        self._tracer_cls = graph._tracer_cls
        self._tracer_extras = graph._tracer_extras or {}
        self.meta: dict[str, Any] = {}

    @property
    def graph(self) -> Graph:
        """The graph; assigning one makes `forward` anew."""
        return self._graph

    @graph.setter
    def graph(self, g: Graph) -> None:
        if not isinstance(g, Graph):
            raise AssertionError(f"Expected a Graph instance, but got {type(g)}")
        self._graph = copy.deepcopy(g)
        self._graph._tracer_extras = g._tracer_extras
        self._graph.owning_module = self
        self.recompile()

    @property
    def code(self) -> str:
        """The Python source of `forward`."""
        if not hasattr(self, "_code"):
            raise RuntimeError("Code has not been generated! Please report a bug to PyTorch")
        return self._code

    def recompile(self) -> PythonCode:
        """Makes `forward` anew, after the graph was changed."""
        made = self._graph.python_code(root_module="self")
        self._code = made.src
        cls = type(self)
        cls.forward = _forward_from_src(made.src, made.globals)  # type: ignore[method-assign]
        if "_wrapped_call" not in vars(cls):
            wrapped = cls._wrapped_call = _WrappedCall(cls)  # type: ignore[attr-defined]

            def call(self: Any, *args: Any, **kwargs: Any) -> Any:
                return wrapped(self, *args, **kwargs)

            cls.__call__ = call  # type: ignore[method-assign]
        return made

    def _recompile_submodules(self) -> list[tuple[str, PythonCode]]:
        return [
            (name, m.recompile())
            for name, m in self.named_modules()
            if isinstance(m, GraphModule) and m is not self
        ]

    def add_submodule(self, target: str, m: Module) -> bool:
        """Puts a module at a path, making what is missing on the way; False if something else is in the way."""
        *prefix, field = target.split(".")
        owner: Module = self
        for name in prefix:
            following = getattr(owner, name, None)
            if following is None:
                following = Module()
                setattr(owner, name, following)
            if not isinstance(following, Module):
                return False
            owner = following
        owner.add_module(field, m)
        return True

    def delete_submodule(self, target: str) -> bool:
        """Removes the module at a path; False if there is none."""
        *prefix, field = target.split(".")
        owner: Any = self
        for name in prefix:
            owner = getattr(owner, name, None)
            if not isinstance(owner, Module):
                return False
        if not isinstance(getattr(owner, field, None), Module):
            return False
        delattr(owner, field)
        return True

    def delete_all_unused_submodules(self) -> None:
        """Removes the modules that no node calls or reads from."""
        used: set[str] = set()
        for node in self.graph.nodes:
            if node.op in ("call_module", "get_attr"):
                path = node.target.split(".")
                used.update(".".join(path[: i + 1]) for i in range(len(path)))
                if node.op == "call_module" and _has_attribute(self, node.target):
                    called = self.get_submodule(node.target)
                    used.update(f"{node.target}.{name}" for name, _ in called.named_modules() if name)
        for name in [name for name, _ in self.named_modules() if name and name not in used]:
            self.delete_submodule(name)

    def to_folder(self, folder: str | os.PathLike[str], module_name: str = "FxModule") -> None:
        """Writes the module to a folder as a package: the source, and what it holds as module.pt."""
        import flambeau

        place = Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        flambeau.save(self.state_dict(), place / "state_dict.pt")
        flambeau.save(dict(self.named_children()), place / "children.pt")
        held = {**self._parameters, **self._buffers}
        flambeau.save(held, place / "held.pt")
        forward = "\n".join("    " + line if line else line for line in self.code.strip("\n").split("\n"))
        text = (
            "from pathlib import Path\n\nimport torch\nfrom math import inf, nan\nfrom torch import device\n\n"
            f"_HERE = Path(__file__).parent\n\n\nclass {module_name}(torch.nn.Module):\n"
            "    def __init__(self):\n        super().__init__()\n"
            "        for table, file in ((self._modules, 'children.pt'), (None, 'held.pt')):\n"
            "            for name, value in torch.load(_HERE / file, weights_only=False).items():\n"
            "                if table is not None:\n                    table[name] = value\n"
            "                elif isinstance(value, torch.nn.Parameter):\n"
            "                    setattr(self, name, value)\n"
            "                else:\n                    self.register_buffer(name, value)\n"
            f"        self.load_state_dict(torch.load(_HERE / 'state_dict.pt'))\n\n{forward}\n"
        )
        (place / "module.py").write_text(text)
        (place / "__init__.py").write_text(f"from .module import {module_name} as {module_name}\n")

    def _remade(self, state: dict[str, Any]) -> GraphModule:
        """An object of the class that this one's was made from, with other attributes and this one's graph."""
        made = GraphModule.__new__(type(self).__mro__[1])
        made.__dict__.update(training=self.training)
        made.__setstate__(state)
        type(made).__name__ = "GraphModule"
        made.graph = self._graph
        return made

    def __copy__(self) -> GraphModule:
        state = {k: copy.copy(v) for k, v in self.__getstate__().items() if k not in _OF_THE_GRAPH}
        return self._remade(state)

    def __deepcopy__(self, memo: dict[int, Any]) -> GraphModule:
        state = {k: v for k, v in self.__getstate__().items() if k not in _OF_THE_GRAPH}
        made = self._remade(copy.deepcopy(state, memo))
        made._tracer_cls = self._tracer_cls
        memo[id(self)] = made
        return made

    def __reduce__(self) -> Any:
        state = {k: v for k, v in self.__getstate__().items() if k not in _OF_THE_GRAPH}
        tracer = self._tracer_cls if "<locals>" not in getattr(self._tracer_cls, "__qualname__", "") else None
        made = self._graph.python_code(root_module="self")
        needed = {n: v for n, v in made.globals.items() if n not in custom_builtins()}
        return reduce_graph_module, (state, made.src, needed, tracer)

    def print_readable(
        self,
        print_output: bool = True,
        include_stride: bool = False,
        include_device: bool = False,
        colored: bool = False,
        **options: Any,
    ) -> str:
        """The module as the source of a class, with those of the GraphModules in it; prints it too."""
        src = self._graph.python_code(root_module="self", verbose=True).src.lstrip("\n").rstrip(" ")
        head, _, body = f"class {type(self).__name__}(torch.nn.Module):", "", _indented(src)
        text = f"{head}\n{body}"
        for name, m in self.named_children():
            if isinstance(m, GraphModule):
                inner = m.print_readable(print_output=False)
                text += "\n" + _indented(inner.replace(f"class {type(m).__name__}", f"class {name}", 1))
        if print_output:
            sys.stdout.write(text + "\n")
        return text

    def __str__(self) -> str:
        hint = "\n# To see more debug info, please use `graph_module.print_readable()`"
        return f"{super().__str__()}\n{self._code}{hint}"


def _indented(text: str) -> str:
    return "\n".join("    " + line if line.strip() else line for line in text.split("\n"))


_OF_THE_GRAPH = ("_graph", "_code", "_tracer_cls")


class _Held(Module):
    """The root whose code is traced when a graph module is read from a file."""


def reduce_graph_module(state: dict[str, Any], src: str, needed: dict[str, Any], tracer_cls: Any) -> Module:
    """A graph module from what pickle keeps of it: its attributes, and its code, which is traced again."""
    from ._symbolic_trace import Tracer

    root = type("Root", (_Held,), {"forward": _forward_from_src(src, {**custom_builtins(), **needed})})()
    root.__setstate__(state)

    class KeepModules(tracer_cls or Tracer):  # type: ignore[misc]
        """Every module that the code calls is a leaf: what was traced into stands in the code already."""

        def is_leaf_module(self, m: Module, module_qualified_name: str) -> bool:
            return True

    graph = KeepModules().trace(root)
    graph._tracer_cls = tracer_cls
    made = GraphModule(root, graph)
    made.__setstate__({k: v for k, v in state.items() if k != "training"} | {"training": root.training})
    return made
