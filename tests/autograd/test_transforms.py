"""Custom functions, hooks, checks of gradients, functional products and torch.func, compared with PyTorch."""

from __future__ import annotations

import importlib
from typing import Any

import pytest

PROGRAMS: dict[str, Any] = {}


def program(fn: Any) -> Any:
    PROGRAMS[fn.__name__] = fn
    return fn


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", PROGRAMS)
def test_program(name: str, compare: Any) -> None:
    compare(PROGRAMS[name], tolerance=1e-4)


def part(torch: Any, name: str) -> Any:
    return importlib.import_module(f"{torch.__name__}.{name}")


def parts(torch: Any) -> tuple[Any, ...]:
    x, w = torch.tensor([0.1, 0.2, 0.3]), torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    return x, w, lambda x: (w @ x.sin()).tanh(), lambda x: (x**3).sum()


@program
def functional(torch):
    x, _, f, g = parts(torch)
    a, v, u = part(torch, "autograd.functional"), torch.tensor([1.0, 0.0, -1.0]), torch.tensor([1.0, 2.0])
    return a.jacobian(f, x), a.hessian(g, x), a.vjp(f, x, u), a.jvp(f, x, v), a.hvp(g, x, v), a.vhp(g, x, v)


@program
def transforms(torch):
    x, w, f, g = parts(torch)
    t, u = part(torch, "func"), torch.tensor([1.0, 2.0])
    out, product = t.vjp(f, x)
    firsts = t.grad(g)(x), t.grad_and_value(g)(x), t.jacrev(f)(x), t.jacfwd(f)(x), t.hessian(g)(x)
    return firsts, out, product(u), t.jvp(f, (x,), (x,)), t.vmap(torch.dot)(w, w), t.vmap(t.grad(g))(w)


@program
def custom_function(torch):
    class Scaled(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, k):
            y = x.exp()
            ctx.save_for_backward(y)
            ctx.k = k
            return y * k

        @staticmethod
        def backward(ctx, g):
            return g * ctx.saved_tensors[0] * ctx.k, None

    x = torch.tensor([0.5, 1.0], requires_grad=True)
    y = Scaled.apply(x, 3)
    y.sum().backward()
    return y, x.grad, y.grad_fn.name()


@program
def hooks(torch):
    log = []
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    y = x * 3
    first = x.register_hook(lambda g: g * 2)
    y.register_hook(lambda g: log.append(g.tolist()))
    x.register_post_accumulate_grad_hook(lambda t: log.append(t.grad.tolist()))
    y.grad_fn.register_prehook(lambda grads: log.append(len(grads)))
    y.sum().backward(retain_graph=True)
    first.remove()
    y.sum().backward()
    return log, x.grad


@program
def checks(torch):
    x = torch.tensor([1.0, 2.0], dtype=torch.float64, requires_grad=True)
    a = torch.autograd
    return a.gradcheck(lambda t: t.sin() * t, x), a.gradgradcheck(lambda t: t.sin() * t, x)


@program
def subclasses(torch):
    class Mine(torch.Tensor):
        pass

    x = torch.ones(3).as_subclass(Mine)
    made = (x + 1, x.sum(), x[0], x.view(3, 1), torch.ones(3) + x, x.detach(), x.sort()[0])
    return [type(t) is Mine for t in made], type(
        torch.nn.Parameter(x.detach().as_subclass(torch.Tensor)) * 2
    ) is torch.Tensor


@pytest.mark.slow
def test_a_million_nodes_are_freed() -> None:
    import flambeau

    x = y = flambeau.ones(1, requires_grad=True)
    for _ in range(1_000_000):
        y = y + 1
    del y
    assert x.grad is None


@program
def forward_mode(torch):
    x, w, f, g = parts(torch)
    fw = part(torch, "autograd.forward_ad")
    with fw.dual_level():
        a, b = fw.make_dual(x, torch.tensor([1.0, 0.0, -1.0])), fw.make_dual(w, torch.ones(2, 3))
        found = [fw.unpack_dual(y).tangent for y in (a, f(a), g(a), b @ a, a.exp() * 2, (a > 0).float() * a)]
        assert fw.unpack_dual(w * 2).tangent is None
        return found, fw.unpack_dual(b @ a).primal


@program
def forward_mode_misuse(torch):
    fw = part(torch, "autograd.forward_ad")
    found = []
    try:
        fw.make_dual(torch.ones(2), torch.ones(2))
    except RuntimeError:
        found.append("no level")
    with fw.dual_level():
        for other in (torch.ones(3), torch.ones(2)):
            try:
                fw.make_dual(torch.ones(2), other)
            except RuntimeError:
                found.append("shape")
        try:
            fw.enter_dual_level()
        except RuntimeError:
            found.append("nested")
    return found


def test_transforms_are_differentiated_by_what_their_function_closes_over():
    import flambeau as torch

    x, w = torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0])
    ways = {
        "jacrev": lambda f: torch.func.jacrev(f)(x).sum(),
        "jacfwd": lambda f: torch.func.jacfwd(f)(x).sum(),
        "jvp": lambda f: torch.func.jvp(f, (x,), (torch.ones(2),))[1].sum(),
        "vjp": lambda f: torch.func.vjp(f, x)[1](torch.ones(2))[0].sum(),
    }
    for name, way in ways.items():
        made = torch.func.grad(lambda w, way=way: way(lambda z: z.sin() * w))(w)
        assert torch.allclose(made, x.cos()), name
    assert not torch.func.jacrev(lambda z: z.sin())(x).requires_grad


def test_forward_over_a_standard_deviation_of_equal_numbers() -> None:
    import flambeau

    x = flambeau.ones(2, 3, dtype=flambeau.float64)
    value, tangent = flambeau.func.jvp(lambda x: x.std(0), (x,), (x * 2,))
    assert value.tolist() == tangent.tolist() == [0.0, 0.0, 0.0]
    assert flambeau.func.hessian(lambda x: x.std())(x).isfinite().all()
