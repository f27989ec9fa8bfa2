"""Views, in-place writes through them, joining and padding, beside PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import flambeau

torch = pytest.importorskip("torch")

VIEWS: dict[str, Callable[[Any, Any], Any]] = {
    "slice": lambda t, x: x[1:, ::2],
    "select": lambda t, x: x[:, -1],
    "newaxis": lambda t, x: x[None, ..., None],
    "narrow": lambda t, x: x.narrow(1, 1, 2),
    "unfold": lambda t, x: x.unfold(1, 3, 1),
    "diagonal": lambda t, x: x.diagonal(1, 0, 1),
    "movedim": lambda t, x: x.movedim(0, -1),
    "swapaxes": lambda t, x: x.swapaxes(0, 2),
    "flatten": lambda t, x: x.flatten(1),
    "unflatten": lambda t, x: x.unflatten(2, (1, -1)),
    "ravel": lambda t, x: x.transpose(0, 1).ravel(),
    "split": lambda t, x: x.split(2, 1)[1],
    "split_sizes": lambda t, x: x.split([1, 3], 1)[1],
    "chunk": lambda t, x: x.chunk(2, 2)[0],
    "tensor_split": lambda t, x: x.tensor_split(3, 1)[2],
    "unbind": lambda t, x: x.unbind(1)[2],
    "broadcast_to": lambda t, x: t.broadcast_to(x[:1], (5, 4, 3)),
    "mT": lambda t, x: x.mT,
    "as_strided": lambda t, x: x.contiguous().as_strided((2, 3), (1, 2), 1),
    "atleast": lambda t, x: t.atleast_3d(x[0, 0]),
    "cat": lambda t, x: t.cat([x, x[:, 1:]], 1),
    "stack": lambda t, x: t.stack([x, x * 2], -1),
    "hstack": lambda t, x: t.hstack([x, x]),
    "column_stack": lambda t, x: t.column_stack([x[0, 0], x[0, 1]]),
    "block_diag": lambda t, x: t.block_diag(x[0], x[1, :2]),
    "repeat": lambda t, x: x.repeat(2, 1, 2),
    "tile": lambda t, x: t.tile(x, (2, 2)),
    "repeat_interleave": lambda t, x: x.repeat_interleave(2, 1),
    "flip": lambda t, x: x.flip(0, 2),
    "roll": lambda t, x: x.roll((1, -2), (0, 1)),
    "rot90": lambda t, x: t.rot90(x, 3, (0, 1)),
    "meshgrid": lambda t, x: t.meshgrid(x[0, 0], x[0, 1], indexing="xy")[1],
    "pad": lambda t, x: t.nn.functional.pad(x, (1, -1, 2, 0), value=2.0),
    "reflect": lambda t, x: t.nn.functional.pad(x, (2, 1), mode="reflect"),
    "replicate": lambda t, x: t.nn.functional.pad(x, (2, 1), mode="replicate"),
    "circular": lambda t, x: t.nn.functional.pad(x, (2, 1), mode="circular"),
    "tril": lambda t, x: x.tril(1),
    "diag_embed": lambda t, x: t.diag_embed(x, 1),
    "trace": lambda t, x: x[0].trace(),
    "kron": lambda t, x: t.kron(x[0], x[1, :2]),
}


def pair(shape: tuple[int, ...], layout: str = "") -> tuple[Any, Any]:
    a = np.random.default_rng(3).standard_normal(shape).astype(np.float32)
    made = []
    for t in (flambeau, torch):
        x = t.tensor(a.T if layout else a)
        made.append((x.permute(*range(len(shape) - 1, -1, -1)) if layout else x).requires_grad_())
    return made[0], made[1]


@pytest.mark.parametrize("layout", ["", "transposed"])
@pytest.mark.parametrize("name", VIEWS)
def test_values_and_gradients(name: str, layout: str) -> None:
    x, y = pair((2, 4, 3), layout)
    if name == "as_strided" and layout:
        pytest.skip("as_strided reads memory, whose order differs")
    got, want = VIEWS[name](flambeau, x), VIEWS[name](torch, y)
    assert tuple(got.shape) == tuple(want.shape)
    np.testing.assert_allclose(got.detach().numpy(), want.detach().numpy(), rtol=1e-6)
    weight = np.arange(1, want.numel() + 1, dtype=np.float32).reshape(want.shape)
    (got * got * flambeau.tensor(weight)).sum().backward()
    (want * want * torch.tensor(weight)).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), y.grad.numpy(), rtol=1e-5, atol=1e-5)


def test_writing_through_a_view_rebases_the_base() -> None:
    a = flambeau.tensor([1.0, 2.0, 3.0], requires_grad=True)
    b = a * 2
    v = b[1:]
    v.mul_(3)
    b.sum().backward()
    assert a.grad.tolist() == [2, 6, 6]
    assert type(b.grad_fn).__name__ == "CopySlices"


@pytest.mark.parametrize("write", ["select", "transpose", "overlap"])
def test_writes_through_views_beside_pytorch(write: str) -> None:
    grads = []
    for t in (flambeau, torch):
        a = t.arange(12.0).reshape(3, 4).requires_grad_()
        b = a * a
        if write == "select":
            b[1].mul_(b[0].detach().clone())
            b[:, 2] = 0.0
        elif write == "transpose":
            c = b.t()
            c[1:3].add_(a.t()[1:3] * 2)
        else:
            b[:2].mul_(2)
            b[1:].mul_(a[1:])
        (b * b).sum().backward()
        grads.append(a.grad.numpy())
    np.testing.assert_allclose(grads[0], grads[1], rtol=1e-5)


def test_several_views_of_one_call_refuse_writes() -> None:
    b = flambeau.ones(4, requires_grad=True) * 1
    for view in (b.unbind(0)[0], b.chunk(2)[0], b.split(3)[1]):
        with pytest.raises(RuntimeError, match="multiple views"):
            view.add_(1)
    with pytest.raises(RuntimeError, match="leaf"):
        flambeau.ones(3, requires_grad=True)[1:].add_(1)


def test_metadata_in_place() -> None:
    x = flambeau.arange(6.0).reshape(2, 3)
    assert tuple(x.unsqueeze_(0).shape) == (1, 2, 3) and tuple(x.squeeze_(0).t_().shape) == (3, 2)
    assert x.tolist() == [[0, 3], [1, 4], [2, 5]]
    y = flambeau.arange(3.0)
    assert y.resize_(5).shape == (5,) and y[:3].tolist() == [0, 1, 2]
    z = flambeau.empty(0).set_(y)
    z[0] = 7
    assert y[0].item() == 7 and z.is_set_to(y) and y.untyped_storage().nbytes() == 20


def test_another_dtype_over_the_same_memory() -> None:
    x = flambeau.tensor([1.0, -2.0])
    bits = x.view(flambeau.int32)
    assert bits.tolist() == [0x3F800000, 0xC0000000 - (1 << 32)]
    bits[0] = 0x40400000
    assert x.tolist() == [3.0, -2.0]
    assert x.view(flambeau.uint8).shape == (8,)


def test_read_only_tensors_refuse_every_write() -> None:
    x = flambeau.zeros(3).readonly()
    for write in (
        lambda: x.add_(1),
        lambda: x[1:].mul_(2),
        lambda: x.__setitem__(0, 1.0),
        lambda: x.index_fill_(0, flambeau.tensor([0]), 1),
    ):
        with pytest.raises(RuntimeError, match="read-only"):
            write()
    assert x.tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("call", "exc", "words"),
    [
        (lambda x: x.narrow(0, 2, 5), RuntimeError, "exceeds dimension size"),
        (lambda x: x.diagonal(0, 1, 1), RuntimeError, "cannot be identical"),
        (
            lambda x: flambeau.cat([x, x[:, :1]]),
            RuntimeError,
            "Sizes of tensors must match except in dimension 0",
        ),
        (lambda x: flambeau.stack([x, x[0]]), RuntimeError, "equal size"),
        (lambda x: x.split([1, 1]), RuntimeError, "sum exactly to 3"),
        (lambda x: x[:1].expand(3, 4).add_(1), RuntimeError, "single memory location"),
        (
            lambda x: flambeau.nn.functional.pad(x, (5, 0), mode="reflect"),
            RuntimeError,
            "less than the corresponding",
        ),
    ],
)
def test_errors(call: Callable[[Any], Any], exc: type[Exception], words: str) -> None:
    with pytest.raises(exc, match=words):
        call(flambeau.zeros(3, 4))


@pytest.mark.parametrize("kind", ["float32", "float64", "int64", "int16", "uint8", "bool", "bfloat16"])
@pytest.mark.parametrize("shape", [(16, 16), (1, 40), (17, 300), (130, 257), (3, 70, 33)])
def test_reading_across_gives_what_reading_along_gives(kind: str, shape: tuple[int, ...]) -> None:
    """Tiles, their last rows and columns; beside an operand that is read along, and in place."""
    numbers = np.random.default_rng(0).integers(0, 9, shape)
    x = flambeau.tensor(numbers).to(getattr(flambeau, kind))
    turned = flambeau.tensor(np.ascontiguousarray(np.swapaxes(numbers, -1, -2))).to(x.dtype)
    assert flambeau.equal(x.transpose(-1, -2).contiguous(), turned)
    if kind == "bool":
        return
    other = flambeau.arange(numbers.size).reshape(turned.shape).to(x.dtype)
    assert flambeau.equal(x.transpose(-1, -2) * 2 + other, turned * 2 + other)
    y = other.clone()
    y += x.transpose(-1, -2)[..., :, :]
    assert flambeau.equal(y, other + turned)
    assert flambeau.equal(x[..., 1:].transpose(-1, -2).contiguous(), turned[..., 1:, :].contiguous())


@pytest.mark.parametrize("shape", [(5, 3, 40), (2, 15, 17), (1, 2, 1000), (40, 3, 2)])
def test_short_last_axes_give_their_lanes_to_a_long_one(shape: tuple[int, ...]) -> None:
    numbers = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    x = flambeau.tensor(numbers)
    turned = np.ascontiguousarray(np.swapaxes(numbers, 1, 2))
    np.testing.assert_array_equal(x.transpose(1, 2).contiguous().numpy(), turned)
    np.testing.assert_array_equal((x.transpose(1, 2) + flambeau.tensor(turned)).numpy(), turned + turned)
    assert x.transpose(0, 1).repeat_interleave(2, 0).is_contiguous()
    assert x[:, :1].repeat_interleave(3, 1).data_ptr() != x.data_ptr()
    assert x.clone().requires_grad_().repeat_interleave(3, 1).grad_fn.name() == "ViewBackward0"
    pairs = np.repeat(numbers, 2, -1)
    np.testing.assert_array_equal(x.repeat_interleave(2, -1).numpy(), pairs)
    np.testing.assert_array_equal(
        (x + flambeau.arange(shape[-1])).transpose(1, 2).exp().numpy().shape, turned.shape
    )


def test_a_square_onto_its_own_transpose() -> None:
    x = flambeau.arange(64.0 * 64).reshape(64, 64)
    want = x.numpy().T.copy()
    x.copy_(x.t().clone())
    np.testing.assert_array_equal(x.numpy(), want)
    x += x.t()
    np.testing.assert_array_equal(x.numpy(), want + want.T)


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
@pytest.mark.parametrize(
    "by", [(2, 1), (0, 2), (1, 2, 0, 3), (3, 3, 2, 1), (1, 1, 2, 0, 0, 1), (-1, 2), (10, 0), (9, 12, 1, 2)]
)
def test_padding_with_elements_of_the_tensor(mode: str, by: tuple[int, ...]) -> None:
    if min(by) < 0 and mode != "replicate":
        return
    x = np.random.default_rng(0).standard_normal((2, *[4, 5, 6][: len(by) // 2], 20)[-1 - len(by) // 2 :])
    found, want = (t.tensor(x, requires_grad=True) for t in (flambeau, torch))
    for t, given in ((flambeau, found), (torch, want)):
        y = t.nn.functional.pad(given, by, mode=mode)
        (y * t.arange(y.numel()).reshape(y.shape)).sum().backward()
        given.padded = y.detach().numpy()
    np.testing.assert_array_equal(found.padded, want.padded)
    np.testing.assert_array_equal(found.grad.numpy(), want.grad.numpy())


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_narrow_edges_are_copied_from_views(mode: str) -> None:
    """No index is computed for each element, there and back."""
    from flambeau.stream.nests import NestBuilder

    seen: list[Any] = []
    finish = NestBuilder.finish
    x = flambeau.ones(2, 3, 12, 20, requires_grad=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            NestBuilder, "finish", lambda self, *given: (seen.extend(self.values), finish(self, *given))[1]
        )
        flambeau.nn.functional.pad(x, (3, 3, 2, 1), mode=mode).sum().backward()
        x.grad.numpy()  # type: ignore[union-attr]
    assert seen and not any(v[0] in ("take", "index") for v in seen)


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
@pytest.mark.parametrize("by", [(1, 1), (1, 0, 0, 2), (0, 1, 1, 2), (1, 1, 1, 1, 0, 1)])
def test_gradients_of_padding(mode: str, by: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).standard_normal((1, 2, 3, 3, 3)[-2 - len(by) // 2 :])
    given = flambeau.tensor(x).transpose(-1, -2).contiguous().transpose(-1, -2).requires_grad_()
    pad = lambda t: flambeau.nn.functional.pad(t, by, mode=mode) ** 2
    assert flambeau.autograd.gradcheck(pad, (given,)) and flambeau.autograd.gradgradcheck(pad, (given,))


@pytest.mark.parametrize("shape", [(40,), (3, 17), (33, 40), (2, 3, 35)])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int64", "bool"])
def test_a_flip_walks_backwards(shape: tuple[int, ...], dtype: str) -> None:
    from flambeau.stream.nests import NestBuilder

    seen: list[Any] = []
    finish = NestBuilder.finish
    x = (np.random.default_rng(0).standard_normal(shape) * 3).astype(np.float32)
    found, want = (t.tensor(x).to(getattr(t, dtype)) for t in (flambeau, torch))
    flambeau.synchronize()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            NestBuilder, "finish", lambda self, *given: (seen.extend(self.values), finish(self, *given))[1]
        )
        for dims in ((-1,), (0,), tuple(range(len(shape)))):
            np.testing.assert_array_equal(
                (found.flip(dims).float() + 1).numpy(), (want.flip(dims).float() + 1).numpy()
            )
    assert "load" in [v[0] for v in seen] and "take" not in [v[0] for v in seen]


def test_a_number_fills_what_is_expanded():
    x = flambeau.zeros(2, 1, 3)
    view = x.expand(2, 5, 3)
    view[0].fill_(7)
    assert x.tolist() == [[[7.0] * 3], [[0.0] * 3]]
    view.zero_()
    assert x.sum().item() == 0 and view._version == x._version == 2
    flambeau.ones(1).expand(2, 0).fill_(1)
    flambeau.ones(0, 1).expand(0, 4).zero_()


def test_several_values_do_not_go_to_one_place():
    view = flambeau.zeros(1).expand(3)
    for name, write in (
        ("add_", lambda: view.add_(1)),
        ("copy_", lambda: view.copy_(flambeau.ones(3))),
        ("index_add_", lambda: view.index_add_(0, flambeau.arange(3), flambeau.ones(3))),
        ("index_put_", lambda: view.index_put_((flambeau.arange(3),), flambeau.ones(3))),
    ):
        with pytest.raises(RuntimeError, match=f"^{name}: unsupported operation: more than one element"):
            write()
    assert view[0].item() == 0


def test_the_gradient_of_a_filled_expanded_view():
    made = flambeau.ones(1, requires_grad=True) * 2
    view = made.expand(3)
    view.fill_(3.0)
    with pytest.raises(RuntimeError, match="more than one element of the written-to tensor"):
        view.sum().backward()


def test_repeats_of_each_slice() -> None:
    x = flambeau.arange(12.0).view(4, 3).t().requires_grad_()
    counts = flambeau.tensor([2, 9, 0, 9, 3], dtype=flambeau.int32)[::2]
    found = x.repeat_interleave(counts, 0)
    np.testing.assert_array_equal(found.detach().numpy(), np.repeat(x.detach().numpy(), [2, 0, 3], 0))
    found.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), np.repeat([[2.0], [0.0], [3.0]], 4, 1))
    places = flambeau.repeat_interleave(counts)
    assert places.dtype is flambeau.int32 and places.tolist() == [0, 0, 2, 2, 2]
    assert flambeau.repeat_interleave(flambeau.tensor([], dtype=flambeau.int64)).tolist() == []
    assert x.detach().repeat_interleave(flambeau.tensor([0, 0, 0]), 0).shape == (0, 4)
    for wrong in (
        flambeau.tensor([1.0, 2.0, 3.0]),
        flambeau.tensor([[1, 2, 3]]),
        flambeau.tensor([1, -1, 2]),
    ):
        with pytest.raises((NotImplementedError, RuntimeError), match="repeat"):
            x.repeat_interleave(wrong, 0)
        with pytest.raises((NotImplementedError, RuntimeError), match="repeat"):
            flambeau.repeat_interleave(wrong)


def test_main_diagonals_are_filled():
    assert flambeau.zeros(4, 3).fill_diagonal_(5).tolist() == [[5, 0, 0], [0, 5, 0], [0, 0, 5], [0, 0, 0]]
    tall = flambeau.zeros(7, 2).fill_diagonal_(1, wrap=True)
    assert tall.nonzero().tolist() == [[0, 0], [1, 1], [3, 0], [4, 1], [6, 0]]
    cube = flambeau.zeros(3, 3, 3).transpose(0, 1).fill_diagonal_(1)
    assert cube.nonzero().tolist() == [[i, i, i] for i in range(3)]
    for shape in ((2,), (2, 3, 2)):
        with pytest.raises(RuntimeError, match="dimensions"):
            flambeau.zeros(shape).fill_diagonal_(1)
    x = flambeau.ones(2, 2, requires_grad=True)
    (x * 2).fill_diagonal_(0).sum().backward()
    assert x.grad.tolist() == [[0, 2], [2, 0]]


def test_large_tensors_with_all_dimensions_turned() -> None:
    """Too large for caches, and whole lines are written: tiles go along another axis than small ones."""
    x = flambeau.arange(16 * 33 * 130 * 64, dtype=flambeau.float32).view(16, 33, 130, 64)
    for order in ((3, 2, 1, 0), (3, 1, 2, 0)):
        found = x.permute(order).contiguous()
        assert (found.numpy() == x.numpy().transpose(order)).all()
