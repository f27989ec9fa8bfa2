"""The order of additions is that of the shape: a model of it in NumPy gives the same bits for every layout."""

import os
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

import flambeau as torch
from flambeau.loop.recipes.analysis import Nest
from flambeau.loop.recipes.nest import lower
from flambeau.loop.text import show

SHAPES = [
    (40, 20, 3, 3),
    (4, 6, 7, 9),
    (2, 70, 5, 5),
    (3, 40, 20, 20),
    (70, 30, 40),
    (300, 200, 3),
    (3, 1, 300, 200),
    (33, 70, 1, 4),
    (16, 1100, 64),  # turned rows in scratch of the kernel
    (16, 40, 20, 20),  # whose chunks share them
]


def removed(shape, dims):
    """The reduced dimensions, neighbours together; those of extent 1 count for nothing."""
    found, last = [], False
    for d, n in enumerate(shape):
        if n > 1 and d in dims:
            found = [*found[:-1], [*found[-1], d]] if last else [*found, [d]]
        last = d in dims if n > 1 else last
    return found


def model(x, dims):
    """The sum over dims: neighbours are one long axis; chunks, 16 lanes, a tree, chunks folded in float64."""
    groups, kept = removed(x.shape, dims), [d for d in range(x.ndim) if d not in dims]
    ones = [d for d in dims if x.shape[d] == 1]
    shape = [x.shape[d] for d in kept]
    if not groups:
        return x.reshape(shape)
    inner = int(np.prod([x.shape[d] for d in groups[-1]]))
    order = [*kept, *ones, *[d for some in groups for d in some]]
    rows = x.transpose(order).reshape(int(np.prod(shape)), -1, inner)
    total = np.zeros(len(rows))
    step = max(1, 32768 // inner)
    for first in range(0, rows.shape[1], step):
        for at in range(0, inner, 32768):
            lanes = np.zeros((len(rows), 16), np.float32)
            chunk = rows[:, first : first + step, at : at + 32768]
            for o in range(chunk.shape[1]):
                for k in range(0, chunk.shape[2], 16):
                    some = chunk[:, o, k : k + 16]
                    lanes[:, : some.shape[1]] += some
            while lanes.shape[1] > 1:
                half = lanes.shape[1] // 2
                lanes = lanes[:, :half] + lanes[:, half:]
            total += lanes[:, 0]
    return total.astype(np.float32).reshape(shape)


def layouts(x):
    """Tensors with the values of an array that lie differently in memory, by name."""
    n = x.ndim
    inside = tuple(slice(1, -1) for _ in x.shape)
    wide = np.zeros([k + 2 for k in x.shape], np.float32)
    wide[inside] = x
    found = {"contiguous": torch.tensor(x), "view": torch.tensor(wide)[inside]}
    for name, order in {"innermost": (0, *range(2, n), 1), "reversed": tuple(reversed(range(n)))}.items():
        back = [order.index(d) for d in range(n)]
        found[name] = torch.tensor(np.ascontiguousarray(x.transpose(order))).permute(*back)
    return found


def dims_of(shape):
    return [dims for k in range(1, len(shape) + 1) for dims in combinations(range(len(shape)), k)]


def bits(x):
    return np.asarray(x, np.float32).tobytes()


def drawn(shape):
    return np.random.default_rng(sum(shape)).standard_normal(shape, dtype=np.float32)


@pytest.mark.parametrize("shape", SHAPES)
def test_every_layout_gives_the_bits_of_the_model(shape):
    x = drawn(shape)
    for dims in dims_of(shape):
        expected = model(x, dims)
        for name, t in layouts(x).items():
            assert bits(t.sum(dims).numpy()) == bits(expected), (dims, name)


@pytest.mark.parametrize("shape", [(40, 20, 3, 3), (3, 40, 20, 20), (70, 30, 40)])
def test_fused_operands_and_broadcasting_change_no_bits(shape):
    x, scale = drawn(shape), drawn((shape[0], *[1] * (len(shape) - 1)))
    last = drawn(shape[-1:])
    for dims in dims_of(shape):
        expected = model((x * scale) * last, dims)
        for name, t in layouts(x).items():
            got = ((t * torch.tensor(scale)) * torch.tensor(last)).sum(dims)
            assert bits(got.numpy()) == bits(expected), (dims, name)


def test_threads_change_no_bits():
    before = torch.get_num_threads()
    try:
        for shape in ((8, 64, 56, 56), (64, 256, 3, 3), (16, 1100, 64)):
            x = drawn(shape)
            for t in layouts(x).values():
                found = set()
                for threads in (1, 2):
                    torch.set_num_threads(threads)
                    found.add(bits((t * 1.0).sum().numpy()) + bits(t.sum().numpy()))
                assert len(found) == 1
    finally:
        torch.set_num_threads(before)


def test_neighbouring_dimensions_are_one():
    x = torch.tensor(drawn((6, 5, 3, 3)))
    assert bits(x.sum((2, 3)).numpy()) == bits(x.flatten(2).sum(2).numpy())
    assert bits(x.sum().numpy()) == bits(x.flatten().sum().numpy())
    assert bits(x.mean((1, 2, 3)).numpy()) == bits(x.flatten(1).mean(1).numpy())
    assert bits(x.var((0, 1)).numpy()) == bits(x.flatten(0, 1).var(0).numpy())


def test_reductions_of_the_same_axes_in_another_order_are_kernels_of_their_own():
    """Over (0, 2) of the one and (0, 1) of the other the same axes go, but only the latter are neighbours."""
    x = drawn((30, 7, 11))
    t = torch.tensor(x) * 1.0
    a, b = t.sum((0, 2)), t.transpose(1, 2).sum((0, 1))
    assert bits(a.numpy()) == bits(model(x, (0, 2)))
    assert bits(b.numpy()) == bits(model(x.transpose(0, 2, 1), (0, 1)))


@pytest.mark.parametrize("op", ["var", "std", "logsumexp", "amax", "norm"])
def test_other_reductions_agree_with_float64_and_with_themselves(op):
    x = drawn((6, 34, 5, 5))
    for dims in ((2, 3), (1, 2, 3), (0, 2, 3), (0, 1), (0, 1, 2, 3)):

        def of(t, dims=dims):
            return torch.linalg.vector_norm(t, dim=dims) if op == "norm" else getattr(t, op)(dims)

        found = {name: of(t).numpy() for name, t in layouts(x).items()}
        exact = of(torch.tensor(x.astype(np.float64))).numpy()
        for got in found.values():
            assert bits(got) == bits(found["contiguous"])
            np.testing.assert_allclose(got, exact, rtol=2e-6)


def test_positions_and_nan_of_rows_that_are_no_line():
    x = drawn((5, 20, 9))
    t = layouts(x)["innermost"]
    assert int(t.argmax()) == x.argmax() and int((t * 2).argmin()) == x.argmin()
    x[3, 7, 5] = np.nan
    assert int(layouts(x)["innermost"].argmax()) == 3 * 180 + 7 * 9 + 5
    t = layouts(x)["innermost"]
    assert np.isnan((t.amax() + t.sum()).numpy())


def test_long_sums_are_accurate_and_gradients_right():
    x = drawn((32, 64, 28, 28))
    for t in layouts(x).values():
        assert abs(float((t * t).sum()) / float((x.astype(np.float64) ** 2).sum()) - 1) < 1e-7
    small = torch.tensor(drawn((3, 17, 3, 3)).astype(np.float64)).permute(0, 2, 3, 1).requires_grad_()

    def of(t):
        return (t.sum((1, 2)) ** 2).sum() + t.std((0, 1)).sum() + t.logsumexp((1, 2, 3)).sum()

    assert torch.autograd.gradcheck(of, (small,)) and torch.autograd.gradgradcheck(of, (small,))


@pytest.mark.parametrize("target", ["x86-64-v2", "x86-64-v3", "interpreter"])
def test_targets_and_the_interpreter_agree(target):
    """Other targets of this machine, where it has them."""
    if target != "interpreter" and os.uname().machine != "x86_64":
        return
    env = {"FLAMBEAU_BACKEND": "python"} if target == "interpreter" else {"FLAMBEAU_TARGET": target}
    code = "from test_reduction_order import few; few()"
    folder = str(Path(__file__).parent)
    path = os.pathsep.join([folder, str(Path(torch.__file__).parents[1])])
    subprocess.run([sys.executable, "-c", code], env={**os.environ, **env, "PYTHONPATH": path}, check=True)


def few():
    """What another process looks at."""
    for shape in ((6, 20, 3, 3), (2, 34, 5, 5), (70, 6, 10)):
        test_every_layout_gives_the_bits_of_the_model(shape)


def test_indexed_reads_in_stretches():
    """A row that begins in the middle of a vector looks up nothing ahead of it; a wrong index is still found."""
    x, table = drawn((7, 30, 20)), drawn((50,))
    i = np.random.default_rng(0).integers(0, 50, (7, 30, 22))
    t, where = layouts(x)["view"], torch.tensor(i)[:, :, 1:21]
    expected = model(x * table[i[:, :, 1:21]], (0, 1, 2))
    assert bits((t * torch.tensor(table)[where]).sum().numpy()) == bits(expected)
    i[3, 4, 5], i[2, 2, 0] = 50, 99  # the latter is not looked at
    with pytest.raises(IndexError):
        (t * torch.tensor(table)[torch.tensor(i)[:, :, 1:21]]).sum().item()


def test_chunks_share_the_rows_that_are_turned():
    """Parts are few and whole: each turns 16 channels at a time once, for all chunks that they belong to."""
    x = torch.tensor(drawn((16, 40, 20, 20))).to(memory_format=torch.channels_last)
    assert [k.parts for k in torch.explain(lambda: x.sum()).kernels] == [x.numel() // (16 * 20 * 20 * 8)]
    both = x.argmax().item(), x.prod().item()
    assert both == (x.contiguous().argmax().item(), x.contiguous().prod().item())
    assert x.argmax().item() == int(drawn((16, 40, 20, 20)).argmax())


def test_tiles_of_columns_stay_near_where_elements_come_again():
    """A softmax over many rows has narrower tiles than fit scratch, a sum has not; columns do not depend on them."""
    x = torch.tensor(drawn((6000, 200)))
    whole = x.softmax(0)
    for first, last in ((0, 16), (40, 104), (190, 200)):
        assert torch.equal(x[:, first:last].contiguous().softmax(0), whole[:, first:last])
    assert torch.allclose(whole.sum(0), torch.ones(200))
    elements = ("load", 0), ("reduce", "max", 0, "f32"), ("map", "sub", "f32", 0, 1)
    rows = ("f32", "r", False, (1, "s")), ("f32", "w", False, (1, "s"))
    again = Nest("wide", 1, 1, elements, rows, ((2, 1),), "inner")
    once = Nest("wide", 1, 1, elements[:2], (*rows[:1], ("f32", "w", False, (1, 0))), ((1, 1),), "inner")
    assert ["let step" in show(lower((nest,), "k")) for nest in (again, once)] == [True, False]


@pytest.mark.parametrize(
    "shape, dims", [((70001, 33), (0,)), ((2130, 40), (0,)), ((9, 48, 70, 59), (0, 2, 3))]
)
def test_threads_share_the_rows_of_few_columns(shape, dims):
    """Each takes some of the accumulators, and the order stays: rows of many chunks, or of less than one."""
    x, scale = drawn(shape), drawn((1, shape[1], *[1] * (len(shape) - 2)))
    before, expected = torch.get_num_threads(), model(x, dims)
    t = torch.tensor(x)
    t, where = t.to(memory_format=torch.channels_last) if len(shape) == 4 else t, torch.tensor(scale)
    try:
        for threads in (1, 2, 3, 7):
            torch.set_num_threads(threads)
            assert bits(t.sum(dims).numpy()) == bits(expected)
            both = t.sum(dims), (t * where).sum(dims), t.amax(dims)
            assert bits(both[0].numpy()) == bits(expected)
            assert bits(both[1].numpy()) == bits(model(x * scale, dims))
            assert np.array_equal(both[2].numpy(), x.max(dims))
    finally:
        torch.set_num_threads(before)
    (kernel,) = torch.explain(lambda: t.sum(dims)).kernels
    assert kernel.nbytes > x.nbytes + 4 * shape[1]  # accumulators that the parts leave
