"""Inference mode: which tensors are inference tensors, what is refused, each as PyTorch has it."""

from __future__ import annotations

from typing import Any

import pytest

import flambeau

PROGRAMS: dict[str, Any] = {}


def program(fn: Any) -> Any:
    PROGRAMS[fn.__name__] = fn
    return fn


@program
def what_is_an_inference_tensor(torch: Any) -> Any:
    w, n = torch.ones(3, requires_grad=True), torch.ones(3)
    with torch.inference_mode():
        a = torch.ones(3)
        made = [
            *(a, w * 2, n[1:], a[1:], w[1:], n.detach(), n.data, n.clone(), torch.empty(2), torch.rand(2)),
            *(
                torch.tensor([1.0]),
                n.double(),
                n.contiguous(),
                n.reshape(3, 1),
                torch.nn.Parameter(torch.ones(2)),
            ),
            *(*n.chunk(2), *torch.ones(2, 2).unbind(), torch.from_numpy(n.numpy()), torch.nn.Linear(3, 2)(n)),
        ]
    outside = [a, a[1:], a.view(3), a.detach(), a.data, a * 2, a.clone(), a + n, a.sum(), a.contiguous()]
    return [t.is_inference() for t in (*made, *outside)], torch.is_inference(a), torch.is_inference(n)


@program
def modes_inside(torch: Any) -> Any:
    w = torch.ones(3, requires_grad=True)

    def now() -> Any:
        y = w * 2
        return torch.is_grad_enabled(), torch.is_inference_mode_enabled(), y.requires_grad, y.is_inference()

    with torch.inference_mode():
        found = [now()]
        with torch.enable_grad():
            found.append(now())
            with torch.no_grad():
                found.append(now())
            found.append(now())
        with torch.inference_mode(False):
            found.append(now())
        torch.set_grad_enabled(True)
        found.append(now())
    found.append(now())
    with torch.no_grad(), torch.inference_mode(mode=False):
        found.append(now())
    found.append(torch.inference_mode()(now)())
    return found, now()


@program
def writes_inside_are_free(torch: Any) -> Any:
    w, n = torch.ones(3, requires_grad=True), torch.ones(3)
    with torch.inference_mode():
        a = torch.ones(3)
        a.add_(1)
        n.add_(1)
        n[1:].mul_(3)
        w.add_(1)
        torch.add(a, a, out=a)
        r = torch.ones(2).requires_grad_()
    return a, n, w, n._version, w._version, r.requires_grad, (r * 2).requires_grad


@program
def a_parameter_made_inside_is_used_outside(torch: Any) -> Any:
    with torch.inference_mode():
        w = torch.nn.Parameter(torch.ones(3))
    y = (w + 1) * 2
    y.sum().backward()
    return w.grad, y.requires_grad


def refused(use: Any) -> Any:
    """A program whose `use` of (torch, an inference tensor, a leaf) fails."""

    def run(torch: Any) -> Any:
        w = torch.ones(3, requires_grad=True)
        with torch.inference_mode():
            a = torch.ones(3)
        use(torch, a, w)

    return run


def under_no_grad(torch: Any, a: Any, w: Any) -> None:
    with torch.no_grad():
        a.add_(1)


def by_a_function(torch: Any, a: Any, w: Any) -> None:
    class F(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any, y: Any) -> Any:
            ctx.save_for_backward(y)
            return x * 1

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return g, None

    F.apply(w, a)


def as_a_gradient(torch: Any, a: Any, w: Any) -> None:
    w.grad = a
    (w * 2).sum().backward()


for use in (
    *(lambda torch, a, w: a.add_(1), lambda torch, a, w: a[1:].add_(1), lambda torch, a, w: a.zero_()),
    *(lambda torch, a, w: a.__setitem__(0, 2.0), lambda torch, a, w: torch.add(w.detach(), 1, out=a)),
    *(
        lambda torch, a, w: a.copy_(w.detach()),
        lambda torch, a, w: a.uniform_(),
        lambda torch, a, w: a.resize_(4),
    ),
    *(lambda torch, a, w: a.set_(w.detach()), lambda torch, a, w: w * a, lambda torch, a, w: a._version),
    *(lambda torch, a, w: a.requires_grad_(), lambda torch, a, w: setattr(a, "requires_grad", True)),
    *(under_no_grad, by_a_function, as_a_gradient),
):
    PROGRAMS[f"refused_{len(PROGRAMS)}"] = refused(use)


def view(change: Any, use: Any) -> Any:
    """A program in which a view made inside is used outside, after its base was changed there."""

    def run(torch: Any) -> Any:
        w = torch.ones(3, requires_grad=True) * 1
        with torch.inference_mode():
            v = w[1:]
        change(w)
        return use(v, w)

    return run


for change in (lambda w: None, lambda w: w.add_(1)):
    for use in (
        *(lambda v, w: v.grad_fn, lambda v, w: v * 2, lambda v, w: v.add_(1), lambda v, w: v[1:].add_(1)),
        lambda v, w: w.detach()[1:].add_(1),
    ):
        PROGRAMS[f"view_{len(PROGRAMS)}"] = view(change, use)


@pytest.mark.torch
@pytest.mark.parametrize("name", PROGRAMS)
def test_program(name: str, compare: Any) -> None:
    compare(PROGRAMS[name])


def test_nothing_is_written_by_a_refused_call() -> None:
    """A naive check is made when the version is counted, after the write was recorded."""
    with flambeau.inference_mode():
        a = flambeau.ones(3)
    for write in (lambda: a.add_(1), lambda: flambeau.add(a, 1, out=a), lambda: a.set_(flambeau.zeros(2))):
        with pytest.raises(RuntimeError, match="Inplace update to inference tensor"):
            write()
    assert a.tolist() == [1, 1, 1]


def test_recorded_natively_and_in_python() -> None:
    """Saving is refused also where builtins record, at any position, and a tensor without a gradient stays usable."""
    w = flambeau.ones(3, requires_grad=True)
    with flambeau.inference_mode():
        a = flambeau.ones(3)
    for _ in range(3):
        (w * w.exp()).sum().item()
        assert (w + a).requires_grad and not (a * a).requires_grad
        for use in (lambda: w * a, lambda: a * w, lambda: flambeau.addcmul(w, w, a)):
            with pytest.raises(RuntimeError, match="cannot be saved for backward"):
                use()


def test_a_captured_call_tells_inference_tensors_apart() -> None:
    w = flambeau.ones(3, requires_grad=True)
    f = flambeau.compile(lambda x: w * x)
    n = flambeau.ones(3)
    for _ in range(4):
        assert f(n).requires_grad
    with flambeau.inference_mode():
        a = flambeau.ones(3)
        for _ in range(4):
            assert f(n).is_inference() and f(a).is_inference()
    assert not f(n).is_inference()
    with pytest.raises(RuntimeError, match="cannot be saved for backward"):
        f(a)
