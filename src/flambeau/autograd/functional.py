"""Jacobians, Hessians and products with them (torch.autograd.functional)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..ops.entry import FUNCTIONS
from ..stream.value import Tensor
from . import engine
from .modes import enable_grad


def _tuple(x: Any) -> tuple[Any, ...]:
    return (x,) if isinstance(x, Tensor) else tuple(x)


def _fresh(inputs: Any, create_graph: bool) -> tuple[Any, ...]:
    """Inputs whose gradients are their own: views of what is differentiable if a graph is made, else new leaves."""
    made = []
    for t in _tuple(inputs):
        made.append(t.view_as(t) if create_graph and t.requires_grad else t.detach().requires_grad_())
    return tuple(made)


def _plain(value: Any, create_graph: bool) -> Any:
    if create_graph:
        return value
    if isinstance(value, Tensor):
        return value.detach()  # type: ignore[attr-defined]
    return tuple([_plain(v, create_graph) for v in value])


def _call(func: Callable[..., Any], xs: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...], bool]:
    out = func(*xs)
    return out, _tuple(out), isinstance(out, Tensor)


def _grads(
    outs: Any, xs: Any, seeds: Any, create_graph: bool, strict: bool = False, retain: bool = True
) -> list[Any]:
    kept = [(o, s) for o, s in zip(outs, seeds) if o.requires_grad]
    found: Any = [None] * len(xs)
    if kept:
        a, b = [o for o, _ in kept], [s for _, s in kept]
        found = engine.grad(a, xs, b, retain_graph=retain, create_graph=create_graph, allow_unused=True)
    if strict and any(g is None for g in found):
        raise RuntimeError(
            "The output of the user-provided function is independent of an input. This is not allowed in strict mode."
        )
    return [FUNCTIONS["zeros_like"](x) if g is None else g for g, x in zip(found, xs)]


def _match(v: Any, outs: tuple[Any, ...]) -> tuple[Any, ...]:
    if v is None:
        if len(outs) != 1 or outs[0].numel() != 1:
            raise RuntimeError(
                "The vector v can only be None if the user-provided function returns a single Tensor "
                "with a single element."
            )
        return (FUNCTIONS["ones_like"](outs[0]),)
    v = _tuple(v)
    for given, o in zip(v, outs):
        if tuple(given.shape) != tuple(o.shape):
            raise RuntimeError(f"v has invalid size: should be {o.shape} but got {given.shape}.")
    return v


def jacobian(
    func: Callable[..., Any],
    inputs: Any,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    strategy: str = "reverse-mode",
) -> Any:
    """d output[i] / d input[j], shaped output.shape + input.shape; nested in tuples as outputs, then inputs, are."""
    with enable_grad():
        xs = _fresh(inputs, create_graph)
        _, outs, single = _call(func, xs)
        rows = []
        for o in outs:
            flat = o.reshape(-1)
            parts: list[list[Any]] = [[] for _ in xs]
            if vectorize and flat.shape[0] and flat.requires_grad:
                rows.append(_at_once(flat, o, xs, create_graph))
                continue
            for i in range(flat.shape[0]):
                made = _grads(
                    [flat[i]],
                    xs,
                    [None if not flat.requires_grad else FUNCTIONS["ones_like"](flat[i])],
                    create_graph,
                    strict,
                )
                for k, g in enumerate(made):
                    parts[k].append(g)
            rows.append(
                tuple(
                    [
                        FUNCTIONS["stack"](p).reshape(*o.shape, *x.shape)
                        if p
                        else FUNCTIONS["zeros"](*o.shape, *x.shape)
                        for p, x in zip(parts, xs)
                    ]
                )
            )
    result = tuple([r[0] if isinstance(inputs, Tensor) else r for r in rows])
    return _plain(result[0] if single else result, create_graph)


def _at_once(flat: Any, o: Any, xs: Any, create_graph: bool) -> tuple[Any, ...]:
    """The rows of the Jacobians of one output, all at once."""
    units = FUNCTIONS["eye"](flat.shape[0], dtype=flat.dtype)
    found = engine.grad(
        flat,
        xs,
        units,
        retain_graph=True,
        create_graph=create_graph,
        allow_unused=True,
        is_grads_batched=True,
    )
    return tuple(
        [
            FUNCTIONS["zeros"](*o.shape, *x.shape, dtype=x.dtype)
            if g is None
            else g.reshape(*o.shape, *x.shape)  # type: ignore[attr-defined]
            for g, x in zip(found, xs)
        ]
    )


def hessian(
    func: Callable[..., Any],
    inputs: Any,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    outer_jacobian_strategy: str = "reverse-mode",
) -> Any:
    """The second derivatives of a function with one number as its result."""

    def first(*xs: Any) -> Any:
        out = func(*xs)
        if not isinstance(out, Tensor) or out._meta.numel != 1:
            raise RuntimeError(
                "The Tensor returned by the function given to hessian should contain a single element."
            )
        made = _grads([out.reshape(())], xs, [FUNCTIONS["ones_like"](out.reshape(()))], True, strict)  # type: ignore[attr-defined]
        return made[0] if isinstance(inputs, Tensor) else tuple(made)

    return jacobian(first, inputs, create_graph, strict, vectorize)


def vjp(
    func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> Any:
    """(outputs, v^T J)."""
    with enable_grad():
        xs = _fresh(inputs, create_graph)
        out, outs, _ = _call(func, xs)
        made = _grads(outs, xs, _match(v, outs), create_graph, strict)
    result = made[0] if isinstance(inputs, Tensor) else tuple(made)
    return _plain(out, create_graph), _plain(result, create_graph)


def jvp(
    func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> Any:
    """(outputs, J v), through the gradient of v^T J by v."""
    with enable_grad():
        xs = _fresh(inputs, create_graph)
        direction = _match(v, xs)
        out, outs, single = _call(func, xs)
        seeds = tuple([FUNCTIONS["zeros_like"](o).requires_grad_() for o in outs])
        first = _grads(outs, xs, seeds, True, strict)
        made = _grads(first, seeds, direction, create_graph, False)
    result = made[0] if single else tuple(made)
    return _plain(out, create_graph), _plain(result, create_graph)


def vhp(
    func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> Any:
    """(output, v^T H) of a function with one number as its result."""
    with enable_grad():
        xs = _fresh(inputs, create_graph)
        direction = _match(v, xs)
        out, outs, _ = _call(func, xs)
        first = _grads(outs, xs, [FUNCTIONS["ones_like"](o) for o in outs], True, strict)
        made = _grads(first, xs, direction, create_graph, strict)
    result = made[0] if isinstance(inputs, Tensor) else tuple(made)
    return _plain(out, create_graph), _plain(result, create_graph)


def hvp(
    func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> Any:
    """(output, H v); H is symmetric, so it is vhp."""
    return vhp(func, inputs, v, create_graph, strict)
