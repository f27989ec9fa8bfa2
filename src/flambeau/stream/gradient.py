"""How gradient nodes hang together: edges, leaves, in-place writes and the history of views.

The engine that walks this graph is autograd/engine.py; the nodes of ops are made in ops/entry.py.
"""

from __future__ import annotations

import gc
import sys
import weakref
from collections.abc import Callable
from typing import Any

from .value import INFERENCE, LOCAL, Meta, Node, Tensor, extras, new_object, version_of

BOOK: dict[str, Callable[..., Any]] = {}  # public ops by name, filled by ops/entry.py


class AccumulateGrad(Node):
    """The end of the graph: adds to .grad of a leaf."""

    __slots__ = ("variable",)

    def __init__(self, variable: Tensor):
        super().__init__()
        self.variable = variable
        self.out = variable._meta

    def apply(self, grads: tuple[Tensor | None, ...]) -> tuple[Tensor | None, ...]:
        BOOK["accumulate_grad"](self.variable, grads[0])
        return ()

    def name(self) -> str:
        """PyTorch's name of the node."""
        return "torch::autograd::AccumulateGrad"

    def release(self) -> None:
        pass


def accumulator(t: Tensor) -> Node:
    """The leaf's one AccumulateGrad node; it lives as long as a graph refers to it."""
    x = extras(t)
    node = x.acc() if x.acc is not None else None
    if node is None:
        node = new_object(AccumulateGrad)
        node.variable = t
        node.out = t._meta
        node.edges = ()
        node.hooks = None
        node.metadata_ = None
        node.form = None
        x.acc = weakref.ref(node)
    return node


def grad_fn(t: Tensor) -> Node | None:
    """The node that made t; a view whose base was written in place since gets a new one."""
    if t._vw is not None:
        base, mode, seen = t._vw
        if t._ver is not None and t._ver.n != seen and (base._rg or t._gf is not None):
            if mode:
                refuse_rebuilt(t, mode)
            t._gf = view_node(base, t) if base._rg else None
            t._nr = 0
            t._rg = base._rg
            t._vw = (base, mode, t._ver.n)
    return t._gf


WHERE = {"no_grad": "no_grad", "inference": "inference_mode"}  # the block in which such a view was made
CLARIFY = (
    "Given that this use case is ambiguous and error-prone, it is forbidden. You can clarify your code by moving "
    "both the view and the inplace either both inside the {} block (if you don't want the inplace to be tracked) or "
    "both outside (if you want the inplace to be tracked)."
)


def refuse_rebuilt(t: Tensor, mode: str) -> None:
    """The error of using a view that has no history of its own, after a write to its base."""
    start = f"Output {t._nr} of {t._gf.name() if t._gf is not None else 'a view'} is a view and"
    why = (
        "This view is the output of a function that returns multiple views. Such functions do not allow the "
        "output views to be "
    )
    if mode == "inference":
        raise RuntimeError(
            "A view was created in inference mode and its base or another view of its base has been modified "
            f"inplace in normal mode. {CLARIFY.format(WHERE[mode])}"
        )
    if mode == "no_grad":
        start = "A view was created in no_grad mode and"
        why = "Given that this use case is ambiguous and error-prone, it is forbidden. It would have its history "
    raise RuntimeError(
        f"{start} its base or another view of its base has been modified inplace. {why}modified inplace."
    )


def edge(t: Tensor) -> tuple[Node, int] | None:
    """(node, output number) of what made t, its accumulator for a leaf, None if t needs no gradient."""
    node = t._gf if t._vw is None else grad_fn(t)
    if node is not None:
        return (node, t._nr)
    return (accumulator(t), 0) if t._rg else None


class AsStridedBackward0(Node):
    """The gradient of a view of `base`, by geometry: what the view's gradient adds to that of the base."""

    __slots__ = ("base_meta", "offset")

    base_meta: Meta
    offset: int

    def apply(self, grads: tuple[Tensor | None, ...]) -> tuple[Tensor | None, ...]:
        g = grads[0]
        if g is None:
            return (None,)
        meta: Meta = self.out
        return (BOOK["as_strided_backward"](g, self.base_meta, meta, self.offset),)


def distance(base: Tensor, t: Tensor) -> int:
    """Where a view begins in its base, in elements: in real ones, if just one of them is complex."""
    of_base, of_view = base._meta.dtype.is_complex, t._meta.dtype.is_complex
    if of_base is of_view:
        return t._off - base._off
    return t._off * (1 + of_view) - base._off * (1 + of_base)


def view_node(base: Tensor, t: Tensor) -> Node:
    """The node of a view, anew, from its place in the base."""
    node = AsStridedBackward0()
    node.edges = (edge(base),)
    node.base_meta, node.out, node.offset = base._meta, t._meta, distance(base, t)
    return node


class CopySlices(Node):
    """An in-place op `fn` on a view, as the history of the view's base."""

    __slots__ = ("base_meta", "fn", "offset", "view_meta")

    def __init__(self, base: Tensor, t: Tensor, fn: Node):
        super().__init__()
        self.edges = (edge(base), *fn.edges[1:])
        self.fn, self.base_meta, self.view_meta, self.offset = fn, base._meta, t._meta, distance(base, t)
        self.out = base._meta

    def apply(self, grads: tuple[Tensor | None, ...]) -> tuple[Tensor | None, ...]:
        g = grads[0]
        if g is None:
            return (None,) * len(self.edges)
        return BOOK["copy_slices_backward"](self, g)

    def name(self) -> str:
        """PyTorch's name of the node."""
        return "torch::autograd::CopySlices"

    def release(self) -> None:
        self.fn.release()


def is_differentiable_view(t: Tensor) -> bool:
    """Whether t is a view that shares its base's history."""
    return t._vw is not None


def check_inplace(t: Tensor, needs: bool) -> None:
    """The errors of writing into t while gradients are recorded; needs: whether an operand needs a gradient."""
    if not LOCAL.s.grad:
        return
    if t._vw is not None:
        base, mode, _ = t._vw
        if mode in WHERE and (needs or t._rg or base._rg):
            what, how = "A view", "with grad mode enabled" if mode == "no_grad" else "in normal mode"
            if t._gf is not None:
                maker = t._gf.name().removesuffix("0").removesuffix("Backward")
                what = f"Output {t._nr} of {maker} is a view of a view which"
            raise RuntimeError(
                f"{what} was created in {mode} mode and is being modified inplace {how}. {CLARIFY.format(WHERE[mode])}"
            )
        grad_fn(t)
        needs = needs or t._rg or base._rg
        if mode == "multi" and needs:
            raise RuntimeError(
                f"Output 0 of {type(t._gf).__name__ if t._gf is not None else 'UnbindBackward0'} is a view and is "
                "being modified inplace. This view is the output of a function that returns multiple views. Such "
                "functions do not allow the output views to be modified inplace. You should replace the inplace "
                "operation by an out-of-place one."
            )
        if t._rg and base._gf is None:
            raise RuntimeError(
                "a view of a leaf Variable that requires grad is being used in an in-place operation."
            )
        return
    if t._rg and t._gf is None:
        raise RuntimeError("a leaf Variable that requires grad is being used in an in-place operation.")


def check_saved(saved: Any) -> None:
    """The error of keeping an inference tensor for backward."""
    for a in saved:
        if getattr(a, "_ver", None) is INFERENCE:
            raise RuntimeError(
                "Inference tensors cannot be saved for backward. Please do not use Tensors created in inference mode "
                "in computation tracked by autograd. To work around this, you can make a clone to get a normal tensor "
                "and use it in autograd, or use `torch.no_grad()` instead of `torch.inference_mode()`."
            )


def rebase_history(t: Tensor, node: Node) -> None:
    """After an in-place op: t (and, if t is a view, its base) is now the result of `node`."""
    retained = t._x is not None and t._x.retains
    if retained:
        _forget_retained(t)
    if t._vw is not None:
        base, mode, _ = t._vw
        if not base._rg:
            wake_views(base, t, 2)
        base_node = CopySlices(base, t, node)
        base._gf, base._nr, base._rg = base_node, 0, True
        node.result_version = base_node.result_version = version_of(t)
        t._gf, t._nr, t._rg = view_node(base, t), 0, True
        t._vw = (base, mode, version_of(t).n)
    else:
        if not t._rg:
            wake_views(t, t, 1)
        t._gf, t._nr, t._rg = node, 0, True
        node.result_version = version_of(t)
    if retained:
        t.retain_grad()  # type: ignore[attr-defined]


def _references(objects: list[Any]) -> int:
    return sys.getrefcount(objects[0])


_SPARE = _references([object()])


def wake_views(base: Tensor, written: Tensor, known: int) -> None:
    """`base` gets a history: its other views have it, too. known: the tensors that are known to share its version.

    A base does not know its views. They are looked for where somebody else shares the version, which is rare."""
    if _references([base._ver]) - _SPARE <= known:
        return
    for t in gc.get_referrers(base._ver):
        if isinstance(t, Tensor) and t is not written and t._vw is not None and t._vw[0] is base:
            t._rg = True


def _forget_retained(t: Tensor) -> None:
    """The node that t is no longer the result of keeps no gradient for it; t's new node will."""
    if t._gf is not None and t._gf.hooks is not None:
        t._gf.hooks.retained.pop(t._nr, None)
