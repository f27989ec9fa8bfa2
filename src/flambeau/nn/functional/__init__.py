"""`nn.functional`: the layers as functions.

What is not defined here is looked up in the book of ops (those flagged functional) when it is first asked for.
"""

from __future__ import annotations

from typing import Any

from . import activation, attention, dropping, loss, normalisation, pooling, sparse, spatial
from .table import find

# Functions whose arguments need no treatment: the op itself.
DIRECT = (
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "bilinear",
    "channel_shuffle",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "cosine_similarity",
    "gelu",
    "hardshrink",
    "linear",
    "logsigmoid",
    "native_channel_shuffle",
    "one_hot",
    "pairwise_distance",
    "pdist",
    "pixel_shuffle",
    "pixel_unshuffle",
    "prelu",
    "scaled_dot_product_attention",
    "softplus",
    "softshrink",
)


def __getattr__(name: str) -> Any:
    found = None if name.startswith("__") or name not in DIRECT else find(name)
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
        if ".ops." in str(made.__module__) and (mine is None or _parameters(mine) <= _parameters(made)):
            globals()[name] = made
            names.append(name)
    return names


_threshold = activation.threshold
__all__ = list(DIRECT)
__all__.extend(_publish())
__all__.extend(name for name in _prefer_ops() if name not in __all__)


def __dir__() -> list[str]:
    return sorted({*globals(), *DIRECT})
