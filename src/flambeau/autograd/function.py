"""Operations written by the user: a forward and a backward in Python, one node in the graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..ops.entry import FUNCTIONS
from ..shapes import expandable
from ..stream import gradient
from ..stream.value import LOCAL, RELEASED, Node, Tensor
from .engine import CHECK
from .modes import no_grad

RELEASED_TEXT = (
    "Trying to backward through the graph a second time (or directly access saved tensors after they "
    "have already been freed). "
    "Saved intermediate values of the graph are freed when you call .backward() or autograd.grad(). "
    "Specify retain_graph=True "
    "if you need to backward through the graph a second time or if you need to access saved tensors "
    "after calling backward."
)


# How a function is applied to arguments of some class: see func/functions.py.
BATCHED: dict[type, Callable[..., Any]] = {}


class FunctionCtx(Node):
    """The node of a custom function; it is the `ctx` that forward and backward receive."""

    function: Any = None
    of: tuple[Any, ...] = ()  # metadata of the arguments

    def __init__(self) -> None:
        super().__init__()
        self.needs_input_grad: tuple[bool, ...] = ()
        self.materialize_grads = True
        self.dirty: tuple[Tensor, ...] = ()
        self.fixed: tuple[Tensor, ...] = ()
        self.to_save: tuple[Any, ...] = ()

    def name(self) -> str:
        """The class's name with "Backward", as in PyTorch."""
        return type(self).__name__

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        """Keep inputs or outputs for backward, where they are `ctx.saved_tensors`."""
        for t in tensors:
            if t is not None and not isinstance(t, Tensor):
                raise TypeError(
                    f"save_for_backward can only save variables, but argument {t!r} is of type {type(t).__name__}"
                )
        self.to_save = tensors

    save_for_forward = save_for_backward

    def mark_dirty(self, *tensors: Tensor) -> None:
        """Say which inputs forward has written in place."""
        self.dirty = tensors

    def mark_non_differentiable(self, *tensors: Tensor) -> None:
        """Say which outputs have no gradient."""
        self.fixed = tensors

    def set_materialize_grads(self, value: bool) -> None:
        """Whether missing gradients of outputs are zeros (the default) or None."""
        self.materialize_grads = value

    @property
    def saved_tensors(self) -> tuple[Any, ...]:
        """What was saved; RuntimeError if it was overwritten or freed since."""
        from ..ops.record import raise_overwritten

        if self.saved is RELEASED:
            raise RuntimeError(RELEASED_TEXT)
        found = []
        for t, then, made_here in self.saved or ():
            if callable(then):  # a pair of saved_tensors_hooks: t is what pack gave
                t = then(t)
            elif t is not None:
                now = 0 if t._ver is None else t._ver.n
                if now != then:
                    raise_overwritten(t._gf, t._nr, t._meta, now, then)
            if (
                made_here is not None and t is not None
            ):  # an output: it was saved without its node, against a cycle
                t = _with_node(t, self, made_here)
            found.append(t)
        return tuple(found)

    saved_variables = saved_tensors

    def keep(self, outputs: list[Any]) -> None:
        """Put what was saved away: outputs without their history."""
        from .graph import current_hooks

        hooks = current_hooks()
        saved: list[tuple[Any, Any, Any]] = []
        for t in self.to_save:
            at = next((i for i, o in enumerate(outputs) if o is t), None) if t is not None else None
            if t is None:
                saved.append((None, 0, None))
            elif hooks is not None:
                saved.append((hooks[0](t), hooks[1], None))
            else:
                kept = t if at is None else t.detach()
                gradient.check_saved((t,))
                saved.append((kept, 0 if kept._ver is None else kept._ver.n, at))
        self.saved, self.to_save = saved, ()

    def apply(self, grads: tuple[Any, ...]) -> tuple[Any, ...]:  # type: ignore[override]
        outs = self.out if type(self.out) is tuple else (self.out,)
        given = list(grads)
        if self.materialize_grads:
            for i, meta in enumerate(outs):
                if given[i] is None and meta is not None:
                    given[i] = FUNCTIONS["full"](tuple(meta.shape), 0, dtype=meta.dtype)
        made = self.function.backward(self, *given)
        if not isinstance(made, tuple):
            made = (made,)
        edges = self.edges
        if len(made) > len(edges) and all(g is None for g in made[len(edges) :]):
            made = made[: len(edges)]
        if len(made) != len(edges):
            raise RuntimeError(
                f"function {self.name()} returned an incorrect number of gradients (expected "
                f"{len(edges)}, got {len(made)})"
            )
        found = zip(edges, made, self.of)
        return tuple([None if e is None else self.fitting(i, g, m) for i, (e, g, m) in enumerate(found)])

    def fitting(self, i: int, grad: Any, wanted: Any) -> Any:
        """What backward gave for argument i, summed over what was broadcast and in its dtype."""
        if grad is None:
            return None
        if not isinstance(grad, Tensor):
            raise TypeError(f"{self.name()}: expected Variable or None (got {type(grad).__name__})")
        shape, got = wanted.shape, grad._meta.shape
        if got != shape:
            if not expandable(shape, got):
                raise RuntimeError(
                    f"Function {self.name()} returned an invalid gradient at index {i} - got {list(got)} but "
                    f"expected shape compatible with {list(shape)}"
                )
            grad = FUNCTIONS["sum_to_size"](grad, *shape)
        return grad if grad._meta.dtype is wanted.dtype else grad.to(wanted.dtype)  # type: ignore[attr-defined]


def _with_node(t: Tensor, node: Node, nr: int) -> Tensor:
    other = t.detach()  # type: ignore[attr-defined]
    if LOCAL.s.grad:
        other._gf, other._nr, other._rg = node, nr, True
    return other


class _FunctionMeta(type):
    def __init__(cls, name: str, bases: tuple[type, ...], body: dict[str, Any]) -> None:
        super().__init__(name, bases, body)
        kind = type(name + "Backward", (FunctionCtx,), {"function": cls, "__module__": cls.__module__})
        cls._backward_cls = kind


class Function(metaclass=_FunctionMeta):
    """Base of custom operations: define static `forward` and `backward`, call `apply`.

    forward(ctx, *args), or forward(*args) with setup_context(ctx, inputs, output). backward(ctx, *grads) returns one
    gradient (or None) for each argument of forward.
    """

    generate_vmap_rule = False
    _backward_cls: Any

    def __init__(self, *args: Any, **options: Any) -> None:
        raise RuntimeError(
            f"{type(self)} should not be instantiated. Methods on autograd functions are all static, "
            "so you should invoke them "
            "on the class itself. Instantiating an autograd function is not allowed."
        )

    @staticmethod
    def forward(*args: Any, **options: Any) -> Any:
        raise NotImplementedError("You must implement the forward function for custom autograd.Function.")

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> Any:
        """Keep on ctx what `backward` needs, where `forward` does not take ctx."""
        raise NotImplementedError("setup_context is not implemented.")

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        """The gradients of `forward`'s arguments from those of its results; one, or None, for each argument."""
        raise NotImplementedError(
            "You must implement either the backward or vjp method for your custom autograd.Function "
            "to use it with backward mode AD."
        )

    vjp = backward

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> Any:
        """(results, out_dims) for a whole batch, whose place in the arguments in_dims says; for `torch.vmap`."""
        raise NotImplementedError("vmap is not implemented.")

    @classmethod
    def apply(cls, *args: Any, **options: Any) -> Any:
        """Run forward; the results belong to a node whose gradient is backward."""
        for a in args:
            if type(a) in BATCHED:
                return BATCHED[type(a)](cls, args, options)
        S = LOCAL.s
        ctx = cls._backward_cls()
        needs = tuple([isinstance(a, Tensor) and bool(a.requires_grad) for a in args])  # type: ignore[attr-defined]
        ctx.needs_input_grad = needs if S.grad else (False,) * len(args)
        edges = [gradient.edge(a) if n else None for a, n in zip(args, needs)]
        with no_grad():
            if cls.setup_context is not Function.setup_context:
                result = cls.forward(*args, **options)
                cls.setup_context(ctx, args, result)
            else:
                result = cls.forward(ctx, *args, **options)
        outputs = list(result) if isinstance(result, (tuple, list)) else [result]
        if S.grad and any(needs):
            ctx.edges = tuple(edges)
            ctx.of = tuple([a._meta if n else None for a, n in zip(args, needs)])
            cls._attach(ctx, args, outputs)
            if CHECK[0] is not None:
                CHECK[0].note(ctx)
        if isinstance(result, (tuple, list)):
            return tuple(outputs)
        return outputs[0]

    @classmethod
    def _attach(cls, ctx: Any, args: tuple[Any, ...], outputs: list[Any]) -> None:
        for i, t in enumerate(outputs):
            if not isinstance(t, Tensor):
                continue
            dirty = any(t is d for d in ctx.dirty)
            if not dirty and (any(t is a for a in args) or t._rg):
                with no_grad():
                    fresh = t.detach()  # type: ignore[attr-defined]
                ctx.to_save = tuple([fresh if s is t else s for s in ctx.to_save])
                outputs[i] = fresh
        metas = tuple([t._meta if isinstance(t, Tensor) else None for t in outputs])
        ctx.out = metas[0] if len(metas) == 1 else metas
        ctx.keep(outputs)
        for i, t in enumerate(outputs):
            if (
                not isinstance(t, Tensor)
                or any(t is f for f in ctx.fixed)
                or not t._meta.dtype.is_floating_point
            ):
                continue
            if any(t is d for d in ctx.dirty):
                if t._rg and t._gf is None:
                    raise RuntimeError(
                        "a leaf Variable that requires grad is being used in an in-place operation."
                    )
                gradient.rebase_history(t, ctx)
            t._gf, t._nr, t._rg = ctx, i, True


class InplaceFunction(Function):
    """The old base of functions that may work in place."""


def once_differentiable(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator of a backward that cannot be differentiated itself: doing so raises RuntimeError."""
    import functools

    @functools.wraps(fn)
    def wrapped(ctx: Any, *grads: Any) -> Any:
        with no_grad():
            made = fn(ctx, *grads)
        if not LOCAL.s.grad or not any(isinstance(g, Tensor) and g._rg for g in grads):
            return made
        node = _Refusal()
        results = made if isinstance(made, tuple) else (made,)
        node.out = tuple([r._meta if isinstance(r, Tensor) else None for r in results])
        node.edges = tuple([gradient.edge(g) for g in grads if isinstance(g, Tensor) and g._rg])
        fresh = []
        for i, r in enumerate(results):
            if isinstance(r, Tensor):
                r = r.detach()  # type: ignore[attr-defined]
                r._gf, r._nr, r._rg = node, i, True
            fresh.append(r)
        return tuple(fresh) if isinstance(made, tuple) else fresh[0]

    return wrapped


class _Refusal(Node):
    def apply(self, grads: Any) -> Any:
        raise RuntimeError(
            "trying to differentiate twice a function that was marked with @once_differentiable"
        )

    def name(self) -> str:
        return "torch::autograd::Error"
