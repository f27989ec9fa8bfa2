"""torch.fx.graph: a function as a list of nodes, and the Python code of it."""

from __future__ import annotations

import builtins
import copy
import keyword
import math
import re
import sys
from collections.abc import Callable, Iterator
from types import NoneType
from typing import TYPE_CHECKING, Any

from .interception import public_name
from .node import Argument, Node, map_arg
from .node import _get_qualified_name as _get_qualified_name
from .node import _type_repr as _type_repr
from .printing import CodeGen as CodeGen
from .printing import PythonCode as PythonCode
from .printing import inplace_methods as inplace_methods
from .printing import magic_methods as magic_methods
from .printing import reflectable_magic_methods as reflectable_magic_methods

if TYPE_CHECKING:
    from ..nn import Module

_EMPTY: Any = object()


def custom_builtins() -> dict[str, Any]:
    """The names that generated code may use without an import."""
    import flambeau

    return {
        **{"inf": math.inf, "nan": math.nan, "NoneType": NoneType, "torch": flambeau},
        "device": flambeau.device,
    }


_ILLEGAL = frozenset((*keyword.kwlist, *dir(builtins), "inf", "nan", "NoneType", "torch", "device"))


def _snake_case(s: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", s).lower()


class _Namespace:
    """The names that are taken, each by an object."""

    def __init__(self) -> None:
        self._obj_to_name: dict[Any, str] = {}
        self._used_names: set[str] = set()
        self._base_count: dict[str, int] = {}

    def create_name(self, candidate: str, obj: Any) -> str:
        """A name like `candidate` that is free, and no keyword or builtin but of that very object."""
        if obj is not None and obj in self._obj_to_name:
            return self._obj_to_name[obj]
        candidate = re.sub("[^0-9a-zA-Z_]+", "_", candidate) or "_unnamed"
        if candidate[0].isdigit():
            candidate = f"_{candidate}"
        base, count = candidate, self._base_count.get(candidate, 0)
        if candidate in self._used_names or self._illegal(candidate, obj):
            match = re.fullmatch(r"(.*)_(\d+)", candidate)
            if match is not None:
                base, count = match[1], int(match[2])
            else:
                count = max(count, 0)
            candidate = f"{base}_{count + 1}"
            count += 1
            while candidate in self._used_names or self._illegal(candidate, obj):
                count += 1
                candidate = f"{base}_{count}"
        self._used_names.add(candidate)
        self._base_count[base] = count
        if obj is not None:
            self._obj_to_name[obj] = candidate
        return candidate

    def _illegal(self, name: str, obj: Any) -> bool:
        if name not in _ILLEGAL:
            return False
        own = getattr(builtins, name, _EMPTY)
        if own is _EMPTY:
            own = custom_builtins().get(name, _EMPTY)
        return own is not obj

    def associate_name_with_obj(self, name: str, obj: Any) -> None:
        """Gives an object a name without a look at what is taken."""
        self._obj_to_name[obj] = name


class _node_list:
    """The nodes of a graph in order (`direction` "_prev": backwards); nodes may come and go while one goes through."""

    def __init__(self, graph: Graph, direction: str = "_next"):
        self.graph = graph
        self.direction = direction

    def __len__(self) -> int:
        return self.graph._len

    def __iter__(self) -> Iterator[Node]:
        node = getattr(self.graph._root, self.direction)
        while node is not self.graph._root:
            if not node._erased:
                yield node
            node = getattr(node, self.direction)

    def __reversed__(self) -> _node_list:
        return _node_list(self.graph, "_next" if self.direction == "_prev" else "_prev")


class _InsertPoint:
    def __init__(self, graph: Graph, insert: Callable[[Node], None]):
        self.graph = graph
        self.before, graph._insert = graph._insert, insert

    def __enter__(self) -> None:
        pass

    def __exit__(self, *error: object) -> None:
        self.graph._insert = self.before


class Graph:
    """Nodes in order: placeholders, operations, and an output."""

    def __init__(
        self, owning_module: Module | None = None, tracer_cls: Any = None, tracer_extras: dict | None = None
    ):
        self._root = Node(self, "", "output", "", (), {})
        self._insert: Callable[[Node], None] = self._root.prepend
        self._len = 0
        self._graph_namespace = _Namespace()
        self._owning_module = owning_module
        self._tracer_cls = tracer_cls
        self._tracer_extras = tracer_extras
        self._codegen = CodeGen()

    @property
    def owning_module(self) -> Module | None:
        """The GraphModule whose graph this is."""
        return self._owning_module

    @owning_module.setter
    def owning_module(self, module: Module | None) -> None:
        self._owning_module = module

    @property
    def nodes(self) -> _node_list:
        """The nodes in order."""
        return _node_list(self)

    def output_node(self) -> Node:
        """The node of the result."""
        return next(n for n in reversed(self.nodes) if n.op == "output")

    def find_nodes(self, *, op: str, target: Any = None, sort: bool = True) -> list[Node]:
        """The nodes with that op (and target), in order."""
        if op == "call_function" and target is None:
            raise AssertionError("find_nodes: call_function needs a target")
        return [n for n in self.nodes if n.op == op and (target is None or n.target == target)]

    def graph_copy(
        self, g: Graph, val_map: dict[Node, Node], return_output_node: bool = False
    ) -> Argument | None:
        """Appends copies of the nodes of `g` that `val_map` lacks; returns what its output becomes."""
        for node in g.nodes:
            if node in val_map:
                continue
            if node.op == "output":
                result = map_arg(node.args[0], val_map.__getitem__)
                return (result, node) if return_output_node else result
            val_map[node] = self.node_copy(node, val_map.__getitem__)
        return None

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Graph:
        memo = {} if memo is None else memo
        g = type(self)(tracer_cls=self._tracer_cls)
        memo[id(self)] = g
        copies: dict[Node, Node] = {}
        result = g.graph_copy(self, copies, return_output_node=True)
        memo.update({id(old): new for old, new in copies.items()})
        g._codegen = copy.deepcopy(self._codegen)
        if result is not None:
            value, old = result
            g.output(value, type_expr=old.type).meta = copy.copy(old.meta)
        return g

    def create_node(
        self,
        op: str,
        target: Any,
        args: tuple[Argument, ...] | None = None,
        kwargs: dict[str, Argument] | None = None,
        name: str | None = None,
        type_expr: Any = None,
    ) -> Node:
        """Inserts a node at the place of insertion (the end, if nothing else was said)."""
        args, kwargs = () if args is None else args, {} if kwargs is None else kwargs
        if not isinstance(args, (tuple, list)) or not isinstance(kwargs, dict):
            raise AssertionError(
                f"create_node: args a tuple and kwargs a dict; got {type(args)} and {type(kwargs)}"
            )
        free = self._graph_namespace.create_name(name or self._target_to_str(target), None)
        node = Node(self, free, op, target, tuple(args), kwargs, type_expr)
        self._graph_namespace.associate_name_with_obj(free, node)
        self._insert(node)
        self._len += 1
        return node

    def _target_to_str(self, target: Any) -> str:
        if callable(target):
            name = (public_name(target) or target.__name__).rpartition(".")[2]
            return _snake_case(name.strip("_") if name.endswith("__") else name)
        name = target
        if name.startswith("__") and name.endswith("__"):
            name = name[2:-2]
        return _snake_case(name)

    def erase_node(self, to_erase: Node) -> None:
        """Removes a node that nobody uses."""
        if to_erase.users:
            raise RuntimeError(
                f"Tried to erase Node {to_erase} but it still had {len(to_erase.users)} users in the graph: "
                f"{to_erase.users}!"
            )
        if to_erase.graph is not self:
            raise RuntimeError(f"Attempting to remove {to_erase} from wrong graph!")
        if to_erase._erased:
            return
        to_erase._remove_from_list()
        to_erase._erased = True
        self._len -= 1
        to_erase._update_args_kwargs((), {})

    def inserting_before(self, n: Node | None = None) -> _InsertPoint:
        """A context in which nodes are inserted before `n` (None: at the beginning); called plainly, from now on."""
        if n is None:
            return self.inserting_after(self._root)
        self._check_mine(n)
        return _InsertPoint(self, n.prepend)

    def inserting_after(self, n: Node | None = None) -> _InsertPoint:
        """A context in which nodes are inserted after `n` (None: at the end)."""
        if n is None:
            return self.inserting_before(self._root)
        self._check_mine(n)
        last = [n]

        def insert(made: Node) -> None:
            last[0].append(made)
            last[0] = made

        return _InsertPoint(self, insert)

    def _check_mine(self, n: Node) -> None:
        if n.graph is not self:
            raise AssertionError("Node to insert at is not in graph.")

    def placeholder(self, name: str, type_expr: Any = None, default_value: Any = _EMPTY) -> Node:
        """A parameter of the function; `*name` and `**name` take the rest."""
        args = () if default_value is _EMPTY or default_value is _no_default() else (default_value,)
        return self.create_node("placeholder", name, args=args, type_expr=type_expr)

    def get_attr(self, qualified_name: str, type_expr: Any = None) -> Node:
        """Reads a parameter, buffer or other attribute of the module."""
        owner = self.owning_module
        if owner is not None and not _has_attribute(owner, qualified_name):
            import warnings

            warnings.warn(
                f"get_attr: the owning GraphModule has no '{qualified_name}'; add it before the code is run",
                stacklevel=2,
            )
        return self.create_node("get_attr", qualified_name, type_expr=type_expr)

    def call_module(
        self, module_name: str, args: Any = None, kwargs: Any = None, type_expr: Any = None
    ) -> Node:
        """Calls a submodule."""
        if self.owning_module is not None and not _has_attribute(self.owning_module, module_name):
            import warnings

            warnings.warn(
                f"call_module: the owning GraphModule has no '{module_name}'; add it before the code is run",
                stacklevel=2,
            )
        return self.create_node("call_module", module_name, args, kwargs, type_expr=type_expr)

    def call_method(
        self, method_name: str, args: Any = None, kwargs: Any = None, type_expr: Any = None
    ) -> Node:
        """Calls a method of the first argument."""
        return self.create_node("call_method", method_name, args, kwargs, type_expr=type_expr)

    def call_function(
        self,
        the_function: Callable[..., Any],
        args: Any = None,
        kwargs: Any = None,
        type_expr: Any = None,
        name: str | None = None,
    ) -> Node:
        """Calls a function."""
        return self.create_node("call_function", the_function, args, kwargs, name, type_expr)

    def node_copy(self, node: Node, arg_transform: Callable[[Node], Argument] = lambda x: x) -> Node:
        """Inserts a copy of a node of another graph; `arg_transform` says what its arguments are here."""
        args, kwargs = map_arg(node.args, arg_transform), map_arg(node.kwargs, arg_transform)
        made = self.create_node(node.op, node.target, args, kwargs, node.name, node.type)
        made.meta = copy.copy(node.meta)
        return made

    def output(self, result: Argument, type_expr: Any = None) -> Node:
        """What the function returns."""
        return self.create_node("output", "output", args=(result,), type_expr=type_expr)

    def process_inputs(self, *args: Any) -> Any:
        """The placeholders' values from what the function is called with."""
        return self._codegen.process_inputs(*args)

    def process_outputs(self, out: Any) -> Any:
        """What the function returns from the output's value."""
        return self._codegen.process_outputs(out)

    def set_codegen(self, codegen: CodeGen) -> None:
        """Has another object write the code."""
        self._codegen = codegen

    def python_code(self, root_module: str, *, verbose: bool = False, **options: Any) -> PythonCode:
        """The function as Python source, in which the module is called `root_module`."""
        namespace = _Namespace()
        reprs = {node: node._repr_fn for node in self.nodes}
        for node in self.nodes:
            node._repr_fn = lambda n: namespace.create_name(n.name, n)
        try:
            return self._codegen._gen_python_code(self.nodes, root_module, namespace, verbose=verbose)
        finally:
            for node, before in reprs.items():
                node._repr_fn = before

    def __str__(self) -> str:
        result = [""]
        lines = [n.format_node([], result) for n in self.nodes]
        return f"graph(){result[0]}:" + "".join("\n    " + line for line in lines if line is not None)

    def print_tabular(self) -> None:
        """Prints a table of the nodes."""
        rows = [("opcode", "name", "target", "args", "kwargs")]
        rows += [(n.op, n.name, str(n.target), str(n.args), str(n.kwargs)) for n in self.nodes]
        widths = [max(len(row[i]) for row in rows) for i in range(5)]
        rows.insert(1, tuple(["-" * w for w in widths]))  # type: ignore[arg-type]
        table = "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths)).rstrip() for row in rows)
        sys.stdout.write(table + "\n")

    def lint(self) -> None:
        """Raises RuntimeError if a node is used before it is made, names come twice, or a target is not there."""
        names: set[str] = set()
        seen: set[Node] = set()
        for node in self.nodes:
            if node.graph is not self:
                raise RuntimeError(f"Node '{node}' does not belong to this Graph!")
            for used in node._input_nodes:
                if used.graph is not self:
                    raise RuntimeError(f"Argument '{used}' of Node '{node}' does not belong to this Graph")
                if used not in seen:
                    raise RuntimeError(
                        f"Argument '{used}' of Node '{node}' was used before it has been defined!"
                    )
            if node.name in names:
                raise RuntimeError(f"Node redefined name {node.name}!")
            seen.add(node)
            names.add(node.name)
            owner = self.owning_module
            named = owner is not None and node.op in ("get_attr", "call_module")
            if named and not _has_attribute(owner, node.target):
                raise RuntimeError(f"Node {node} target {node.target} references nonexistent attribute")

    def eliminate_dead_code(self, is_impure_node: Callable[[Node], bool] | None = None) -> bool:
        """Removes what nobody uses and does nothing but compute; returns whether there was any."""
        self.lint()
        impure = is_impure_node or Node.is_impure
        before = self._len
        for node in reversed(self.nodes):
            if not node.users and not impure(node):
                self.erase_node(node)
        return self._len < before


def _no_default() -> Any:
    import inspect

    return inspect.Signature.empty


def _has_attribute(module: Any, path: str) -> bool:
    for name in path.split("."):
        if not hasattr(module, name):
            return False
        module = getattr(module, name)
    return True
