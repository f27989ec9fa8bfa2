"""torch.library: operators of one's own, by name, with a gradient if one is registered.

An operator is a Python function of tensors. What PyTorch asks for beside it so that it can be traced (a schema, a fake
for shapes) is taken and not needed: calls are recorded as they run.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

from .absent import functions
from .autograd import Function
from .autograd.modes import no_grad
from .ops import namespaces
from .stream.value import LOCAL, Tensor

__all__ = [
    "CustomOpDef",
    "Library",
    "custom_op",
    "define",
    "impl",
    "register_autograd",
    "register_fake",
    "register_kernel",
    "register_vmap",
]
globals().update(functions("library", "tests of operators", "opcheck", "triton_op", "wrap_triton"))


class CustomOpDef:
    """An operator: calling it runs its function; the register_ methods say more about it."""

    def __init__(self, namespace: str, name: str, fn: Callable[..., Any] | None = None):
        self._namespace, self._name, self._qualname = namespace, name, f"{namespace}::{name}"
        self._init_fn = fn
        self._kernel = fn
        self._backward: Callable[..., Any] | None = None
        self._setup_context: Callable[..., Any] | None = None
        self._function: Any = None
        if fn is not None:
            functools.update_wrapper(self, fn)
        self._opoverload = namespaces.namespace(namespace)._add(name, self).default

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._kernel is None:
            raise NotImplementedError(
                f"Could not run '{self._qualname}': no implementation is registered for CPU"
            )
        if kwargs:
            bound = inspect.signature(self._kernel).bind(*args, **kwargs)
            args, kwargs = bound.args, bound.kwargs
        flat = (*args, *kwargs.values())
        if LOCAL.s.grad and any(isinstance(a, Tensor) and a.requires_grad for a in flat):  # type: ignore[attr-defined]
            return self._with_gradient().apply(*args, **kwargs)
        return self._kernel(*args, **kwargs)

    def _with_gradient(self) -> Any:
        """The operator as a node of the graph."""
        if self._function is None:
            mine = self

            class Node(Function):
                @staticmethod
                def forward(ctx: Any, *args: Any, **kwargs: Any) -> Any:
                    with no_grad():
                        result = mine._kernel(*args, **kwargs)  # type: ignore[misc]
                    named = {"keyword_only_inputs": kwargs} if kwargs else {}
                    if mine._setup_context is not None:
                        mine._setup_context(ctx=ctx, inputs=args, output=result, **named)
                    return result

                @staticmethod
                def backward(ctx: Any, *grads: Any) -> Any:
                    if mine._backward is None:
                        raise RuntimeError(
                            f"Trying to backward through {mine._qualname} but no autograd formula was registered. "
                            "Please use register_autograd to add one."
                        )
                    return mine._backward(ctx, *grads)

            Node.__name__ = Node.__qualname__ = f"GeneratedBackwardFor_{self._namespace}_{self._name}"
            self._function = Node
        return self._function

    def register_fake(self, fn: Callable[..., Any], /) -> Callable[..., Any]:
        """Taken: shapes follow from running the operator."""
        return fn

    def register_kernel(self, device_types: Any, fn: Callable[..., Any] | None = None, /) -> Any:
        """The function for a device; those of devices that are not here are not kept."""
        kinds = [device_types] if isinstance(device_types, str) or device_types is None else device_types

        def keep(function: Callable[..., Any]) -> Callable[..., Any]:
            if None in kinds or "cpu" in kinds:
                self._kernel = function
            return function

        return keep if fn is None else keep(fn)

    def register_autograd(
        self, backward: Callable[..., Any], /, *, setup_context: Callable[..., Any] | None = None
    ) -> None:
        """The gradient: backward(ctx, *grads), for which setup_context(ctx, inputs, output) keeps what it wants."""
        self._backward, self._setup_context = backward, setup_context

    def register_vmap(self, func: Callable[..., Any] | None = None, /) -> Any:
        """NotImplementedError: an operator under vmap runs with the rules of what it is made of."""
        raise NotImplementedError("library.register_vmap: is not there yet; use autograd.Function with vmap")

    def __repr__(self) -> str:
        return f"<CustomOpDef({self._qualname})>"


_DEFINED: dict[str, CustomOpDef] = {}


def _split(qualified: str) -> tuple[str, str]:
    namespace, colons, name = qualified.partition("::")
    if not colons or not name:
        raise ValueError(
            f"Expected `name` to be of the form `namespace::name`; got {qualified!r}: namespaces keep operators of "
            "different libraries apart"
        )
    return namespace, name.partition(".")[0]


def _defined(qualified: str, fn: Callable[..., Any] | None = None) -> CustomOpDef:
    namespace, name = _split(qualified)
    made = _DEFINED[f"{namespace}::{name}"] = CustomOpDef(namespace, name, fn)
    return made


def _found(op: Any) -> CustomOpDef:
    """The definition by an operator, one of its forms, or its name. RuntimeError if there is none."""
    if isinstance(op, CustomOpDef):
        return op
    name = op.name() if isinstance(op, namespaces.Overload) else op
    key = "::".join(_split(name))
    if key not in _DEFINED:
        raise RuntimeError(f"operator {key} does not exist")
    return _DEFINED[key]


def custom_op(
    name: str,
    fn: Callable[..., Any] | None = None,
    /,
    *,
    mutates_args: str | Sequence[str],
    device_types: Any = None,
    schema: str | None = None,
    tags: Any = None,
) -> Any:
    """An operator `namespace::name` that runs fn; without fn, a decorator.

    Example:
        >>> import flambeau as torch
        >>> @torch.library.custom_op("docs::twice", mutates_args=())
        ... def twice(x: torch.Tensor) -> torch.Tensor:
        ...     return x * 2
        >>> torch.ops.docs.twice(torch.ones(2))
        tensor([2., 2.])
    """
    _split(name)
    return _defined(name, fn) if fn is not None else lambda function: _defined(name, function)


def define(qualname: str, schema: str, *, lib: Any = None, tags: Any = ()) -> None:
    """An operator without a function, which `impl` adds."""
    _defined(qualname)


def impl(qualname: Any, types: Any, func: Callable[..., Any] | None = None, *, lib: Any = None) -> Any:
    """The function of an operator for kinds of devices; without one, a decorator."""
    return register_kernel(
        qualname, None if types in ("default", "CompositeExplicitAutograd") else types, func
    )


def register_kernel(
    op: Any, device_types: Any, func: Callable[..., Any] | None = None, /, *, lib: Any = None
) -> Any:
    """See `CustomOpDef.register_kernel`."""
    return _found(op).register_kernel(device_types, func)


def register_fake(op: Any, func: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Taken: shapes follow from running the operator."""
    return func if func is not None else lambda function: function


def register_autograd(
    op: Any,
    backward: Callable[..., Any],
    /,
    *,
    setup_context: Callable[..., Any] | None = None,
    lib: Any = None,
) -> None:
    """See `CustomOpDef.register_autograd`."""
    _found(op).register_autograd(backward, setup_context=setup_context)


def register_vmap(op: Any, func: Callable[..., Any] | None = None, /, *, lib: Any = None) -> Any:
    """See `CustomOpDef.register_vmap`."""
    return _found(op).register_vmap(func)


class Library:
    """Operators of one namespace, defined by schema and given functions one by one."""

    def __init__(self, ns: str, kind: str, dispatch_key: str = ""):
        if kind not in ("DEF", "IMPL", "FRAGMENT"):
            raise ValueError(f"Unsupported kind: {kind}")
        self.ns, self.kind, self.dispatch_key = ns, kind, dispatch_key

    def define(self, schema: str, alias_analysis: str = "", *, tags: Any = ()) -> str:
        """An operator by its schema, "name(Tensor x) -> Tensor"; its name."""
        name = schema.partition("(")[0].strip()
        _defined(f"{self.ns}::{name}")
        return name

    def impl(
        self, op_name: Any, fn: Callable[..., Any], dispatch_key: str = "", *, with_keyset: bool = False
    ) -> None:
        """The function of an operator; those for keys other than the CPU's are not kept."""
        key = dispatch_key or self.dispatch_key
        kept = key in ("", "CPU", "CompositeExplicitAutograd", "CompositeImplicitAutograd", "BackendSelect")
        name = op_name.name() if isinstance(op_name, namespaces.Overload) else op_name
        found = _found(name if "::" in name else f"{self.ns}::{name}")
        if kept:
            found.register_kernel(None, fn)
