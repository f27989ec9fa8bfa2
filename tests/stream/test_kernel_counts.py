"""What fuses, as numbers: how many kernels a piece of a program becomes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import flambeau as torch
import flambeau.nn.functional as F

Count = Callable[[Callable[[], Any]], int]
rng = np.random.default_rng(0)


def data(*shape: int) -> Any:
    return torch.tensor(rng.standard_normal(shape).astype(np.float32))


x, y, row, column = data(64, 10), data(64, 10), data(10), data(64, 1)
w, b, square = data(20, 10), data(20), data(10, 10)
t = torch.tensor(np.arange(64) % 10)
image, taps, shift = data(2, 3, 8, 8), data(4, 3, 3, 3), data(4)

ONE: dict[str, Callable[[], Any]] = {
    "chain": lambda: ((x * 2 + y).exp() - 1).tanh().relu(),
    "numbers": lambda: (x * 3.5 - 2) / 7,
    "repeated": lambda: x.repeat_interleave(2, 1),
    "broadcast row": lambda: (x + row) * row,
    "broadcast column": lambda: (x * column + row).sigmoid(),
    "casts": lambda: (x.double() * 2).float() + y.half().float(),
    "comparison and where": lambda: torch.where(x > y, x, y * 2),
    "several results": lambda: (x + y, x - y, x * y),
    "softmax": lambda: x.softmax(-1),
    "softmax of columns": lambda: x.softmax(0),
    "log softmax": lambda: x.log_softmax(-1),
    "logsumexp": lambda: x.logsumexp(1),
    "softmax by hand": lambda: (lambda e: e / e.sum(1, keepdim=True))((x - x.amax(1, keepdim=True)).exp()),
    "layer norm": lambda: F.layer_norm(x, (10,), row, row),
    "layer norm by hand": lambda: (x - x.mean(1, keepdim=True))
    / (x.var(1, keepdim=True, correction=0) + 1e-5).sqrt() * row + row,
    "RMS norm by hand": lambda: x * torch.rsqrt((x * x).mean(-1, keepdim=True) + 1e-6) * row,
    "standardised columns": lambda: (x - x.mean(0)) / x.std(0),
    "sum of everything": lambda: (x * y).sum(),
    "mean and deviation": lambda: (x.mean(), x.std()),
    "cross entropy": lambda: F.cross_entropy(x, t),
    "cross entropy, smoothed": lambda: F.cross_entropy(x, t, label_smoothing=0.1),
    "negative log likelihood": lambda: F.nll_loss(F.log_softmax(x, -1), t),
    "mean squared error": lambda: F.mse_loss(x, y),
    "norm": lambda: x.norm(),
    "mean of row maxima": lambda: x.amax(1).mean(),
    "linear": lambda: F.linear(x, w, b),
    "linear and relu": lambda: F.relu(F.linear(x, w, b)),
    "linear and residual": lambda: F.linear(x, square, row) * 0.5 + x,
    "linear of three dimensions": lambda: F.relu(F.linear(x.view(4, 16, 10), w, b)),
    "loss of a linear": lambda: F.mse_loss(F.linear(x, square, row), y),
    "product kept and used": lambda: (lambda h: (h, h.relu()))(x @ square),
    "in place after a product": lambda: (x @ square).add_(row).relu_(),
    "convolution, bias, relu": lambda: F.relu(F.conv2d(image, taps, shift, padding=1)),
    "in-place chain": lambda: (x * 2).add_(y).mul_(3).clamp_(min=0),
    "transposed": lambda: x.t() * 2 + y.t(),
}  # fmt: skip


@pytest.mark.parametrize("name", ONE)
def test_one_kernel(count: Count, name: str) -> None:
    assert count(ONE[name]) == 1


def test_complex_results_read_where_they_are_made_have_no_memory() -> None:
    z = torch.complex(data(1000), data(1000))
    for f, moved in ((lambda: z * z + z, 16_000), (lambda: (z * z + z).abs(), 12_000)):
        assert str(torch.explain(f)).splitlines()[-1].strip() == f"{moved:,}"
    kept = torch.explain(lambda: (lambda p: (p, p + z))(z * z))
    assert str(kept).splitlines()[-1].strip() == "24,000"


def test_backward_of_softmax(count: Count) -> None:
    p, g = x.clone().requires_grad_(), data(64, 10)
    s = p.softmax(-1)
    s.detach().numpy()
    assert count(lambda: torch.autograd.grad(s, p, g, retain_graph=True)) == 1


def test_backward_of_layer_norm_input(count: Count) -> None:
    p, g = x.clone().requires_grad_(), data(64, 10)
    s = F.layer_norm(p, (10,))
    s.detach().numpy()
    assert count(lambda: torch.autograd.grad(s, p, g, retain_graph=True)) == 1


def test_operands_that_rows_repeat_are_cast_before(count: Count) -> None:
    """Weights cast for all rows do not cut the kernel of the rows in two."""
    low, weight, shift = x.bfloat16(), row.bfloat16(), (row + 1).bfloat16()
    low.sum().item(), weight.sum().item(), shift.sum().item()
    assert count(lambda: F.layer_norm(low, (10,), weight, shift)) == 2
    assert count(lambda: F.layer_norm(x, (10,), weight.float(), shift.float())) == 2


def test_dead_code_is_not_run(count: Count) -> None:
    def dead() -> None:
        z = (x * 2).exp()
        del z

    assert count(dead) == 0


def test_equal_expressions_are_computed_once(count: Count) -> None:
    assert count(lambda: (x @ square) + (x @ square)) == 1


def test_two_layers(count: Count) -> None:
    assert count(lambda: F.linear(F.relu(F.linear(x, w, b)), w.t())) == 2


def test_a_network_and_its_loss(count: Count) -> None:
    """Two products, each with what follows; the loss of rows of logits and its mean."""
    assert count(lambda: F.cross_entropy(F.linear(F.relu(F.linear(x, w, b)), w.t(), row), t)) == 3


def test_what_has_nothing_in_common_stays_apart(count: Count) -> None:
    other = data(64, 10)
    assert count(lambda: (x * 2, other + 1)) == 2


def test_equal_kernels_become_a_list(count: Count) -> None:
    other = data(30)
    assert count(lambda: (x * 2, other * 2)) == 1


def test_calls_that_depend_on_each_other_are_no_list(count: Count) -> None:
    assert count(lambda: x.exp()[1:].exp()) == 2


SHAPES = ([(7, 5), (5,), (1,), (3, 4, 2), (1, 1), (16, 16)] * 17)[:100]


@pytest.mark.parametrize(
    "name,options,extra",
    [("SGD", {}, 0), ("SGD", {"momentum": 0.9}, 0), ("Adam", {}, 1), ("AdamW", {}, 1), ("RMSprop", {}, 1)],
)
def test_optimiser_over_100_parameters(count: Count, name: str, options: dict[str, Any], extra: int) -> None:
    """One launch for all parameters; `extra`: the one that counts the steps."""
    params = [torch.nn.Parameter(data(*shape)) for shape in SHAPES]
    for p in params:
        p.grad = data(*p.shape)
    optimiser = getattr(torch.optim, name)(params, lr=0.01, **options)
    assert count(optimiser.step) == 1 + extra


def test_products_of_many_rows_share_few_kernels_of_their_own() -> None:
    """Other sizes met before do not send large products to the kernel for all sizes, which packs less."""
    from flambeau.stream import products, program

    layout = object()
    assert not any(products.several_rows(layout, m, 64, 64) for m in range(257, 2048, 64))
    assert any(products.several_rows(layout, m, 64, 64) for m in (32, 64, 100, 128, 256))
    assert not products.several_rows(layout, 1024, 64, 64)
    assert products.several_rows(layout, 3, 64, 64) and not products.several_rows(layout, 3, 64, 1024)
    w = torch.ones(40, 48)
    products = {m: torch.ones(m, 40) @ w for m in range(300, 420, 13)}
    before = program.STATS["kernels"]
    assert all(bool((y == 40).all()) for y in products.values())
    assert program.STATS["kernels"] - before <= 2 * len({m % 6 == 0 for m in products}) + 4


@pytest.mark.parametrize(
    ("rows", "columns", "most"), [(64, 128, 1), (256, 256, 1), (64, 2048, 2), (4096, 256, 64)]
)
def test_threads_do_not_share_short_rows(rows: int, columns: int, most: int) -> None:
    """Columns are summed and rows written in one kernel, divided by columns: a thread writes a piece of each row."""
    x, grad = torch.ones(rows, columns), torch.ones(rows, columns)

    def back() -> Any:
        masked = torch.where(x > 0, grad, 0.0)
        return masked, masked.sum(0)

    back()
    torch.synchronize()
    assert [k.parts for k in torch.explain(back).kernels] == [most]


@pytest.mark.parametrize(("size", "kernels"), [(16, 2), (72, 3)])
def test_large_images_are_not_written_in_another_order_by_their_convolution(size: int, kernels: int) -> None:
    """Groups of few channels are row-major: one kernel copies the source, and the result is written in the other order
    by the convolution itself only if it is small."""
    x, w = torch.ones(1, 32, size, size).to(memory_format=torch.channels_last), torch.ones(32, 4, 3, 3)

    def f() -> Any:
        return F.conv2d(x, w, padding=1, groups=8).relu()

    f()
    torch.synchronize()
    assert len(torch.explain(f).kernels) == kernels


@pytest.mark.parametrize("rows, kernels", [(600, 1), (800, 2)])
def test_what_reads_the_elements_of_a_large_whole_again(count: Count, rows: int, kernels: int) -> None:
    """Chunks of a reduction of everything are shared by the threads, so its second pass is a kernel of its own."""
    many = data(rows, 100)
    assert count(lambda: many / many.norm()) == kernels
    assert count(lambda: (many - many.mean()).exp()) == kernels


@pytest.mark.parametrize(
    "innermost, size, mode, turned",
    [
        (False, (40, 48), "bicubic", True),
        (True, (40, 48), "bicubic", True),
        (True, (96, 96), "bilinear", True),
        (True, (96, 56), "bilinear", False),
        (False, (96, 200), "bilinear", True),
        (False, (96, 160), "bilinear", False),
    ],
)
def test_pixels_are_resized_as_they_are_and_turned_for_many_lookups(
    innermost: bool, size: tuple[int, int], mode: str, turned: bool
) -> None:
    """Rows, turned, columns, turned: no kernel writes along another axis than it looks elements up along, or casts."""
    x = torch.randint(0, 256, (2, 3, 96, 128), dtype=torch.uint8)
    x = x.to(memory_format=torch.channels_last) if innermost else x

    def resize(x: Any) -> Any:
        return torch.nn.functional.interpolate(x, size, mode=mode, antialias=mode == "bicubic")

    resize(x).tolist()  # makes tables
    found = torch.explain(lambda: resize(x))
    titles = [k.title.split("_")[1] for k in found.kernels if k.title != "clone"]
    assert titles == ["mixed", "mixed"], found.kernels
    assert len(found.kernels) == (4 if turned else 2)
    assert found.result.is_contiguous(memory_format=torch.channels_last) == innermost
    assert torch.equal(found.result, resize(x.float()).round().clamp(0, 255).to(torch.uint8))
