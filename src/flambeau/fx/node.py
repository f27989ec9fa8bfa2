"""torch.fx.node: one operation of a graph, and functions that go through its arguments."""

from __future__ import annotations

import builtins
import types
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from . import interception
from .immutable_collections import immutable_dict, immutable_list

if TYPE_CHECKING:
    from .graph import Graph

OPCODES = ("call_function", "call_method", "get_attr", "call_module", "placeholder", "output")
base_types = (str, int, float, bool, complex, types.NoneType, types.EllipsisType)
Argument = Any
Target = Any

_side_effectful_functions: set[Callable[..., Any]] = set()


def has_side_effect(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Calls of `fn` are kept by eliminate_dead_code, even if nobody reads the result."""
    _side_effectful_functions.add(fn)
    return fn


def map_aggregate(a: Any, fn: Callable[[Any], Any]) -> Any:
    """`fn` of every leaf of nested tuples, lists, dictionaries and slices, in the same structure."""
    if isinstance(a, tuple):
        made = [map_aggregate(v, fn) for v in a]
        return type(a)(*made) if hasattr(a, "_fields") else tuple(made)
    if isinstance(a, list):
        return immutable_list([map_aggregate(v, fn) for v in a])
    if isinstance(a, dict):
        return immutable_dict([(k, map_aggregate(v, fn)) for k, v in a.items()])
    if isinstance(a, slice):
        return slice(*[map_aggregate(v, fn) for v in (a.start, a.stop, a.step)])
    return fn(a)


def map_arg(a: Any, fn: Callable[[Node], Any]) -> Any:
    """`fn` of every node in an argument, and all else as it is."""
    return map_aggregate(a, lambda v: fn(v) if isinstance(v, Node) else v)


def _get_qualified_name(func: Callable[..., Any]) -> str:
    """The dotted name under which generated code finds a function."""
    if getattr(builtins, getattr(func, "__name__", ""), None) is func:
        return func.__name__
    name = interception.public_name(func)
    if name is not None:
        return name
    if isinstance(func, (types.MethodDescriptorType, types.WrapperDescriptorType)):
        return f"{func.__objclass__.__module__}.{func.__objclass__.__name__}.{func.__name__}"
    name = getattr(func, "__qualname__", None) or getattr(func, "__name__", type(func).__name__)
    if name == "<lambda>" or "<locals>" in name:
        name = "lambda" if "<lambda>" in name else name.rpartition(".")[2]
    module = getattr(func, "__module__", None) or ""
    if module == "flambeau" or module.startswith("flambeau."):
        module = "torch" + module[len("flambeau") :]
    return f"{'operator' if module == '_operator' else module}.{name}"


def _format_arg(arg: Any) -> str:
    """An argument as a graph's text shows it: nodes with a percent sign, strings without quotes."""
    if isinstance(arg, list):
        return f"[{', '.join(map(_format_arg, arg))}]"
    if isinstance(arg, tuple):
        inner = ", ".join(map(_format_arg, arg))
        return f"({inner},)" if len(arg) == 1 else f"({inner})"
    if isinstance(arg, dict):
        return "{" + ", ".join(f"{k}: {_format_arg(v)}" for k, v in arg.items()) + "}"
    return f"%{arg}" if isinstance(arg, Node) else str(arg)


def _type_repr(kind: Any) -> str:
    """A type as it stands in an annotation."""
    if isinstance(kind, type) and not isinstance(kind, types.GenericAlias):
        if kind.__module__ == "builtins":
            return kind.__qualname__
        module = kind.__module__
        if module == "flambeau" or module.startswith("flambeau."):
            from ..stream.value import Tensor

            module = "torch" if kind is Tensor else "torch" + module[len("flambeau") :]
        return f"{module}.{kind.__qualname__}"
    if kind is ...:
        return "..."
    return kind.__name__ if isinstance(kind, types.FunctionType) else repr(kind)


class Node:
    """One operation: op (placeholder, get_attr, call_function, call_method, call_module, output), target, arguments."""

    def __init__(
        self, graph: Graph, name: str, op: str, target: Any, args: Any, kwargs: Any, return_type: Any = None
    ):
        if op not in OPCODES:
            raise AssertionError(f"Node [graph = {graph}, name = '{name}'] has an unknown op: {op}")
        if op == "call_function":
            if not callable(target):
                raise ValueError(
                    f"Node [graph = {graph}, name = '{name}'] target {target} has type {type(target)} "
                    "but a Callable is expected"
                )
        elif not isinstance(target, str):
            raise ValueError(
                f"Node [graph = {graph}, name = '{name}'] target {target} has type {type(target)} but a str is expected"
            )
        self.graph = graph
        self.name = name
        self.op = op
        self.target = target
        self.type = return_type
        self.users: dict[Node, None] = {}
        self.meta: dict[str, Any] = {}
        self._input_nodes: dict[Node, None] = {}
        self._args: tuple[Any, ...] = ()
        self._kwargs: dict[str, Any] = {}
        self._prev = self._next = self
        self._erased = False
        self._repr_fn: Callable[[Node], str] | None = None
        self._update_args_kwargs(args, kwargs)

    @property
    def next(self) -> Node:
        """The node after this one."""
        return self._next

    @property
    def prev(self) -> Node:
        """The node before this one."""
        return self._prev

    def prepend(self, x: Node) -> None:
        """Moves x to the place before this node."""
        if self.graph is not x.graph:
            raise AssertionError("Attempting to move a Node into a different Graph")
        if self is x:
            return
        x._remove_from_list()
        before = self._prev
        before._next, x._prev = x, before
        x._next, self._prev = self, x

    def append(self, x: Node) -> None:
        """Moves x to the place after this node."""
        self._next.prepend(x)

    def _remove_from_list(self) -> None:
        self._prev._next, self._next._prev = self._next, self._prev

    @property
    def args(self) -> tuple[Any, ...]:
        """The positional arguments."""
        return self._args

    @args.setter
    def args(self, value: tuple[Any, ...]) -> None:
        self._update_args_kwargs(value, self._kwargs)

    @property
    def kwargs(self) -> dict[str, Any]:
        """The arguments by name."""
        return self._kwargs

    @kwargs.setter
    def kwargs(self, value: dict[str, Any]) -> None:
        self._update_args_kwargs(self._args, value)

    def _update_args_kwargs(self, args: Any, kwargs: Any) -> None:
        for n in self._input_nodes:
            n.users.pop(self, None)
        self._input_nodes = {}

        def use(n: Node) -> Node:
            self._input_nodes.setdefault(n)
            n.users.setdefault(self)
            return n

        self._args = map_arg(tuple(args), use)
        self._kwargs = map_arg(dict(kwargs), use)

    @property
    def all_input_nodes(self) -> list[Node]:
        """The nodes among the arguments, each once."""
        return list(self._input_nodes)

    def update_arg(self, idx: int, arg: Any) -> None:
        """Replaces the positional argument at `idx`."""
        args = list(self.args)
        args[idx] = arg
        self.args = tuple(args)

    def insert_arg(self, idx: int, arg: Any) -> None:
        """Inserts a positional argument before place `idx`."""
        if not 0 <= idx <= len(self.args):
            raise AssertionError("insert_args index must be between 0 and len(self.args)")
        self.args = (*self.args[:idx], arg, *self.args[idx:])

    def update_kwarg(self, key: str, arg: Any) -> None:
        """Replaces or adds the argument of that name."""
        self.kwargs = {**self.kwargs, key: arg}

    @property
    def stack_trace(self) -> str | None:
        """Where the node was recorded, if the tracer kept that."""
        return self.meta.get("stack_trace")

    @stack_trace.setter
    def stack_trace(self, trace: str | None) -> None:
        self.meta["stack_trace"] = trace

    def __repr__(self) -> str:
        return self._repr_fn(self) if self._repr_fn is not None else self.name

    def __reduce__(self) -> Any:
        raise TypeError("a torch.fx.Node is pickled with its Graph or GraphModule only")

    def __deepcopy__(self, memo: dict[int, Any]) -> Node:
        return memo.get(id(self), self)

    def _position(self) -> int:
        return next(i for i, n in enumerate(self.graph.nodes) if n is self)

    def __lt__(self, other: Node) -> bool:
        return self._position() < other._position()

    def __gt__(self, other: Node) -> bool:
        return self._position() > other._position()

    def __le__(self, other: Node) -> bool:
        return self is other or self < other

    def __ge__(self, other: Node) -> bool:
        return self is other or self > other

    @staticmethod
    def _pretty_print_target(target: Any) -> str:
        if isinstance(target, str):
            return target
        name = _get_qualified_name(target)
        return name if "." in name else f"builtins.{name}"

    def format_node(
        self, placeholder_names: list[str] | None = None, maybe_return_typename: list[str] | None = None
    ) -> str | None:
        """The node as a line of its graph's text; placeholders and the output's type go to the lists, if given."""
        head = f"%{self.name} :{f' {_type_repr(self.type)}' if self.type is not None else ''}"
        head += f" [num_users={len(self.users)}] = {self.op}"
        if self.op == "placeholder":
            if placeholder_names is not None:
                kind = f" : {_type_repr(self.type)}" if self.type is not None else ""
                placeholder_names.append(f"{self.target}{kind}")
            default = f"(default={self.args[0]})" if self.args else ""
            return f"{head}[target={self.target}]{default}"
        if self.op == "get_attr":
            return f"{head}[target={self.target}]"
        if self.op == "output":
            if self.type is not None and maybe_return_typename is not None:
                maybe_return_typename[0] = f" -> {_type_repr(self.type)}"
            return f"return {self.args[0]}"
        args, kwargs = _format_arg(self.args), _format_arg(self.kwargs)
        return f"{head}[target={self._pretty_print_target(self.target)}](args = {args}, kwargs = {kwargs})"

    def replace_all_uses_with(
        self,
        replace_with: Node,
        delete_user_cb: Callable[[Node], bool] | None = None,
        *,
        propagate_meta: bool = False,
    ) -> list[Node]:
        """Has every user of this node (for which the callback is true) read `replace_with`; returns those users."""
        if propagate_meta:
            if replace_with.meta:
                raise AssertionError("propagate_meta: the node that takes over has meta of its own")
            replace_with.meta.update(self.meta)
        changed = []
        for user in list(self.users):
            if delete_user_cb is None or delete_user_cb(user):
                changed.append(user)
                user.replace_input_with(self, replace_with)
        return changed

    def replace_input_with(self, old_input: Node, new_input: Node) -> None:
        """Reads `new_input` wherever `old_input` was read."""
        swap: Callable[[Node], Node] = lambda n: new_input if n is old_input else n
        self._update_args_kwargs(map_arg(self._args, swap), map_arg(self._kwargs, swap))

    def is_impure(self, impure_random: bool = True) -> bool:
        """Whether the node does more than to compute its result."""
        if self.op in ("placeholder", "output"):
            return True
        if self.op == "call_function":
            name = getattr(self.target, "__name__", "")
            random = impure_random and name in _RANDOM
            in_place = name.endswith("_") and not name.endswith("__")
            return (
                self.target in _side_effectful_functions
                or name in ("_assert", "setitem")
                or random
                or in_place
            )
        if self.op == "call_method":
            return self.target.endswith("_") and not self.target.endswith("__")
        if self.op == "call_module":
            owner = self.graph.owning_module
            if owner is None:
                raise AssertionError("self.graph.owning_module not set for purity check")
            target = owner.get_submodule(self.target)
            return bool(getattr(target, "_is_impure", False))
        return False

    def _rename(self, candidate: str) -> None:
        if candidate != self.name:
            self.name = self.graph._graph_namespace.create_name(candidate, self)


_RANDOM = (
    "bernoulli",
    "multinomial",
    "normal",
    "poisson",
    "rand",
    "rand_like",
    "randint",
    "randn",
    "randn_like",
)
