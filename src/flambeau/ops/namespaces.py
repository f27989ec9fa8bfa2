"""torch.ops: functions by namespace and overload, and the operators that programs register (torch.library)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..absent import functions
from ..stream.value import Tensor
from .entry import FUNCTIONS
from .registry import METHODS

RENAMED = {"_local_scalar_dense": "item", "_to_copy": "to", "_unsafe_view": "view"}


def _index(input: Any, indices: Any) -> Any:
    return input[tuple([slice(None) if i is None else i for i in indices])]


def _slice(input: Any, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Any:
    return input[(slice(None),) * (dim % input.ndim) + (slice(start, end, step),)]


OWN: dict[str, Callable[..., Any]] = {
    "index": _index,
    "slice": _slice,
    "sym_size": lambda input, dim=None: input.shape if dim is None else input.shape[dim],
}


class Overload:
    """One form of an operator: a call of the function, whatever the types of the arguments."""

    def __init__(self, packet: Operator, name: str):
        self.packet, self.overload = packet, name
        self.__name__ = f"{packet.__name__}.{name}"
        self.__module__ = f"torch._ops.{packet.namespace}"

    def __call__(self, *args: Any, **options: Any) -> Any:
        return self.packet(*args, **options)

    @property
    def overloadpacket(self) -> Operator:
        """The operator with all its forms."""
        return self.packet

    def name(self) -> str:
        """namespace::operator.form, or without the form if it is the only one."""
        tail = "" if self.overload == "default" else "." + self.overload
        return f"{self.packet.namespace}::{self.packet.__name__}{tail}"

    def __repr__(self) -> str:
        return (
            f"<OpOverload(op='{self.packet.namespace}.{self.packet.__name__}', overload='{self.overload}')>"
        )


class Operator:
    """An operator by its name: calling it calls the function; its attributes are its forms."""

    def __init__(self, namespace: str, name: str, function: Callable[..., Any]):
        self.namespace, self.__name__, self.function = namespace, name, function
        self.__module__ = f"torch.ops.{namespace}"

    def __call__(self, *args: Any, **options: Any) -> Any:
        return self.function(*args, **options)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        made = self.__dict__[name] = Overload(self, name)
        return made

    def overloads(self) -> list[str]:
        """The names of the forms that have been asked for, `default` always."""
        return sorted({"default", *(k for k, v in vars(self).items() if isinstance(v, Overload))})

    def __repr__(self) -> str:
        return f"<OpOverloadPacket(op='{self.namespace}.{self.__name__}')>"


class Namespace:
    """The operators of one name before the colons."""

    def __init__(self, name: str):
        self._name = self.__name__ = name
        self.__module__ = "torch.ops"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        function = _function(name) if self._name == "aten" else None
        if function is None and self._name == "aten" and name.startswith("_"):
            function = functions("ops.aten", "this function of PyTorch's own", name)[name]
        if function is None:
            raise AttributeError(f"'_OpNamespace' '{self._name}' object has no attribute '{name}'")
        return self._add(name, function)

    def _add(self, name: str, function: Callable[..., Any]) -> Operator:
        """A new operator, or another function for one that is there."""
        made = self.__dict__.get(name)
        if made is None:
            made = self.__dict__[name] = Operator(self._name, name, function)
        made.function = function
        return made

    def __repr__(self) -> str:
        return f"<_OpNamespace '{self._name}'>"


def _function(name: str) -> Callable[..., Any] | None:
    """What aten calls so: one of our functions, or a method that is called with the tensor first."""
    name = RENAMED.get(name, name)
    return OWN.get(name) or FUNCTIONS.get(name) or METHODS.get(name) or getattr(Tensor, name, None)


NAMESPACES: dict[str, Namespace] = {}


def namespace(name: str) -> Namespace:
    """The operators of a namespace; a new one has none."""
    if name not in NAMESPACES:
        NAMESPACES[name] = Namespace(name)
    return NAMESPACES[name]


def find(qualified: str) -> Operator:
    """An operator by namespace::name. RuntimeError if there is none."""
    space, _, name = qualified.partition("::")
    found = vars(namespace(space)).get(name.partition(".")[0])
    if found is None:
        raise RuntimeError(f"operator {qualified} does not exist")
    return found
