"""`nn.functional`: the layers as functions.

What is not defined here is looked up in the book of ops (those flagged functional) when it is first asked for.
"""

from __future__ import annotations

from typing import Any

from . import activation, attention, dropping, loss, normalisation, pooling, sparse, spatial
from .table import find

# Functions whose arguments need no treatment, and which no op is flagged to be.
DIRECT = (
    "bilinear",
    "channel_shuffle",
    "cosine_similarity",
    "native_channel_shuffle",
    "one_hot",
    "pairwise_distance",
    "pdist",
    "pixel_shuffle",
    "pixel_unshuffle",
    "scaled_dot_product_attention",
)


def __getattr__(name: str) -> Any:
    from ...ops.entry import FACES

    found = FACES.get("nn.functional", {}).get(name)
    if found is None and name in DIRECT:
        found = find(name)
    if found is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = found
    return found


def _publish() -> list[str]:
    """Puts the public functions of every family into this namespace, and says so on them; returns their names."""
    names = []
    for family in (activation, attention, dropping, loss, normalisation, pooling, sparse, spatial):
        for name, value in vars(family).items():
            if (
                callable(value)
                and getattr(value, "__module__", "") == family.__name__
                and not name.startswith("_")
            ):
                value.__module__ = __name__
                globals()[name] = value
                names.append(name)
    return names


def _parameters(fn: Any) -> set[str]:
    """The names of a function's (or an op's) parameters after the first."""
    if hasattr(fn, "entry"):
        return set(fn.entry.params[1:])
    code = fn.__code__
    return set(code.co_varnames[1 : code.co_argcount + code.co_kwonlyargcount])


def _prefer_ops() -> list[str]:
    """An op that takes all of a functional's arguments is the functional: no call in between; returns their names."""
    from ...ops.entry import FACES

    names = []
    for name, made in FACES.get("nn.functional", {}).items():
        mine = globals().get(name)
        if mine is None or _parameters(mine) <= _parameters(made):
            globals()[name] = made
            names.append(name)
    return names


_threshold = activation.threshold
__all__ = list(DIRECT)
__all__.extend(_publish())
__all__.extend(name for name in _prefer_ops() if name not in __all__)


def __dir__() -> list[str]:
    return sorted({*globals(), *DIRECT})
