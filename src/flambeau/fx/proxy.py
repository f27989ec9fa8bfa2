"""torch.fx.proxy: values that record what is done with them as nodes of a graph."""

from __future__ import annotations

import dis
import inspect
import operator
from collections.abc import Callable, Iterator
from typing import Any

from ..ops.modes import disabled
from ..shapes import Size
from ..stream.value import Tensor
from . import interception
from .graph import Graph, magic_methods, reflectable_magic_methods
from .node import Node, base_types, map_aggregate


class TraceError(ValueError):
    """What a program does with a value cannot be recorded, because it depends on the value."""


class Scope:
    """The module being called: its path and its class."""

    def __init__(self, module_path: str, module_type: Any):
        self.module_path = module_path
        self.module_type = module_type


class ScopeContextManager:
    """Within it, a scope describes another module."""

    def __init__(self, scope: Scope, current_scope: Scope):
        self._scope = scope
        self._before = Scope(scope.module_path, scope.module_type)
        scope.module_path, scope.module_type = current_scope.module_path, current_scope.module_type

    def __enter__(self) -> Scope:
        return self._scope

    def __exit__(self, *error: object) -> None:
        self._scope.module_path, self._scope.module_type = self._before.module_path, self._before.module_type


class TracerBase:
    """What makes nodes and proxies, and says what a proxy is when Python asks for a value."""

    graph: Graph
    record_stack_traces = False
    check_mutable_operations = False
    trace_asserts = False
    proxy_buffer_attributes = False
    traced_func_name = "forward"
    scope: Scope

    def create_node(
        self,
        kind: str,
        target: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        name: str | None = None,
        type_expr: Any = None,
    ) -> Node:
        """Inserts a node into the graph."""
        node = self.graph.create_node(kind, target, args, kwargs, name, type_expr)
        stack = getattr(self, "module_stack", None)
        if stack:
            node.meta["nn_module_stack"] = dict(stack)
        if self.record_stack_traces:
            node.stack_trace = _users_stack()
        return node

    def proxy(self, node: Node) -> Proxy:
        """The proxy of a node."""
        return Proxy(node, self)

    def create_proxy(
        self,
        kind: str,
        target: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        name: str | None = None,
        type_expr: Any = None,
        proxy_factory_fn: Callable[[Node], Proxy] | None = None,
    ) -> Any:
        """Inserts a node whose arguments may be proxies, and returns its proxy."""
        with disabled(all_modes=True):
            given, named = self.create_arg(tuple(args)), self.create_arg(dict(kwargs))
            node = self.create_node(kind, target, given, named, name, type_expr)
            return proxy_factory_fn(node) if proxy_factory_fn is not None else self.proxy(node)

    def create_arg(self, a: Any) -> Any:
        """A value as the argument of a node: proxies become their nodes."""
        if isinstance(a, Proxy):
            return a.node
        if hasattr(a, "__fx_create_arg__"):
            return a.__fx_create_arg__(self)
        if isinstance(a, tuple):
            made = [self.create_arg(v) for v in a]
            return type(a)(*made) if hasattr(a, "_fields") else tuple(made)
        if isinstance(a, list):
            return [self.create_arg(v) for v in a]
        if isinstance(a, dict):
            return {self._key(k): self.create_arg(v) for k, v in a.items()}
        if isinstance(a, slice):
            return slice(*[self.create_arg(v) for v in (a.start, a.stop, a.step)])
        if isinstance(a, range):
            return range(*[self.create_arg(v) for v in (a.start, a.stop, a.step)])
        if isinstance(a, (*base_types, *_constants())) or a is ...:
            return a
        if isinstance(a, type) or inspect.isfunction(a):
            return a
        raise NotImplementedError(f"argument of type: {type(a)}")

    def _key(self, key: Any) -> Any:
        def refuse(node: Any) -> Any:
            if isinstance(node, Node):
                raise RuntimeError(
                    f"Keys for dictionaries used as an argument cannot contain a Node. Got key: {key}"
                )
            return node

        return map_aggregate(self.create_arg(key), refuse)

    def to_bool(self, obj: Proxy) -> bool:
        """What `bool` of a proxy is: it is not known."""
        raise TraceError("symbolically traced variables cannot be used as inputs to control flow" + _where())

    def iter(self, obj: Proxy) -> Iterator[Any]:
        """What a loop over a proxy goes through: known only where the program says how many there are."""
        count = _unpacked()
        if count is not None:
            return (obj[i] for i in range(count))
        raise TraceError(
            "Proxy object cannot be iterated. This can be attempted when the Proxy is used in a loop or as a *args or "
            "**kwargs function argument: how often depends on the value, which a trace does not have"
            + _where()
        )

    def keys(self, obj: Proxy) -> Any:
        """What `**proxy` asks for."""
        return Attribute(obj, "keys")()


class GraphAppendingTracer(TracerBase):
    """Appends what is done with proxies to a graph."""

    def __init__(self, graph: Graph):
        self.graph = graph
        self.scope = Scope("", None)
        self.module_stack: dict[str, Any] = {}


def _constants() -> tuple[type, ...]:
    import flambeau

    return (flambeau.dtype, Tensor, flambeau.device, flambeau.memory_format, flambeau.layout, Size)


def _users_frame() -> Any:
    frame = inspect.currentframe()
    while frame is not None and frame.f_globals.get("__name__", "").startswith("flambeau.fx"):
        frame = frame.f_back
    return frame


def _where() -> str:
    frame = _users_frame()
    return f" (at {frame.f_code.co_filename}:{frame.f_lineno})" if frame is not None else ""


def _users_stack() -> str:
    import traceback

    return "".join(traceback.format_stack(_users_frame()))


def _unpacked() -> int | None:
    """How many values the instruction that the user's frame is at unpacks its operand into."""
    frame = _users_frame()
    if frame is None:
        return None
    found = [i for i in dis.get_instructions(frame.f_code) if i.offset <= frame.f_lasti]
    return found[-1].argval if found and found[-1].opname == "UNPACK_SEQUENCE" else None


class Proxy:
    """Stands for the value of a node: operators, methods, attributes and public functions become nodes."""

    def __init__(self, node: Node, tracer: TracerBase | None = None):
        self.tracer = tracer if tracer is not None else GraphAppendingTracer(node.graph)
        self.node = node
        self._watched = interception.WATCH.begin()

    def __repr__(self) -> str:
        return f"Proxy({self.node.name})"

    def __getattr__(self, k: str) -> Any:
        if k in ("node", "tracer") or (
            k[:2] == "__" and k[-2:] == "__"
        ):  # not made yet, or a protocol it lacks
            raise AttributeError(k)
        return Attribute(self, k)

    def __deepcopy__(self, memo: dict[int, Any]) -> Proxy:
        import copy

        made = Proxy.__new__(type(self))
        made.__dict__.update(
            {k: v if k == "_watched" else copy.deepcopy(v, memo) for k, v in vars(self).items()}
        )
        return made

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.tracer.create_proxy("call_method", "__call__", (self, *args), kwargs)

    def __iter__(self) -> Iterator[Any]:
        return self.tracer.iter(self)

    def __bool__(self) -> bool:
        return self.tracer.to_bool(self)

    def __abs__(self) -> Any:
        return self.tracer.create_proxy("call_function", abs, (self,), {})

    def __len__(self) -> int:
        raise RuntimeError(
            "'len' is not supported in symbolic tracing by default. If you want this call to be recorded, please call "
            "torch.fx.wrap('len') at module scope"
        )

    def keys(self) -> Any:
        """What `**proxy` asks for."""
        return self.tracer.keys(self)

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        tracer = _tracer_of(args, kwargs)
        if args and isinstance(args[0], Tensor):  # PyTorch's methods are not its functions
            name = interception.method_name(func)
            if name is not None:
                return tracer.create_proxy("call_method", name, args, kwargs)
        return tracer.create_proxy("call_function", func, args, kwargs)


def _tracer_of(*values: Any) -> TracerBase:
    found: dict[Any, None] = {}

    def look(v: Any) -> Any:
        if isinstance(v, Proxy):
            found.setdefault(v.tracer)
        return v

    map_aggregate(values, look)
    if len(found) > 1:
        raise RuntimeError(f"Found multiple different tracers {list(found)} while trying to trace operations")
    return next(iter(found))


class Attribute(Proxy):
    """An attribute of a proxy: a call is a call of the method, anything else reads the attribute."""

    def __init__(self, root: Proxy, attr: str):
        self.root = root
        self.attr = attr
        self.tracer = root.tracer
        self._node: Node | None = None
        self._watched = root._watched

    @property
    def node(self) -> Node:  # type: ignore[override]
        """The node that reads the attribute, made when it is first wanted."""
        if self._node is None:
            made = self.tracer.create_proxy("call_function", getattr, (self.root, self.attr), {})
            self._node = made.node
        return self._node

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.tracer.create_proxy("call_method", self.attr, (self.root, *args), kwargs)


class ParameterProxy(Proxy):
    """The proxy of a parameter whose shape is read as a constant."""

    def __init__(self, tracer: TracerBase, node: Node, name: str, param: Any):
        super().__init__(node, tracer)
        if not isinstance(param, Tensor):
            raise AssertionError(f"a ParameterProxy stands for a tensor; got {type(param)}")
        self.param = param
        self.name = name

    def __repr__(self) -> str:
        return f"ParameterProxy({self.name})"

    @property
    def shape(self) -> Any:
        """The shape of the parameter."""
        return self.param.shape

    def size(self, dim: int | None = None) -> Any:
        """The shape of the parameter, or one extent."""
        return self.param.size() if dim is None else self.param.size(dim)

    def dim(self) -> int:
        """The number of the parameter's dimensions."""
        return self.param.dim()

    @property
    def ndim(self) -> int:
        """The number of the parameter's dimensions."""
        return self.param.ndim

    def numel(self) -> int:
        """The number of the parameter's elements."""
        return self.param.numel()

    def nelement(self) -> int:
        """The number of the parameter's elements."""
        return self.param.nelement()


def _operator(name: str, reflected: bool) -> Callable[..., Any]:
    target = getattr(operator, name)

    def method(*args: Any, **kwargs: Any) -> Any:
        tracer = args[0].tracer
        if reflected:
            return tracer.create_proxy("call_function", target, (args[1], args[0]), {})
        return tracer.create_proxy("call_function", target, args, kwargs)

    return method


def _install() -> None:
    for name in magic_methods:
        bare = name.strip("_")
        setattr(Proxy, f"__{bare}__", _operator(name, False))
    for name in reflectable_magic_methods:
        setattr(Proxy, f"__r{name.strip('_')}__", _operator(name, True))


_install()
