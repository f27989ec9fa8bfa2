"""torch.fx._symbolic_trace: runs a module or function with proxies and keeps what it does as a graph."""

from __future__ import annotations

import builtins
import collections
import contextlib
import inspect
import math
from collections.abc import Callable
from types import CodeType, FunctionType, ModuleType
from typing import Any

import flambeau

from ..nn import Module, Parameter, Sequential
from ..stream.value import Tensor
from .graph import Graph
from .graph_module import GraphModule
from .node import Argument, map_aggregate
from .proxy import ParameterProxy, Proxy, Scope, ScopeContextManager, TracerBase

_WRAPPED: dict[tuple[int, str], dict[str, Any]] = {}  # functions of a module's globals that are kept as calls
_TABLES = ("_parameters", "_buffers", "_modules")
_TRACING: list[Any] = []
PH: Any = type("PHBase", (), {"__repr__": lambda self: "PH"})()


def is_fx_tracing() -> bool:
    """Whether a module or function is being traced."""
    return bool(_TRACING)


def is_fx_symbolic_tracing() -> bool:
    """Whether a module or function is being traced."""
    return bool(_TRACING)


def wrap(fn_or_name: Any) -> Any:
    """Calls of a module-level function (or builtin, by name) are kept as they are; a decorator too."""
    if not callable(fn_or_name) and not isinstance(fn_or_name, str):
        raise RuntimeError("Unsupported type for global function! Must be either a callable or string name")
    if callable(fn_or_name):
        if isinstance(fn_or_name, str):
            raise AssertionError("wrap: a name or a function")
        name = fn_or_name.__code__.co_name if hasattr(fn_or_name, "__code__") else fn_or_name.__name__
    else:
        name = fn_or_name
    frame = inspect.currentframe()
    frame = frame.f_back if frame is not None else None
    if frame is None:
        raise AssertionError("wrap: no frame calls this")
    if frame.f_code.co_name != "<module>":
        raise NotImplementedError("wrap must be called at the top level of a module")
    _WRAPPED[id(frame.f_globals), name] = frame.f_globals
    return fn_or_name


class _Patcher:
    """Exchanges attributes and global names for the time of a trace."""

    def __init__(self, autowrapped: tuple[Any, ...]) -> None:
        self.undo: list[tuple[Any, str, Any, bool]] = []
        self.seen: set[int] = set()
        self.autowrapped = {id(f) for f in autowrapped}

    def method(self, cls: Any, name: str, new: Any) -> None:
        self.undo.append((cls, name, cls.__dict__.get(name), False))
        setattr(cls, name, new)

    def globals(self, scope: dict[str, Any]) -> None:
        """Exchanges the wrapped functions in the globals of code that is about to run."""
        if id(scope) in self.seen:
            return
        self.seen.add(id(scope))
        for (key, name), owner in _WRAPPED.items():
            if key != id(scope) or owner is not scope:
                continue
            was_there = name in scope
            original = scope[name] if was_there else getattr(builtins, name)
            self.undo.append((scope, name, original if was_there else None, True))
            scope[name] = _recorded(original)
        for name, value in list(scope.items()):
            if id(value) in self.autowrapped and name[0] != "_":
                self.undo.append((scope, name, value, True))
                scope[name] = _recorded(value)

    def __enter__(self) -> _Patcher:
        return self

    def __exit__(self, *error: object) -> None:
        for owner, name, value, is_scope in reversed(self.undo):
            if not is_scope:
                delattr(owner, name) if value is None else setattr(owner, name, value)
            elif value is None:
                owner.pop(name)
            else:
                owner[name] = value


def _find_proxy(*values: Any) -> Proxy | None:
    found: list[Proxy] = []
    map_aggregate(values, lambda v: found.append(v) if isinstance(v, Proxy) else None)
    return found[0] if found else None


def _recorded(original: Callable[..., Any]) -> Callable[..., Any]:
    """A function that is kept as a call if an argument is a proxy."""

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        proxy = _find_proxy(args, kwargs)
        if proxy is None:
            return original(*args, **kwargs)
        made = proxy.tracer.create_proxy("call_function", original, args, kwargs)
        made.node.meta["is_wrapped"] = True
        return made

    wrapped.__wrapped__ = original  # type: ignore[attr-defined]
    return wrapped


class Tracer(TracerBase):
    """Traces; subclasses say what is a leaf (is_leaf_module) and how calls, arguments and attributes are recorded."""

    def __init__(
        self,
        autowrap_modules: tuple[ModuleType, ...] = (math,),
        autowrap_functions: tuple[Callable[..., Any], ...] = (),
        param_shapes_constant: bool = False,
    ):
        self._autowrap_modules = tuple(autowrap_modules)
        self._autowrap_functions = tuple(autowrap_functions)
        for module in self._autowrap_modules:
            self._autowrap_functions += tuple(
                [f for n, f in vars(module).items() if callable(f) and n[0] != "_"]
            )
        self.param_shapes_constant = param_shapes_constant
        self.submodule_paths: dict[Module, str] | None = None
        self.root: Any = None
        self.root_module_name = ""
        self.scope = Scope("", None)
        self.module_stack: dict[str, Any] = collections.OrderedDict()
        self.num_calls: dict[str, int] = {}
        self.node_name_to_scope: dict[str, tuple[str, type]] = {}
        self.tensor_attrs: dict[Any, str] = {}
        self._counts: dict[str, int] = {}

    def get_fresh_qualname(self, prefix: str) -> str:
        """A name for an attribute of the root that is free."""
        i = self._counts.get(prefix, 0)
        while hasattr(self.root, f"{prefix}{i}"):
            i += 1
        self._counts[prefix] = i + 1
        return f"{prefix}{i}"

    def create_arg(self, a: Any) -> Argument:
        """As TracerBase's; parameters, buffers, other tensors and submodules become attributes of the root."""
        if isinstance(a, Parameter):
            for name, p in self.root.named_parameters():
                if a is p:
                    return self.create_node("get_attr", name, (), {})
            return self._attribute("_param_constant", a)
        if isinstance(a, Tensor):
            for name, b in self.root.named_buffers():
                if a is b:
                    return self.create_node("get_attr", name, (), {})
        if isinstance(a, tuple) and hasattr(a, "_fields"):
            args = tuple([self.create_arg(v) for v in a])
            return self.create_node("call_function", type(a), args, {})
        if isinstance(a, Tensor):
            known = self.tensor_attrs.get(a)
            if known is not None:
                return self.create_node("get_attr", known, (), {})
            return self._attribute("_tensor_constant", a)
        if isinstance(a, Module):
            with contextlib.suppress(NameError):
                return self.create_node("get_attr", self.path_of_module(a), (), {})
        return super().create_arg(a)

    def _attribute(self, prefix: str, value: Any) -> Any:
        name = self.get_fresh_qualname(prefix)
        self.tensor_attrs[value] = name
        setattr(self.root, name, value)
        return self.create_node("get_attr", name, (), {})

    def is_leaf_module(self, m: Module, module_qualified_name: str) -> bool:
        """Whether a call of the module is one node: so are those of torch.nn, but for Sequential."""
        home = type(m).__module__
        return home.startswith(("flambeau.nn", "torch.nn", "flambeau.ao.nn")) and not isinstance(
            m, Sequential
        )

    def path_of_module(self, mod: Module) -> str:
        """Where the root has a module."""
        if self.submodule_paths:
            path = self.submodule_paths.get(mod)
            if path is None:
                raise NameError("module is not installed as a submodule")
            return path
        for name, m in self.root.named_modules():
            if m is mod:
                return name
        raise NameError("module is not installed as a submodule")

    def call_module(
        self, m: Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """A module is called: a leaf becomes a node, of any other the forward is traced."""
        path = self.path_of_module(m)
        with ScopeContextManager(self.scope, Scope(path, type(m))):
            count = self.num_calls.get(path, 0)
            key = f"{self.root_module_name}.{path}" if path else self.root_module_name
            self.num_calls[path] = count + 1
            entry = f"{key}@{count}" if count else key
            self.module_stack[entry] = (path, type(m))
            try:
                if self.is_leaf_module(m, path):
                    return self.create_proxy("call_module", path, args, kwargs)
                return forward(*args, **kwargs)
            finally:
                self.module_stack.pop(entry, None)

    def create_node(self, *args: Any, **kwargs: Any) -> Any:
        """Inserts a node, and keeps in which module that was."""
        node = super().create_node(*args, **kwargs)
        self.node_name_to_scope[node.name] = (self.scope.module_path, self.scope.module_type)
        return node

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        """A module's attribute is read: a parameter becomes a node."""
        kinds = [(Parameter, self.root.named_parameters)]
        if self.proxy_buffer_attributes:
            kinds.append((Tensor, self.root.named_buffers))
        for kind, members in kinds:
            if isinstance(attr_val, kind):
                for name, value in members():
                    if attr_val is value:
                        if name not in parameter_proxy_cache:
                            factory = None
                            if self.param_shapes_constant:
                                factory = lambda node, n=name: ParameterProxy(self, node, n, attr_val)
                            parameter_proxy_cache[name] = self.create_proxy(
                                "get_attr", name, (), {}, proxy_factory_fn=factory
                            )
                        return parameter_proxy_cache[name]
        return attr_val

    def create_args_for_root(
        self, root_fn: Callable[..., Any], is_module: bool, concrete_args: Any = None
    ) -> tuple[Any, list[Any]]:
        """The function to call, and a proxy for each of its parameters."""
        fn = inspect.unwrap(root_fn)
        code = fn.__code__
        names = list(code.co_varnames[: code.co_argcount + code.co_kwonlyargcount])
        args: list[Any] = []
        if is_module:
            if not names:
                raise RuntimeError("``self`` argument cannot be part of *args expansion!")
            names.pop(0)
            args.append(self.root)
        if isinstance(concrete_args, tuple):
            if len(concrete_args) != len(names):
                raise RuntimeError(
                    f"concrete_args: {len(concrete_args)} given for {len(names)} parameters of the function"
                )
            concrete_args = dict(zip(names, concrete_args))
        signature = inspect.signature(fn)
        args.extend(self._proxy_placeholder(name, concrete_args, signature, fn) for name in names)
        count = code.co_argcount + code.co_kwonlyargcount
        rest = code.co_varnames[count:]
        if code.co_flags & inspect.CO_VARARGS:
            args.append(self._proxy_placeholder("*" + rest[0], concrete_args, signature, fn))
            rest = rest[1:]
        if code.co_flags & inspect.CO_VARKEYWORDS:
            args.append(self._proxy_placeholder("**" + rest[0], concrete_args, signature, fn))
        if code.co_kwonlyargcount or code.co_flags & (inspect.CO_VARARGS | inspect.CO_VARKEYWORDS):
            fn = _all_positional(fn)
        return fn, args

    def _proxy_placeholder(self, name: str, concrete_args: Any, sig: inspect.Signature, fn: Any) -> Any:
        if concrete_args is not None and name in concrete_args and concrete_args[name] is not PH:
            return self._concrete(name, concrete_args[name], sig)
        default: Any = ()
        if name[0] != "*":
            value = sig.parameters[name].default
            default = () if value is inspect.Parameter.empty else (value,)
        return self.create_proxy("placeholder", name, default, {}, type_expr=_annotation(fn, name))

    def _concrete(self, name: str, value: Any, sig: inspect.Signature) -> Any:
        """A parameter whose value is said: the graph takes it still, and asserts it."""
        default = sig.parameters[name].default
        out = self.create_proxy(
            "placeholder", f"{name}_1", () if default is inspect.Parameter.empty else (default,), {}
        )
        if isinstance(value, (bool, int, float, str)):
            flambeau._assert(
                out == value, f"{name} has been specialized to have value {value} but got another value"
            )
        elif value is None:
            args = (out, f"{name} has been specialized to have value None but got another value")
            self.create_proxy("call_function", _assert_is_none, args, {})
        else:
            import warnings

            warnings.warn(
                f"Was not able to add assertion to guarantee correct input {name} to specialized function.",
                stacklevel=2,
            )
        return value

    def trace(self, root: Module | Callable[..., Any], concrete_args: Any = None) -> Graph:
        """The graph of a module or function; `concrete_args`: values of parameters that are constants."""
        _TRACING.append(self)
        try:
            return self._trace(root, concrete_args)
        finally:
            _TRACING.pop()
            self.submodule_paths = None

    def _trace(self, root: Any, concrete_args: Any) -> Graph:
        if isinstance(root, Module):
            self.root = root
            self.submodule_paths = {m: name for name, m in root.named_modules()}
            self.root_module_name = type(root).__name__
            fn = getattr(type(root), self.traced_func_name)
        else:
            self.root, fn = Module(), root
        self.graph = Graph(tracer_cls=type(self))
        self.tensor_attrs = {}
        _collect(self.root, "", self.tensor_attrs)
        called, args = self.create_args_for_root(fn, isinstance(root, Module), concrete_args)
        cache: dict[str, Any] = {}
        with _Patcher(self._autowrap_functions) as patcher:
            self._patch(patcher, cache)
            patcher.globals(getattr(inspect.unwrap(fn), "__globals__", {}))
            for (_, _), scope in list(_WRAPPED.items()):
                patcher.globals(scope)
            result = called(*args)
            self.create_node(
                *("output", "output", (self.create_arg(result),), {}), type_expr=_annotation(called, "return")
            )
        return self.graph

    def _patch(self, patcher: _Patcher, cache: dict[str, Any]) -> None:
        call = Module.__call__

        def module_getattribute(mod: Any, attr: str) -> Any:
            value = object.__getattribute__(
                mod, attr
            )  # the tables of a module are mirrored in its attributes
            if isinstance(value, (Tensor, Module)) and any(attr in vars(mod).get(t, ()) for t in _TABLES):
                return self.getattr(attr, value, cache)
            return value

        def module_call(mod: Any, *args: Any, **kwargs: Any) -> Any:
            def forward(*args: Any, **kwargs: Any) -> Any:
                return call(mod, *args, **kwargs)

            patcher.globals(getattr(getattr(mod, "forward", mod), "__globals__", {}))
            return self.call_module(mod, forward, args, kwargs)

        patcher.method(Module, "__getattribute__", module_getattribute)
        patcher.method(Module, "__call__", module_call)
        for module in self._autowrap_modules:
            patcher.globals(vars(module))


def _collect(m: Module, path: str, found: dict[Any, str]) -> None:
    """The tensors that are plain attributes of a module and those in it, by their paths."""
    for name, value in vars(m).items():
        if isinstance(value, Tensor) and not any(name in vars(m).get(t, ()) for t in _TABLES):
            found[value] = path + name
    for name, child in m.named_children():
        _collect(child, f"{path}{name}.", found)


def _annotation(fn: Any, name: str) -> Any:
    """What a function says of a parameter; flambeau's own modules say it in words of their own, which mean nothing."""
    own = getattr(fn, "__module__", None) or ""
    return None if own.startswith("flambeau.") else getattr(fn, "__annotations__", {}).get(name)


def _assert_is_none(value: Any, message: str) -> None:
    if value is not None:
        raise AssertionError(message)


def _all_positional(fn: FunctionType) -> FunctionType:
    """The function with every parameter positional, those that take the rest included: each gets a proxy."""
    code = fn.__code__
    flags = code.co_flags & ~(inspect.CO_VARARGS | inspect.CO_VARKEYWORDS)
    count = code.co_argcount + code.co_kwonlyargcount
    count += bool(code.co_flags & inspect.CO_VARARGS) + bool(code.co_flags & inspect.CO_VARKEYWORDS)
    made: CodeType = code.replace(
        co_flags=flags, co_argcount=count, co_posonlyargcount=0, co_kwonlyargcount=0
    )
    return FunctionType(made, fn.__globals__, fn.__name__, fn.__defaults__, fn.__closure__)


def symbolic_trace(root: Module | Callable[..., Any], concrete_args: Any = None) -> GraphModule:
    """A GraphModule that does what the module or function does; `concrete_args`: parameters that are constants."""
    tracer = Tracer()
    graph = tracer.trace(root, concrete_args)
    name = type(root).__name__ if isinstance(root, Module) else getattr(root, "__name__", "function")
    return GraphModule(tracer.root, graph, name)
