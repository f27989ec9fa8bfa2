"""torch.library and torch.ops: operators of one's own, found by name, with their gradients."""

from __future__ import annotations

import itertools

import pytest

import flambeau as torch

NUMBERS = itertools.count()


def cube(**facts):
    """An operator under a new name, and that name."""
    name = f"tests::cube{next(NUMBERS)}"

    def body(x: torch.Tensor, scale: float = 1.0) -> torch.Tensor:
        return x**3 * scale

    return torch.library.custom_op(name, body, mutates_args=(), **facts), name


def test_an_operator_is_called_by_name_and_has_its_gradient() -> None:
    op, name = cube()
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    found = getattr(torch.ops.tests, name[7:])
    with pytest.raises(RuntimeError, match="no autograd formula was registered"):
        found(x).sum().backward()

    def keep(ctx, inputs, output) -> None:
        ctx.save_for_backward(inputs[0])
        ctx.scale = inputs[1] if len(inputs) > 1 else 1.0

    def back(ctx, grad):
        return grad * 3 * ctx.saved_tensors[0] ** 2 * ctx.scale, *([None] if ctx.scale != 1.0 else [])

    torch.library.register_autograd(name, back, setup_context=keep)
    found.default(x, scale=2.0).sum().backward()
    assert x.grad.tolist() == [6.0, 24.0] and op(x).tolist() == [1.0, 8.0]


def test_a_library_defines_and_implements() -> None:
    space = f"tests{next(NUMBERS)}"
    lib = torch.library.Library(space, "DEF")
    lib.define("plus(Tensor x, Tensor y) -> Tensor")
    op = getattr(torch.ops, space).plus
    with pytest.raises(NotImplementedError, match="no implementation is registered"):
        op(torch.ones(1), torch.ones(1))
    lib.impl("plus", lambda x, y: x - y, "CUDA")
    lib.impl("plus", lambda x, y: x + y, "CPU")
    assert op(torch.ones(1), torch.ones(1)).item() == 2.0
    with pytest.raises(AttributeError, match="has no attribute 'minus'"):
        getattr(getattr(torch.ops, space), "minus")  # noqa: B009
    with pytest.raises(ValueError, match="namespace::name"):
        torch.library.custom_op("plain", mutates_args=())
    with pytest.raises(RuntimeError, match="does not exist"):
        torch.library.register_autograd(f"{space}::times", lambda ctx, g: g)


def test_functions_by_namespace() -> None:
    x = torch.tensor([1.0, -2.0])
    aten = torch.ops.aten
    assert aten.relu.default(x).tolist() == [1.0, 0.0] and aten.add.Tensor(x, x).tolist() == [2.0, -4.0]
    assert aten.add.Tensor is aten.add.Tensor and aten.add.Tensor.name() == "aten::add.Tensor"
    with pytest.raises(AttributeError):
        getattr(aten, "reluu")  # noqa: B009
