"""The tables that entries fill: public functions and methods by name, and the kinds of parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..stream import gradient
from .naming import with_other_names

if TYPE_CHECKING:
    from .entry import Entry

T = Any  # a tensor
OT = Any  # a tensor or None
TN = Any  # a tensor or a number
N = Any  # a number
OTN = Any  # a tensor, a number or None
TS = Any  # a list of tensors

OPERANDS = ("T", "TN", "OT", "N", "OTN")
ENTRIES: dict[str, Entry] = {}


class _Functions(dict[str, Callable[..., Any]]):
    """Public functions by name (ops, views, composites); a private op is found too, but not listed."""

    def __missing__(self, name: str) -> Callable[..., Any]:
        return gradient.BOOK[name]


FUNCTIONS = _Functions()
METHODS: dict[str, Callable[..., Any]] = {}
FACES: dict[
    str, dict[str, Callable[..., Any]]
] = {}  # "nn.functional", "special", "linalg", "fft" -> name -> function
NONE = "not differentiable"


FAMILY: dict[str, str] = {}  # public name -> the family (file) that declares it


def publish(name: str, made: Callable[..., Any], facts: dict[str, Any]) -> None:
    """Enter a function under its names: the package's functions, methods, nn.functional and other faces."""
    gradient.BOOK[name] = made
    if name[0] != "_":
        source = facts.get("rule") or getattr(getattr(made, "entry", None), "fn", made)
        FAMILY.setdefault(name, (source.__module__ or "").rpartition(".")[2])
    for alias in (name, *facts.get("aliases", ())):
        if facts.get("function", True):
            FUNCTIONS[alias] = made
        if facts.get("method", True):
            METHODS[alias] = made
        if facts.get("nn"):
            FACES.setdefault("nn.functional", {})[alias] = made
    for face, names in facts.get("faces", {}).items():
        for alias in (names,) if isinstance(names, str) else names:
            FACES.setdefault(face, {})[alias] = made


def composite(**facts: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Declare a public function that only calls other ops (no node of its own, as in PyTorch)."""

    def declare(fn: Callable[..., Any]) -> Callable[..., Any]:
        made = with_other_names(fn)
        publish(facts.get("name") or fn.__name__, made, facts)
        return made

    return declare
