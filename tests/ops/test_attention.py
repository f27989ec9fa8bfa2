"""Attention beside PyTorch: shapes, masks, groups of heads; and what its kernel promises."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

import flambeau  # noqa: E402
from flambeau.autograd import gradcheck, gradgradcheck  # noqa: E402
from flambeau.device import memory  # noqa: E402

F = flambeau.nn.functional
MASKS = ("shared", "hidden", "numbers", "padding")
FEW = ((2, 3, 6, 20), (2, 3, 150, 20), (2, 3, 150, 13))
WIDE = ((2, 3, 37, 20), (2, 3, 150, 20), (2, 3, 150, 13))


def mask_of(kind: str) -> Any:
    torch.manual_seed(1)
    if kind == "shared":
        return torch.rand(37, 150) > 0.3
    if kind == "hidden":  # some rows may see nothing
        seen = torch.rand(2, 1, 37, 150) > 0.3
        seen[0, 0, 4], seen[1, 0, :, 100:] = False, False
        return seen
    if kind == "numbers":
        return torch.randn(2, 3, 37, 150)
    padding = torch.zeros(2, 1, 1, 150)
    padding[0, ..., 30:], padding[1] = float("-inf"), float("-inf")
    return padding


CASES: dict[str, tuple[Any, dict[str, Any]]] = {
    "small": (((1, 1, 5, 4),) * 3, {}),
    "one query": (((2, 3, 1, 20), (2, 3, 150, 20), (2, 3, 150, 13)), {}),
    "other lengths": (WIDE, {}),
    "causal, more queries": (((2, 3, 150, 20), (2, 3, 37, 20), (2, 3, 37, 13)), {"is_causal": True}),
    "causal, more keys": (((2, 3, 37, 16), (2, 3, 250, 16), (2, 3, 250, 16)), {"is_causal": True}),
    "two dimensions": (((17, 8), (9, 8), (9, 5)), {}),
    "three dimensions": (((3, 33, 8), (3, 29, 8), (3, 29, 8)), {"scale": 0.3}),
    "five dimensions": (((2, 2, 3, 33, 8), (2, 2, 3, 29, 8), (2, 2, 3, 29, 8)), {"scale": -0.3}),
    "little, five dimensions": (((2, 2, 3, 17, 8), (2, 2, 3, 9, 8), (2, 2, 3, 9, 8)), {"scale": -0.3}),
    "little, groups": (((2, 8, 19, 20), (2, 2, 15, 20), (2, 2, 15, 20)), {"enable_gqa": True}),
    "groups": (((2, 8, 37, 20), (2, 2, 150, 20), (2, 2, 150, 20)), {"enable_gqa": True}),
    "groups, causal": (((2, 8, 130, 20), (2, 2, 130, 20), (2, 2, 130, 20)), {"enable_gqa": True, "is_causal": True}),
    "one head, segments": (((1, 1, 1100, 20), (1, 1, 90, 20), (1, 1, 90, 13)), {}),
    "segments, causal": (((2, 1, 530, 20), (2, 1, 600, 20), (2, 1, 600, 20)), {"is_causal": True}),
    "segments, groups": (((1, 6, 700, 20), (1, 3, 150, 20), (1, 3, 150, 13)), {"enable_gqa": True}),
    "few, causal": (((2, 3, 4, 20), (2, 3, 150, 20), (2, 3, 150, 13)), {"is_causal": True}),
    "few, causal, fewer keys": (((2, 3, 4, 20), (2, 3, 2, 20), (2, 3, 2, 13)), {"is_causal": True}),
    "few, groups": (((2, 8, 3, 20), (2, 2, 150, 20), (2, 2, 150, 13)), {"enable_gqa": True, "is_causal": True}),
    "few, five dimensions": (((2, 2, 3, 3, 8), (2, 2, 3, 90, 8), (2, 2, 3, 90, 5)), {"scale": -0.3}),
    **{f"few, mask, {kind}": (FEW, {"attn_mask": kind, "rows": 6}) for kind in MASKS},
    **{f"mask, {kind}": (WIDE, {"attn_mask": kind}) for kind in MASKS},
}  # fmt: skip


def given(name: str, dtype: Any) -> tuple[list[Any], Any, dict[str, Any]]:
    """Query, key and value, the mask and the other options of a case."""
    shapes, options = CASES[name]
    torch.manual_seed(0)
    inputs = [torch.randn(*s, dtype=dtype, requires_grad=True) for s in shapes]
    options = dict(options)
    mask = mask_of(options.pop("attn_mask")) if "attn_mask" in options else None
    if mask is not None and mask.dtype.is_floating_point:
        mask = mask.to(dtype)
    if mask is not None and mask.shape[-2] > 1:
        mask = mask[..., : options.pop("rows", None), :]
    options.pop("rows", None)
    return inputs, mask, options


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients(agree: Any, name: str, dtype: Any) -> None:
    inputs, mask, options = given(name, dtype)

    def call(t: Any, *x: Any) -> Any:
        return t.nn.functional.scaled_dot_product_attention(*x, **options)

    agree(call, *inputs, mask)


def test_views_of_one_projection(agree: Any) -> None:
    def call(t: Any, x: Any) -> Any:
        q, k, v = [p.unflatten(-1, (4, -1)).transpose(1, 2) for p in x.chunk(3, -1)]
        return t.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)

    agree(call, torch.randn(2, 70, 3 * 64, requires_grad=True))


@pytest.mark.parametrize("rows", [5, 14])
@pytest.mark.parametrize("options", [{"is_causal": True}, {"enable_gqa": True}, {"attn_mask": True}])
def test_second_order(options: dict[str, Any], rows: int) -> None:
    flambeau.manual_seed(0)
    shapes = ((1, 4, rows, 3), (1, 2 if "enable_gqa" in options else 4, 6, 3))
    q, k, v = (flambeau.randn(*s, dtype=flambeau.float64, requires_grad=True) for s in (*shapes, shapes[1]))
    if "attn_mask" in options:
        options = {"attn_mask": flambeau.rand(rows, 6) > 0.3}

    def call(*x: Any) -> Any:
        return F.scaled_dot_product_attention(*x, **options)

    assert gradcheck(call, (q, k, v))
    assert gradgradcheck(call, (q, k, v))


def test_queries_of_one_step_read_keys_and_values_once() -> None:
    """Eight heads of queries share two of keys: two products of four rows each, and a kernel between."""
    q, k = flambeau.randn(2, 8, 1, 32), flambeau.randn(2, 2, 400, 32)
    found = flambeau.explain(lambda: F.scaled_dot_product_attention(q, k, k, enable_gqa=True)).kernels
    assert [kernel.title for kernel in found] == ["contract", "_attention", "contract"]
    assert [kernel.choice[:6] for kernel in found[::2]] == ["4 rows", "tile 4"]


@pytest.mark.parametrize(("rows", "source", "size", "causal", "tiles"), [
    (64, 64, 32, False, False), (65, 65, 32, False, True), (32, 32, 32, True, False), (34, 34, 32, True, True),
    (16, 256, 16, False, False), (16, 512, 15, False, True),
])  # fmt: skip
def test_scores_that_take_less_than_what_is_read_go_by_products(
    rows: int, source: int, size: int, causal: bool, tiles: bool
) -> None:
    q, k = flambeau.randn(2, 2, rows, size), flambeau.randn(2, 2, source, size)
    found = flambeau.explain(lambda: F.scaled_dot_product_attention(q, k, k, is_causal=causal)).kernels
    assert any("attention_forward" in str(kernel) for kernel in found) == tiles


@pytest.mark.parametrize("rows", [40, 3])
@pytest.mark.parametrize("kind", ["bfloat16", "float16"])
def test_narrow_types_compute_in_float32(kind: str, rows: int) -> None:
    ours = flambeau.randn(2, 2, rows, 16).to(getattr(flambeau, kind))
    got = F.scaled_dot_product_attention(ours, ours, ours)
    wide = ours.float()
    want = F.scaled_dot_product_attention(wide, wide, wide).to(got.dtype)
    assert got.dtype is getattr(flambeau, kind)
    assert flambeau.equal(got, want)


def both(threads: int, causal: bool, p: float, shape: tuple[int, ...]) -> list[Any]:
    flambeau.manual_seed(2)
    q, k, v = (flambeau.randn(*shape, requires_grad=True) for _ in range(3))
    before = flambeau.get_num_threads()
    flambeau.set_num_threads(threads)
    try:
        out = F.scaled_dot_product_attention(q, k, v, is_causal=causal, dropout_p=p)
        out.square().sum().backward()
        flambeau.synchronize()
    finally:
        flambeau.set_num_threads(before)
    return [out, q.grad, k.grad, v.grad]


@pytest.mark.parametrize("shape", [(2, 4, 200, 24), (1, 1, 700, 24)])
@pytest.mark.parametrize("p", [0.0, 0.2])
@pytest.mark.parametrize("causal", [False, True])
def test_same_bits_on_any_number_of_threads(causal: bool, p: float, shape: tuple[int, ...]) -> None:
    for a, b in zip(both(1, causal, p, shape), both(2, causal, p, shape)):
        assert flambeau.equal(a, b)


def test_one_head_has_work_for_several_threads() -> None:
    x = flambeau.randn(1, 1, 2048, 16, requires_grad=True)
    y = F.scaled_dot_product_attention(x, x, x).sum()
    y.item()
    found = flambeau.explain(lambda: flambeau.autograd.grad(y, x)).kernels
    (backward,) = [kernel for kernel in found if kernel.title == "attention_backward"]
    assert backward.parts > 1


def test_memory_does_not_hold_the_scores() -> None:
    x = flambeau.randn(1, 1, 4096, 16, requires_grad=True)
    flambeau.synchronize()
    memory.reset_peak()
    before = memory.memory_stats()["peak"]
    F.scaled_dot_product_attention(x, x, x).sum().backward()
    flambeau.synchronize()
    assert memory.memory_stats()["peak"] - before < 4096 * 4096 * 4 // 8


@pytest.fixture(params=["tiles", "matrix"])
def form(request: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few weights and many, whatever their number is."""
    from flambeau.ops import attention

    monkeypatch.setattr(attention, "FEW_WEIGHTS", 0 if request.param == "tiles" else 1 << 40)


@pytest.mark.usefixtures("form")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", CASES)
def test_dropout_as_pytorch(agree: Any, name: str, dtype: Any) -> None:
    """The same numbers are drawn from the same seed, and as many: what comes after them agrees, too."""
    inputs, mask, options = given(name, dtype)

    def call(t: Any, *x: Any) -> Any:
        t.manual_seed(7)
        out = t.nn.functional.scaled_dot_product_attention(*x, dropout_p=0.3, **options)
        return out + t.rand(out.shape[-1])

    agree(call, *inputs, mask)


@pytest.mark.usefixtures("form")
def test_dropout_of_views(agree: Any) -> None:
    def call(t: Any, x: Any) -> Any:
        t.manual_seed(7)
        q, k, v = [p.unflatten(-1, (4, -1)).transpose(1, 2) for p in x.chunk(3, -1)]
        return t.nn.functional.scaled_dot_product_attention(q, k, v, dropout_p=0.5)

    agree(call, torch.randn(2, 70, 3 * 64, requires_grad=True))


@pytest.mark.usefixtures("form")
@pytest.mark.parametrize("options", [{}, {"is_causal": True}, {"enable_gqa": True}])
def test_second_order_with_dropout(options: dict[str, Any]) -> None:
    flambeau.manual_seed(0)
    shapes = ((1, 4, 5, 3), (1, 2 if "enable_gqa" in options else 4, 6, 3))
    q, k, v = (flambeau.randn(*s, dtype=flambeau.float64, requires_grad=True) for s in (*shapes, shapes[1]))

    def call(*x: Any) -> Any:
        flambeau.manual_seed(7)
        return F.scaled_dot_product_attention(*x, dropout_p=0.4, **options)

    assert gradcheck(call, (q, k, v))
    assert gradgradcheck(call, (q, k, v))


def test_dropout_of_everything_and_nothing() -> None:
    x = flambeau.randn(2, 5, 4)
    assert flambeau.equal(F.scaled_dot_product_attention(x, x, x, dropout_p=1.0), flambeau.zeros(2, 5, 4))
    before = flambeau.get_rng_state()
    F.scaled_dot_product_attention(x, x, x, dropout_p=0.0)
    assert flambeau.equal(flambeau.get_rng_state(), before)
    with pytest.raises(ValueError, match="between 0 and 1"):
        F.scaled_dot_product_attention(x, x, x, dropout_p=1.5)


def test_memory_with_dropout_is_one_byte_for_each_weight() -> None:
    x = flambeau.randn(1, 1, 2048, 16, requires_grad=True)
    flambeau.synchronize()
    memory.reset_peak()
    before = memory.memory_stats()["live"]
    F.scaled_dot_product_attention(x, x, x, dropout_p=0.1).sum().backward()
    flambeau.synchronize()
    assert memory.memory_stats()["peak"] - before < 2048 * 2048 * 2


def test_dropout() -> None:
    """The weights are those of the composed form, with the random numbers of `dropout`."""
    q, k, v = (flambeau.randn(2, 3, 5, 4) for _ in range(3))
    flambeau.manual_seed(3)
    got = flambeau.nn.functional.scaled_dot_product_attention(q, k, v, dropout_p=0.5)
    flambeau.manual_seed(3)
    weights = flambeau.nn.functional.dropout((q @ k.transpose(-2, -1) / 2).softmax(-1), 0.5)
    assert flambeau.allclose(got, weights @ v, atol=1e-6)


@pytest.mark.parametrize("dtype", [flambeau.bfloat16, flambeau.float16])
def test_few_bits_are_rounded_once_where_heads_are_broadcast(dtype: flambeau.dtype) -> None:
    """Scores stay in float32, also where the weights are computed as a matrix."""
    flambeau.manual_seed(0)
    q, k, v = (5 * flambeau.randn(*s).to(dtype) for s in ((4, 3, 8), (4, 4, 6, 8), (4, 4, 6, 8)))
    given = [x.clone().requires_grad_() for x in (q, k, v)]
    y = F.scaled_dot_product_attention(*given)
    y.float().sum().backward()
    exact = [x.double().requires_grad_() for x in (q, k, v)]
    want = F.scaled_dot_product_attention(*exact)
    want.sum().backward()
    eps = flambeau.finfo(dtype).eps
    assert y.dtype is dtype and (y - want).abs().max() <= eps * want.abs().max()
    for a, b in zip(given, exact):
        assert a.grad.dtype is dtype and (a.grad - b.grad).abs().max() <= 4 * eps * b.grad.abs().max()
