"""Views: how a geometry rule becomes a function and a method; no instruction is recorded."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from ..stream.graph import Val
from ..stream.storages import BUILTINS
from ..stream.value import LOCAL, PLAIN, Tensor, intern_meta, make_tensor, version_of
from . import record
from .calls import normal_static
from .naming import ABSENT, OTHER
from .registry import publish


def view(grad: Callable[..., Any], **facts: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Declare a view: the body maps (shape, strides, offset, *arguments) to (shape, strides, offset added).

    grad(grad, meta, *arguments) gives the gradient of the base from that of the view; meta is the base's.
    """

    def declare(rule: Callable[..., Any]) -> Callable[..., Any]:
        made = make_view(rule, grad, facts)
        publish(facts.get("name") or rule.__name__, made, facts | {"rule": rule})
        return made

    return declare


class ViewBackward(record.Node):
    """The node of a view: its gradient is the rule of the view's kind, from the base's metadata and its arguments."""

    __slots__ = ("args", "meta")
    args: tuple[Any, ...]
    meta: Any
    rule: Any = None

    def apply(self, grads: tuple[Tensor | None, ...]) -> tuple[Tensor | None, ...]:
        if grads[0] is None:
            return (None,)
        return (type(self).rule(grads[0], self.meta, *self.args),)

    def release(self) -> None:
        pass


def make_view(
    rule: Callable[..., Any], grad: Callable[..., Any], facts: dict[str, Any]
) -> Callable[..., Any]:
    """The public function of a view: rule gives its geometry, grad its gradient."""
    name = facts.get("name") or rule.__name__
    title = facts.get("node") or "".join(w[:1].upper() + w[1:] for w in name.split("_")) + "Backward0"
    node_type = type(
        title, (ViewBackward,), {"__slots__": (), "rule": staticmethod(grad), "__module__": "torch.autograd"}
    )
    cache: dict[Any, Any] = {}
    mode_name = "multi" if facts.get("multi") else ""

    names = tuple(inspect.signature(rule).parameters)[2:]

    def made(self: Any = ABSENT, *args: Any, **options: Any) -> Any:
        if options or self is ABSENT:
            return made(*in_places(name, names, self, args, options))
        S = LOCAL.s
        if S.depth or type(self) not in PLAIN:
            if type(self) is Val:
                shape, strides, off = rule(tuple(self.shape), self.strides, *args)
                return self.view_as(shape, strides, self.off + off)
            if S.depth or not isinstance(self, Tensor) or hasattr(type(self), "__torch_function__"):
                from . import modes

                handled = modes.dispatch_view(S, name, made, self, args)
                if handled is not modes.NOT_HANDLED:
                    return handled
        meta = self._meta
        try:
            out, off = cache[meta, args]
        except (KeyError, TypeError):
            args = tuple(
                [
                    tuple([normal_static(x) for x in a]) if isinstance(a, (list, tuple)) else normal_static(a)
                    for a in args
                ]
            )
            shape, strides, off = rule(tuple(meta.shape), meta.strides, *args)
            out = intern_meta(tuple(shape), tuple(strides), meta.dtype, meta.device)
            if len(cache) > 8192:
                cache.clear()
            cache[meta, args] = out, off
        t = VIEWED[0](S, self, out, self._off + off, mode_name)
        if self._rg and S.grad:
            node = node_type()
            node.edges, node.args, node.meta, node.out = (record.edge_of(self),), args, meta, out
            t._gf, t._rg = node, True
        return t

    made.__name__ = made.__qualname__ = name
    made.__doc__, made.__module__ = rule.__doc__, "torch"
    return made


def in_places(
    name: str, names: tuple[str, ...], self: Any, args: tuple[Any, ...], options: dict[str, Any]
) -> list[Any]:
    """All arguments of a call by position. TypeError, in Python's words, where one has no place or is given twice."""
    given = dict(options)
    found = [given.pop("input", given.pop("self", self)) if self is ABSENT else self, *args]
    for n in names[len(args) :]:
        if OTHER.get(n) in given:
            n = OTHER[n]
        if n not in given:
            break
        found.append(given.pop(n))
    for n in given:
        twice = n in names[: len(args)] or n in ("input", "self")
        what = f"multiple values for argument {n!r}" if twice else f"an unexpected keyword argument {n!r}"
        raise TypeError(f"{name}() got {what}")
    if found[0] is ABSENT:
        raise TypeError(f"{name}() missing 1 required positional argument: 'input'")
    return found


def view_tensor(S: Any, source: Tensor, meta: Any, off: int, mode: str) -> Tensor:
    """A view of source, without history: they share the version counter, and it knows its base."""
    t: Tensor = (BUILTINS.get("plain") or make_tensor)(source._st, meta, off)
    version = source._ver or version_of(source)
    t._ver = version
    vw = source._vw
    if not S.grad:
        mode = "inference" if S.inference else "no_grad"
        t._rg = source._rg  # as its base: outside, a use of it is recorded as that of a leaf
    if vw is None:
        t._vw = (source, mode, version.n)
    else:
        t._vw = (vw[0], mode or vw[1], version.n)
    return t


VIEWED: list[Callable[..., Tensor]] = [view_tensor]  # or what ops/builtins makes in its place
