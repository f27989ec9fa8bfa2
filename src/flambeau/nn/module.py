"""`Module`, the base of every network: named parameters, buffers and children, and the call that runs `forward`."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import flambeau as torch

from ..autograd.handles import EDITS
from ..stream.boundary import end_of_call
from ..stream.value import LOCAL
from .conversion import Conversion
from .hooks import (
    CALL_TABLES,
    TABLES,
    GlobalHooks,
    RemovableHandle,
    add_hook,
    announce,
    backward_hooks,
    call_with_hooks,
)
from .parameter import Buffer, Parameter, Tensor
from .registry import Registry
from .state import _EXTRA_STATE_KEY_SUFFIX as _EXTRA_STATE_KEY_SUFFIX
from .state import StateDict
from .state import _IncompatibleKeys as _IncompatibleKeys

_REGISTRIES = ("_parameters", "_buffers", "_modules")
_SPECIAL = frozenset((*_REGISTRIES, "__dict__", *CALL_TABLES))


def typename(value: Any) -> str:
    """How an object's type is called in messages: `torch.FloatTensor`, `int`, `package.Class`."""
    if isinstance(value, torch.Tensor):
        return value.type()
    kind = value if isinstance(value, type) else type(value)
    module = kind.__module__
    return (
        kind.__qualname__ if module in ("builtins", "__builtin__", None) else f"{module}.{kind.__qualname__}"
    )


class Module(StateDict, Conversion):
    """Base class of all networks: assign parameters, buffers and other modules to attributes, write `forward`."""

    T_destination = TypeVar("T_destination", bound=dict[str, Any])
    call_super_init: bool = False
    training: bool
    # One flag for "some hook, of this module or of all modules, may have to run": see hooks.py.
    _hooked = False
    _is_full_backward_hook: bool | None = None
    _compiled_call_impl: Any = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if not self.call_super_init and (args or kwargs):
            name = type(self).__name__
            if kwargs:
                raise TypeError(
                    f"{name}.__init__() got an unexpected keyword argument '{next(iter(kwargs))}'"
                )
            raise TypeError(f"{name}.__init__() takes 1 positional argument but {len(args) + 1} were given")
        attributes = self.__dict__
        attributes["training"] = True
        attributes["_parameters"] = Registry(self)
        attributes["_buffers"] = Registry(self)
        attributes["_non_persistent_buffers_set"] = set()
        attributes["_modules"] = Registry(self)
        if self.call_super_init:
            super().__init__(*args, **kwargs)

    # The call

    def forward(self, *input: Any) -> Any:
        """What the module computes; every subclass defines it."""
        raise NotImplementedError(
            f'Module [{type(self).__name__}] is missing the required "forward" function'
        )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        result = self._call_impl(*args, **kwargs) if self._hooked else self.forward(*args, **kwargs)
        if not LOCAL.s.grad:
            end_of_call(LOCAL.s, _CALLS)
        return result

    def _call_impl(self, *args: Any, **kwargs: Any) -> Any:
        if self._compiled_call_impl is not None:
            return self._compiled_call_impl(*args, **kwargs)
        return call_with_hooks(self, args, kwargs)

    _wrapped_call_impl = _call_impl

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Makes later calls go through `torch.compile(self.forward)`."""
        self._compiled_call_impl = torch.compile(lambda *a, **k: call_with_hooks(self, a, k), *args, **kwargs)
        self._hooked = True

    # Attributes

    def __getattr__(self, name: str) -> Any:
        attributes = self.__dict__
        for registry in _REGISTRIES:
            table = attributes.get(registry)
            if table is not None and name in table:
                return table[name]
        if name in TABLES:
            if name in CALL_TABLES:
                attributes["_hooked"] = True
            return attributes.setdefault(name, OrderedDict())
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")

    def __setattr__(self, name: str, value: Any) -> None:
        EDITS[0] += 1
        attributes = self.__dict__
        params = attributes.get("_parameters")
        if isinstance(value, Tensor):
            if isinstance(value, Parameter):
                self._forget(name, "_parameters")
                if params is None:
                    raise AttributeError("cannot assign parameters before Module.__init__() call")
                return self.register_parameter(name, value)
        elif isinstance(value, Module):
            modules = attributes.get("_modules")
            if params is not None and name in params:
                raise TypeError(_refused(value, name, "parameter", "torch.nn.Parameter"))
            if modules is None:
                raise AttributeError("cannot assign module before Module.__init__() call")
            self._forget(name, "_modules")
            modules[name] = announce(GlobalHooks.on_module, self, name, value)
            return None
        if params is not None:
            if name in params:
                if value is not None:
                    raise TypeError(_refused(value, name, "parameter", "torch.nn.Parameter"))
                return self.register_parameter(name, None)
            modules = attributes["_modules"]
            if name in modules:
                if value is not None:
                    raise TypeError(_refused(value, name, "child module", "torch.nn.Module"))
                modules[name] = announce(GlobalHooks.on_module, self, name, None)
                return None
            if name in attributes["_buffers"] or isinstance(value, Buffer):
                return self._set_buffer(name, value)
        object.__setattr__(self, name, value)
        if name in _SPECIAL:
            self._adopt_tables(name)
        return None

    def _set_buffer(self, name: str, value: Any) -> None:
        if value is not None and not isinstance(value, Tensor):
            raise TypeError(_refused(value, name, "buffer", "torch.nn.Buffer, torch.Tensor"))
        persistent = name not in self._non_persistent_buffers_set
        if isinstance(value, Buffer):
            persistent = value.persistent
        if type(self).register_buffer is Module.register_buffer:
            self.register_buffer(name, value, persistent)
        else:
            self._buffers[name] = announce(GlobalHooks.on_buffer, self, name, value)

    def _forget(self, name: str, keep: str) -> None:
        """Removes `name` from the plain attributes and from every table but `keep`."""
        attributes = self.__dict__
        attributes.pop(name, None)
        for registry in _REGISTRIES:
            if registry != keep and name in attributes.get(registry, ()):
                del attributes[registry][name]
        attributes.get("_non_persistent_buffers_set", set()).discard(name)

    def _adopt_tables(self, name: str) -> None:
        """After a table (or all of `__dict__`) was replaced from outside: mirrors and the hook flag follow."""
        attributes = self.__dict__
        if name in CALL_TABLES:
            attributes["_hooked"] = True
            return
        for registry in _REGISTRIES if name == "__dict__" else (name,):
            table = attributes.get(registry)
            if table is not None and not (isinstance(table, Registry) and table._owner() is self):
                attributes[registry] = Registry(self, table)

    def __delattr__(self, name: str) -> None:
        EDITS[0] += 1
        for registry in _REGISTRIES:
            table = self.__dict__.get(registry, ())
            if name in table:
                del table[name]
                self._non_persistent_buffers_set.discard(name)
                return
        object.__delattr__(self, name)

    def __dir__(self) -> list[str]:
        names = {*dir(type(self)), *self.__dict__, *self._parameters, *self._modules, *self._buffers, *TABLES}
        return sorted(name for name in names if not name[:1].isdigit())

    def __getstate__(self) -> dict[str, Any]:
        attributes = self.__dict__
        mirrored = {n for r in _REGISTRIES for n in attributes.get(r, ())}
        state = {k: v for k, v in attributes.items() if k not in mirrored and k != "_hooked"}
        for table in ("_backward_hooks", "_forward_hooks"):
            state.setdefault(table, OrderedDict())
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        attributes = self.__dict__
        attributes.update((k, v) for k, v in state.items() if k not in TABLES or v)
        if not CALL_TABLES.isdisjoint(attributes):
            attributes["_hooked"] = True
        attributes.setdefault("_non_persistent_buffers_set", set())
        for registry in _REGISTRIES:
            if registry in attributes:
                attributes[registry] = Registry(self, attributes[registry])

    # Registration

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Adds a parameter (or None, to reserve the name) that is also the attribute `name`."""
        if "_parameters" not in self.__dict__:
            raise AttributeError("cannot assign parameter before Module.__init__() call")
        self._check_name("parameter", name, "_parameters")
        if param is not None:
            if not isinstance(param, Parameter):
                raise TypeError(
                    f"cannot assign '{typename(param)}' object to parameter '{name}' (torch.nn.Parameter or "
                    "None required)"
                )
            if param.grad_fn is not None:
                raise ValueError(
                    f"Cannot assign non-leaf Tensor to parameter '{name}'. Model parameters must be created "
                    f"explicitly. To express '{name}' as a function of another Tensor, compute the value in the "
                    "forward() method."
                )
            param = announce(GlobalHooks.on_parameter, self, name, param)
        self._parameters[name] = param

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Adds a tensor that is state but not trained; `persistent=False` keeps it out of `state_dict`."""
        if "_buffers" not in self.__dict__:
            raise AttributeError("cannot assign buffer before Module.__init__() call")
        self._check_name("buffer", name, "_buffers")
        if tensor is not None and not isinstance(tensor, Tensor):
            raise TypeError(
                f"cannot assign '{typename(tensor)}' object to buffer '{name}' (torch Tensor or None required)"
            )
        self._buffers[name] = announce(GlobalHooks.on_buffer, self, name, tensor)
        if persistent:
            self._non_persistent_buffers_set.discard(name)
        else:
            self._non_persistent_buffers_set.add(name)

    def add_module(self, name: str, module: Module | None) -> None:
        """Adds a child module that is also the attribute `name`."""
        if module is not None and not isinstance(module, Module):
            raise TypeError(f"{typename(module)} is not a Module subclass")
        self._check_name("module", name, "_modules")
        self._modules[name] = announce(GlobalHooks.on_module, self, name, module)

    def register_module(self, name: str, module: Module | None) -> None:
        """Alias of `add_module`."""
        self.add_module(name, module)

    def _check_name(self, kind: str, name: str, registry: str) -> None:
        if not isinstance(name, str):
            raise TypeError(f"{kind} name should be a string. Got {typename(name)}")
        taken = hasattr(self, name) and name not in self.__dict__[registry]
        if kind == "module" and taken:
            raise KeyError(f"attribute '{name}' already exists")
        if "." in name:
            got = f", got: {name}" if kind == "module" else ""
            raise KeyError(f'{kind} name can\'t contain "."{got}')
        if name == "":
            raise KeyError(f'{kind} name can\'t be empty string ""')
        if taken:
            raise KeyError(f"attribute '{name}' already exists")

    # Looking things up

    def get_submodule(self, target: str) -> Module:
        """The module at a dotted path; the empty path is the module itself."""
        module: Any = self
        for part in target.split(".") if target else ():
            if not hasattr(module, part):
                raise AttributeError(f"{module._get_name()} has no attribute `{part}`")
            module = getattr(module, part)
            if not isinstance(module, Module):
                raise AttributeError(f"`{part}` is not an nn.Module")
        return module

    def set_submodule(self, target: str, module: Module, strict: bool = False) -> None:
        """Puts `module` at a dotted path; with `strict`, only in place of a module that is already there."""
        if target == "":
            raise ValueError("Cannot set the submodule without a target name!")
        if not isinstance(module, Module):
            raise ValueError(f"`module` is not an nn.Module, found {type(module)}")
        path, _, name = target.rpartition(".")
        parent = self.get_submodule(path)
        if strict and not hasattr(parent, name):
            raise AttributeError(f"{parent._get_name()} has no attribute `{name}`")
        if hasattr(parent, name) and not isinstance(getattr(parent, name), Module):
            raise AttributeError(f"`{name}` is not an nn.Module")
        setattr(parent, name, module)

    def get_parameter(self, target: str) -> Parameter:
        """The parameter at a dotted path."""
        path, _, name = target.rpartition(".")
        owner = self.get_submodule(path)
        if not hasattr(owner, name):
            raise AttributeError(f"{owner._get_name()} has no attribute `{name}`")
        param = getattr(owner, name)
        if not isinstance(param, Parameter):
            raise AttributeError(f"`{name}` is not an nn.Parameter")
        return param

    def get_buffer(self, target: str) -> Tensor:
        """The buffer at a dotted path."""
        path, _, name = target.rpartition(".")
        owner = self.get_submodule(path)
        if not hasattr(owner, name):
            raise AttributeError(f"{owner._get_name()} has no attribute `{name}`")
        if name not in owner._buffers:
            raise AttributeError(f"`{name}` is not a buffer")
        return owner._buffers[name]

    def named_modules(
        self, memo: set | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Module]]:
        """(dotted name, module) of this module and everything below it, parents first."""
        memo = set() if memo is None else memo
        if self in memo:
            return
        if remove_duplicate:
            memo.add(self)
        yield prefix, self
        for name, module in self._modules.items():
            if module is not None:
                below = f"{prefix}.{name}" if prefix else name
                yield from module.named_modules(memo, below, remove_duplicate)

    def modules(self) -> Iterator[Module]:
        """This module and everything below it, each once."""
        for _, module in self.named_modules():
            yield module

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """(name, module) of the direct children, each module once."""
        seen = set()
        for name, module in self._modules.items():
            if module is not None and module not in seen:
                seen.add(module)
                yield name, module

    def children(self) -> Iterator[Module]:
        """The direct children, each once."""
        for _, module in self.named_children():
            yield module

    def _named_members(
        self, get_members_fn: Callable, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Any]]:
        seen = set()
        modules = (
            self.named_modules(prefix=prefix, remove_duplicate=remove_duplicate)
            if recurse
            else [(prefix, self)]
        )
        for path, module in modules:
            for name, value in get_members_fn(module):
                if value is None or id(value) in seen:
                    continue
                if remove_duplicate:
                    seen.add(id(value))
                yield f"{path}.{name}" if path else name, value

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """(dotted name, parameter) of this module and everything below it, each parameter once."""
        return self._named_members(lambda m: m._parameters.items(), prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """The parameters of this module and everything below it, each once."""
        for _, param in self.named_parameters(recurse=recurse):
            yield param

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """(dotted name, buffer) of this module and everything below it, each buffer once."""
        return self._named_members(lambda m: m._buffers.items(), prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """The buffers of this module and everything below it, each once."""
        for _, buffer in self.named_buffers(recurse=recurse):
            yield buffer

    # The whole tree

    def apply(self, fn: Callable[[Module], None]) -> Module:
        """Calls `fn` on every module of the tree, children before parents; returns self."""
        for module in self.children():
            module.apply(fn)
        fn(self)
        return self

    def train(self, mode: bool = True) -> Module:
        """Sets training mode in the whole tree (dropout drops, batch norm uses the batch); returns self."""
        if not isinstance(mode, bool):
            raise ValueError("training mode is expected to be boolean")
        self.training = mode
        for module in self.children():
            module.train(mode)
        return self

    def eval(self) -> Module:
        """Sets evaluation mode in the whole tree: `train(False)`."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Module:
        """Makes all parameters trained, or frozen; returns self."""
        for param in self.parameters():
            param.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forgets the gradients of all parameters (or fills them with zeros)."""
        for param in self.parameters():
            if param.grad is None:
                continue
            if set_to_none:
                param.grad = None
            else:
                if param.grad.grad_fn is not None:
                    param.grad.detach_()
                else:
                    param.grad.requires_grad_(False)
                param.grad.zero_()

    # Printing

    def _get_name(self) -> str:
        return type(self).__name__

    def extra_repr(self) -> str:
        """What stands between the parentheses of the printed module, besides its children."""
        return ""

    def __repr__(self) -> str:
        extra = self.extra_repr()
        lines = extra.split("\n") if extra else []
        alone = len(lines) == 1 and not self._modules
        lines += [f"({name}): {indented(repr(module))}" for name, module in self._modules.items()]
        if not lines:
            return self._get_name() + "()"
        if alone:
            return f"{self._get_name()}({lines[0]})"
        return self._get_name() + "(\n  " + "\n  ".join(lines) + "\n)"

    # Hooks of the call

    def register_forward_pre_hook(
        self, hook: Callable, *, prepend: bool = False, with_kwargs: bool = False
    ) -> Any:
        """Runs `hook(module, args)` (or `(module, args, kwargs)`) before `forward`; it may return other arguments."""
        return add_hook(
            self._forward_pre_hooks,
            hook,
            prepend,
            (self._forward_pre_hooks_with_kwargs,) if with_kwargs else (),
        )

    def register_forward_hook(
        self, hook: Callable, *, prepend: bool = False, with_kwargs: bool = False, always_call: bool = False
    ) -> RemovableHandle:
        """Runs `hook(module, args, output)` (kwargs before output if asked) after `forward`; it may replace output."""
        marks = (self._forward_hooks_with_kwargs,) if with_kwargs else ()
        marks += (self._forward_hooks_always_called,) if always_call else ()
        return add_hook(self._forward_hooks, hook, prepend, marks)

    def register_full_backward_pre_hook(self, hook: Callable, prepend: bool = False) -> RemovableHandle:
        """Runs `hook(module, grad_output)` before the gradients of the module are computed."""
        return add_hook(self._backward_pre_hooks, hook, prepend)

    def register_full_backward_hook(self, hook: Callable, prepend: bool = False) -> RemovableHandle:
        """Runs `hook(module, grad_input, grad_output)` once both are known; it may return another grad_input."""
        self._only_backward_kind(full=True)
        return add_hook(self._backward_hooks, hook, prepend)

    def register_backward_hook(self, hook: Callable) -> RemovableHandle:
        """The old form, on the node of the first output only; prefer `register_full_backward_hook`."""
        self._only_backward_kind(full=False)
        return add_hook(self._backward_hooks, hook)

    def _only_backward_kind(self, full: bool) -> None:
        if self._is_full_backward_hook is (not full):
            raise RuntimeError(
                "Cannot use both regular backward hooks and full backward hooks on a single Module. Please use only "
                "one of them."
            )
        self._is_full_backward_hook = full

    def _get_backward_hooks(self) -> tuple[list, list]:
        return backward_hooks(self)

    def _get_backward_pre_hooks(self) -> list:
        return [*GlobalHooks.backward_pre.values(), *self._backward_pre_hooks.values()]

    def _replicate_for_data_parallel(self) -> Module:
        replica = self.__new__(type(self))
        replica.__dict__.update(self.__getstate__())
        for registry in _REGISTRIES:
            replica.__dict__[registry] = Registry(replica, self.__dict__[registry])
        replica._is_replica = True
        return replica


_CALLS = frozenset((Module.__call__.__code__,))


def _refused(value: Any, name: str, kind: str, wanted: str) -> str:
    return f"cannot assign '{typename(value)}' as {kind} '{name}' ({wanted} or None expected)"


def indented(text: str, spaces: int = 2) -> str:
    """`text` with every line but the first indented."""
    return text.replace("\n", "\n" + " " * spaces)


def _register_global(table: OrderedDict, hook: Callable, marks: tuple = ()) -> RemovableHandle:
    Module._hooked = True
    return add_hook(table, hook, False, marks)


def register_module_forward_pre_hook(hook: Callable) -> RemovableHandle:
    """Runs `hook(module, args)` before every module's `forward`."""
    return _register_global(GlobalHooks.forward_pre, hook)


def register_module_forward_hook(
    hook: Callable, *, with_kwargs: bool = False, always_call: bool = False
) -> Any:
    """Runs `hook(module, args, output)` after every module's `forward`."""
    marks = (GlobalHooks.forward_with_kwargs,) if with_kwargs else ()
    marks += (GlobalHooks.forward_always,) if always_call else ()
    return _register_global(GlobalHooks.forward, hook, marks)


def register_module_full_backward_hook(hook: Callable) -> RemovableHandle:
    """Runs `hook(module, grad_input, grad_output)` for every module."""
    return _register_backward(hook, True)


def register_module_backward_hook(hook: Callable) -> RemovableHandle:
    """The old form of `register_module_full_backward_hook`."""
    return _register_backward(hook, False)


def _register_backward(hook: Callable, full: bool) -> RemovableHandle:
    if GlobalHooks.backward_is_full is (not full):
        raise RuntimeError(
            "Cannot use both regular backward hooks and full backward hooks as a global Module hook. Please use only "
            "one of them."
        )
    GlobalHooks.backward_is_full = full
    return _register_global(GlobalHooks.backward, hook)


def register_module_full_backward_pre_hook(hook: Callable) -> RemovableHandle:
    """Runs `hook(module, grad_output)` for every module before its gradients are computed."""
    return _register_global(GlobalHooks.backward_pre, hook)


def register_module_buffer_registration_hook(hook: Callable) -> RemovableHandle:
    """Runs `hook(module, name, buffer)` whenever a module gets a buffer; it may return another one."""
    return add_hook(GlobalHooks.on_buffer, hook)


def register_module_module_registration_hook(hook: Callable) -> RemovableHandle:
    """Runs `hook(module, name, submodule)` whenever a module gets a child; it may return another one."""
    return add_hook(GlobalHooks.on_module, hook)


def register_module_parameter_registration_hook(hook: Callable) -> RemovableHandle:
    """Runs `hook(module, name, parameter)` whenever a module gets a parameter; it may return another one."""
    return add_hook(GlobalHooks.on_parameter, hook)
