"""Gradients, products and Jacobians of functions of trees of tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..autograd import engine
from ..autograd.modes import enable_grad
from ..ops.entry import FUNCTIONS
from ..stream.value import Tensor
from .batched import Level, base, batch_of, gradients, inside, wrap
from .trees import change, rebuild, tensors


def _inside(x: Any) -> Any:
    """An input of a transform: its own place in the graph, still connected to what it came from."""
    if not isinstance(x, Tensor) or not x._meta.dtype.is_floating_point:
        return x
    return inside(x)


def _outside(tree: Any, outer: bool) -> Any:
    """Results leave without a graph unless something outside is differentiated."""
    return tree if outer else change(lambda x: x.detach() if isinstance(x, Tensor) else x, tree)


def _connected(tree: Any) -> bool:
    return any(t.requires_grad for t in tensors(tree))


def _gradients(outs: list[Any], xs: list[Any], seeds: list[Any]) -> list[Any]:
    kept = [(o, s) for o, s in zip(outs, seeds) if o.requires_grad]
    found: Any = [None] * len(xs)
    if kept:

        def find(outs: Any, inputs: Any, starts: Any) -> Any:
            return engine.grad(outs, inputs, starts, create_graph=True, allow_unused=True)

        found = gradients(find, [o for o, _ in kept], xs, [s for _, s in kept])
    return [FUNCTIONS["zeros_like"](x) if g is None else g for g, x in zip(found, xs)]


def grad_and_value(func: Callable[..., Any], argnums: Any = 0, has_aux: bool = False) -> Callable[..., Any]:
    """A function that gives (gradient by the arguments argnums, value of func)."""

    def transformed(*args: Any, **kwargs: Any) -> Any:
        outer = _connected((args, kwargs))
        numbers = (argnums,) if isinstance(argnums, int) else argnums
        with enable_grad():
            changed = list(args)
            for i in numbers:
                changed[i] = change(_inside, args[i])
            xs = tensors([changed[i] for i in numbers])
            value = func(*changed, **kwargs)
            aux = None
            if has_aux:
                value, aux = value
            if not isinstance(value, Tensor):
                raise RuntimeError(
                    f"Expected the given function to return a single tensor, got {type(value).__name__}"
                )
            if value._meta.ndim:
                raise RuntimeError(
                    "Expected the given function to return a scalar tensor, but got tensor with "
                    f"{value._meta.ndim} dims. Maybe you'd like to use vjp or jacrev instead?"
                )
            made = iter(_gradients([value], xs, [FUNCTIONS["ones_like"](value)]))
            found = [rebuild(changed[i], made) for i in numbers]
        outer = outer or _captured(value, xs)
        grads = _outside(found[0] if isinstance(argnums, int) else tuple(found), outer)
        value = _outside(value, outer)
        return (grads, (value, _outside(aux, outer))) if has_aux else (grads, value)

    return transformed


def _captured(out: Any, xs: list[Any]) -> bool:
    """Whether the graph of what func gave reaches a leaf that is not one of xs: what the function closed over."""
    own = {id(base(t)) for t in xs}
    todo, seen = [t.grad_fn for t in tensors(out) if t.grad_fn is not None], set()
    while todo:
        node = todo.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if hasattr(node, "variable") and id(node.variable) not in own:
            return True
        todo.extend([e[0] for e in node.edges if e is not None])
    return False


def grad(func: Callable[..., Any], argnums: Any = 0, has_aux: bool = False) -> Callable[..., Any]:
    """The gradient of func, which returns a number, by the arguments argnums."""
    both = grad_and_value(func, argnums, has_aux)

    def transformed(*args: Any, **kwargs: Any) -> Any:
        grads, value = both(*args, **kwargs)
        return (grads, value[1]) if has_aux else grads

    return transformed


def vjp(func: Callable[..., Any], *primals: Any, has_aux: bool = False) -> Any:
    """(output, fn) with fn(cotangents) the products v^T J, a tuple if there are several primals."""
    outer = _connected(primals)
    with enable_grad():
        xs = change(_inside, primals)
        out = func(*xs)
        aux = None
        if has_aux:
            out, aux = out
    outer = outer or _captured(out, tensors(xs))

    def product(*cotangents: Any, retain_graph: bool = True, create_graph: bool = True) -> Any:
        given = cotangents[0] if len(cotangents) == 1 else cotangents
        seeds = tensors(given)
        with enable_grad():
            made = _gradients(tensors(out), tensors(xs), seeds)
        result = rebuild(xs, iter(_outside(made, outer or _connected(seeds))))
        return result

    shown = _outside(out, outer)
    return (shown, product, aux) if has_aux else (shown, product)


def jvp(
    func: Callable[..., Any], primals: Any, tangents: Any, *, strict: bool = False, has_aux: bool = False
) -> Any:
    """(output, J v), through the gradient of v^T J by v."""
    outer = _connected((primals, tangents))
    with enable_grad():
        xs = change(_inside, tuple(primals))
        out = func(*xs)
        aux = None
        if has_aux:
            out, aux = out
        outs = tensors(out)
        outer = outer or _captured(out, tensors(xs))
        seeds = [inside(FUNCTIONS["zeros_like"](o)) for o in outs]
        first = _gradients(outs, tensors(xs), seeds)
        made = _gradients(first, seeds, tensors(tangents))
    found = _outside(rebuild(out, iter(made)), outer)
    return (_outside(out, outer), found, aux) if has_aux else (_outside(out, outer), found)


def linearize(func: Callable[..., Any], *primals: Any) -> Any:
    """(output, fn) with fn(*tangents) the product J v at the primals."""
    return func(*primals), lambda *tangents: jvp(func, primals, tangents)[1]


def _rows(out: Any, xs: list[Any], chunk_size: int | None) -> list[Any]:
    """The gradients of each element of out, stacked: chunk_size elements at once (None: all)."""
    n = out._meta.numel
    units = FUNCTIONS["eye"](n, dtype=out.dtype)
    parts: list[list[Any]] = []
    for start in range(0, n, chunk_size or max(n, 1)):
        some = units[start : start + (chunk_size or n)]
        with Level(some.shape[0], "different") as level:
            seed = wrap(some.reshape(some.shape[0], *out.shape), level)
            parts.append([batch_of(g, level) for g in _gradients([out], xs, [seed])])
    if not parts:
        return [FUNCTIONS["zeros"]((0, *x.shape), dtype=x.dtype) for x in xs]
    return parts[0] if len(parts) == 1 else [FUNCTIONS["cat"](list(c)) for c in zip(*parts)]


def jacrev(
    func: Callable[..., Any],
    argnums: Any = 0,
    *,
    has_aux: bool = False,
    chunk_size: Any = None,
    _preallocate_and_copy: bool = False,
) -> Callable[..., Any]:
    """The Jacobian of func by the arguments argnums: output.shape + input.shape, for each leaf of output and input."""

    def transformed(*args: Any, **kwargs: Any) -> Any:
        outer = _connected((args, kwargs))
        numbers = (argnums,) if isinstance(argnums, int) else argnums
        with enable_grad():
            changed = list(args)
            for i in numbers:
                changed[i] = change(_inside, args[i])
            xs = tensors([changed[i] for i in numbers])
            out = func(*changed, **kwargs)
            aux = None
            if has_aux:
                out, aux = out
            outer = outer or _captured(out, xs)

            def by_inputs(o: Any) -> Any:
                made = iter([g.reshape(*o.shape, *x.shape) for g, x in zip(_rows(o, xs, chunk_size), xs)])
                found = [rebuild(changed[i], made) for i in numbers]
                return found[0] if isinstance(argnums, int) else tuple(found)

            result = change(by_inputs, out)
        result = _outside(result, outer)
        return (result, _outside(aux, outer)) if has_aux else result

    return transformed


def jacfwd(
    func: Callable[..., Any], argnums: Any = 0, has_aux: bool = False, *, randomness: str = "error"
) -> Callable[..., Any]:
    """As jacrev."""
    return jacrev(func, argnums, has_aux=has_aux)


def hessian(func: Callable[..., Any], argnums: Any = 0) -> Callable[..., Any]:
    """The second derivatives of func by the arguments argnums."""
    return jacrev(jacrev(func, argnums), argnums)


def functionalize(func: Callable[..., Any], *, remove: str = "mutations") -> Callable[..., Any]:
    """func itself: in-place writes need no removing here."""
    return func


def stack_module_state(models: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """(parameters, buffers) of several equal models, each stacked along a new first dimension."""
    if not models:
        raise RuntimeError("stack_module_state: Expected at least one model, got 0.")
    kinds = ([dict(m.named_parameters()) for m in models], [dict(m.named_buffers()) for m in models])
    made = []
    for tables, trained in zip(kinds, (True, False)):
        stack = {k: FUNCTIONS["stack"]([t[k].detach() for t in tables]) for k in tables[0]}
        made.append({k: v.requires_grad_() if trained else v for k, v in stack.items()})
    return made[0], made[1]
