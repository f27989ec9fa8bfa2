"""Forms and programs derived by symbols: the bits of traced ones, for any extents, and little is planned."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import flambeau as torch
from flambeau.ops import builtins, family, kin
from flambeau.ops.registry import ENTRIES
from flambeau.stream.program import STATS

nn = torch.nn.functional
D, V = 24, 11


def grads(call: Callable[..., Any]) -> Callable[..., Any]:
    """The gradients of a call by all inputs of floats, in one list with its result."""

    def there_and_back(*inputs: Any) -> Any:
        inputs = tuple([x.requires_grad_() if x.is_floating_point() else x for x in inputs])
        y = call(*inputs)
        wanted = [x for x in inputs if x.requires_grad]
        g = torch.tensor((np.arange(y.numel(), dtype="f4") % 7 - 3).reshape(y.shape))
        return [y, *torch.autograd.grad(y, wanted, g)]

    return there_and_back


def floats(*shape: int) -> Any:
    rng = np.random.default_rng(sum(shape))
    return torch.tensor(rng.standard_normal(shape).astype("f4"))


def numbers(n: int, most: int) -> Any:
    return torch.arange(n) * 7 % most


def grown(x: Any, keys: Any, values: Any) -> Any:
    """Attention of one query, a view whose strides along extents of 1 are odd, over keys and its own."""
    q, k, v = [y.view(1, 1, 3, 8).transpose(1, 2) for y in x.chunk(3, -1)]
    return nn.scaled_dot_product_attention(q, torch.cat([keys, k], 2), torch.cat([values, v], 2))


def turned(x: Any) -> Any:
    return x.transpose(1, 2)


def n_of(x: Any) -> int:
    return int(x.shape[0])


ATTENTION = lambda n, m: [floats(2, 2, n, 8), floats(2, 2, n, 8), floats(2, 2, n, 8)]
CALLS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "product": (lambda n, m: [floats(n, D), floats(D, 40)], torch.matmul),
    "product of both": (lambda n, m: [floats(n, m), floats(m, n)], torch.matmul),
    "products": (lambda n, m: [floats(3, n, m), floats(3, m, D)], torch.matmul),
    "transposed products": (lambda n, m: [turned(floats(3, n, m)), floats(3, n, D)], torch.matmul),
    "product and view": (lambda n, m: [floats(n + 1, D), floats(D, 40)], lambda x, w: x[1:] @ w),
    "linear": (lambda n, m: [floats(2, n, D), floats(m, D), floats(m)], nn.linear),
    "layer norm": (lambda n, m: [floats(2, n, D)], lambda x: nn.layer_norm(x, (D,))),
    "norm and weights": (
        lambda n, m: [floats(2, n, D), floats(D), floats(D)],
        lambda x, w, b: nn.layer_norm(x, (D,), w, b),
    ),
    "norm of any width": (
        lambda n, m: [floats(2, m, n), floats(n)],
        lambda x, w: nn.layer_norm(x, x.shape[-1:], w),
    ),
    "root mean square": (lambda n, m: [floats(m, n)], lambda x: nn.rms_norm(x, x.shape[-1:])),
    "mean": (lambda n, m: [floats(n, m)], lambda x: x.mean(0)),
    "var": (lambda n, m: [floats(n, m)], lambda x: x.var(1)),
    "cat": (lambda n, m: [floats(2, n, 5), floats(2, m, 5)], lambda x, y: torch.cat([x, y], 1)),
    "cat of one more": (lambda n, m: [floats(2, n, 5), floats(2, 1, 5)], lambda x, y: torch.cat([x, y], 1)),
    "cat of views": (lambda n, m: [floats(2, n, 10)], lambda x: torch.cat(x.chunk(2, -1)[::-1], 1)),
    "attention": (ATTENTION, lambda q, k, v: nn.scaled_dot_product_attention(q, k, v)),
    "causal attention": (ATTENTION, lambda q, k, v: nn.scaled_dot_product_attention(q, k, v, is_causal=True)),
    "attention of one": (
        lambda n, m: [floats(1, 3, 1, 8), floats(1, 3, n, 8), floats(1, 3, n, 8)],
        lambda q, k, v: nn.scaled_dot_product_attention(q, k, v),
    ),
    "attention of views": (
        lambda n, m: [turned(floats(2, n, 3, 8)) for _ in range(3)],
        lambda q, k, v: nn.scaled_dot_product_attention(q, k, v),
    ),
    "a cache that grows": (lambda n, m: [floats(1, 1, 72), floats(1, 3, n, 8), floats(1, 3, n, 8)], grown),
    "embedding": (lambda n, m: [numbers(n, V), floats(V, D)], lambda i, w: nn.embedding(i, w)),
    "cross entropy": (
        lambda n, m: [floats(n, V), numbers(n, V)],
        lambda x, t: nn.cross_entropy(x, t).reshape(1),
    ),
    "gelu": (lambda n, m: [floats(n, m)], nn.gelu),
    "softmax": (lambda n, m: [floats(2, n, m)], lambda x: x.softmax(1)),
    "broadcast": (lambda n, m: [floats(n, m), floats(m), floats(n, 1)], lambda x, y, z: x * y + z),
    "running sums": (lambda n, m: [floats(n, m)], lambda x: x.cumsum(0) + x.cumprod(1)),
    "sort": (lambda n, m: [floats(n, m)], lambda x: x.sort(0).values),
    "topk": (lambda n, m: [floats(n + 3, m)], lambda x: x.topk(3, dim=0).values),
    "median": (lambda n, m: [floats(n, m)], lambda x: x.median(0).values),
    "flip": (lambda n, m: [floats(n, m)], lambda x: x.flip(0)),
    "convolution": (
        lambda n, m: [floats(2, 5, n + 2), floats(6, 5, 3)],
        lambda x, w: nn.conv1d(x, w, padding=1),
    ),
    "largest of windows": (lambda n, m: [floats(2, 5, n + 1)], lambda x: nn.max_pool1d(x, 2)),
    "in place": (lambda n, m: [floats(n, m), floats(m)], lambda x, y: (x * 2).add_(y).mul_(1.5).exp_()),
    "written at places": (
        lambda n, m: [floats(V, 5), numbers(n, V), floats(n, 5)],
        lambda x, i, y: x.clone().index_add_(0, i, y),
    ),
    "numbers in order": (
        lambda n, m: [floats(n)],
        lambda x: x * torch.arange(n_of(x)) + torch.linspace(0, 1, n_of(x)),
    ),
    "mse": (lambda n, m: [floats(n, m), floats(n, m)], lambda x, y: nn.mse_loss(x, y).reshape(1)),
}
SHAPES = (
    [(n, 9) for n in range(2, 12)] + [(n, 17) for n in (5, 33, 64, 65)] + [(300 + n, 9) for n in range(5)]
)
SHAPES += [(1, 9), (9, 1), (3, 300), (16, 16), (17, 16), (128, 31), (31, 128), (600, 9), (13, 9), (14, 9)]


def forget() -> None:
    """No form is known."""
    for entry in ENTRIES.values():
        entry.cache.clear()
        entry.kin.clear()


def results(call: Callable[..., Any], make: Callable[..., Any]) -> list[list[Any]]:
    """What a call gives over all shapes."""
    found = []
    for shape in SHAPES:
        made = call(*make(*shape))
        found.append([x.detach().numpy().copy() for x in (made if isinstance(made, list) else [made])])
    return found


@pytest.mark.parametrize("back", [False, True], ids=["forward", "backward"])
@pytest.mark.parametrize("name", CALLS)
def test_derived_forms_give_the_bits_of_traced_ones(name, back, monkeypatch):
    make, call = CALLS[name]
    call = grads(call) if back else call
    builtins.install()
    forget()
    got = results(call, make)
    monkeypatch.setattr(kin, "derive", lambda *call: None)
    monkeypatch.setattr(kin.Kin, "settle", lambda self: None)
    monkeypatch.setattr(family, "note", lambda *call: None)
    monkeypatch.setattr(family, "suitable", lambda form: False)
    forget()
    want = results(call, make)
    forget()
    for shape, a, b in zip(SHAPES, got, want):
        for x, y in zip(a, b, strict=True):
            assert x.dtype == y.dtype and x.shape == y.shape and x.tobytes() == y.tobytes(), shape


LONG = [(4 * n + 257, 9) for n in range(60)]


@pytest.mark.parametrize(
    "name", [n for n in CALLS if n not in ("product of both", "product and view", "a cache that grows")]
)
def test_lengths_cost_little_planning(name):
    """Once some have been met, ever new lengths are derived: hardly any is planned, there and back."""
    make, call = CALLS[name]
    call = grads(call)
    builtins.install()
    forget()
    inputs = [make(*shape) for shape in LONG]
    for x in (x for given in inputs for x in given):
        x.data_ptr()
    planned = []
    for given in inputs:
        before = STATS["planned"]
        [x.data_ptr() for x in call(*given)]
        planned.append(STATS["planned"] - before)
    assert sum(planned[-20:]) <= 12, planned
    assert sum(planned[:20]) >= 6
    forget()


def test_checks_name_the_extents_of_the_form_that_failed():
    """An index out of range, in a form that was derived."""
    builtins.install()
    forget()
    for n in range(20, 40):
        nn.embedding(numbers(n, V), floats(V, D)).data_ptr()
    bad = numbers(77, V)
    bad[70] = V + n
    with pytest.raises(
        IndexError, match=f"{V + n} is out of bounds for dimension 0 with size {V}.* at position 1680"
    ):
        nn.embedding(bad * 1, floats(V, D)).data_ptr()
    assert nn.embedding(numbers(78, V), floats(V, D)).shape == (78, D)
    forget()


def test_a_place_is_searched_in_as_many_steps_as_the_length_takes():
    """A search by halves is longer where there is more: a graph for symbols serves as long as it has the same steps."""
    builtins.install()
    forget()
    lengths = [*range(130, 250, 7), 1000, 600, 300, 2000, 60, 20, 5, 1, 4000]
    for n in lengths:
        for m in (3, 7, n % 11 + 2):
            row, places = np.arange(n, dtype="f4"), np.linspace(-1, n + 1, m, dtype="f4")
            found = torch.searchsorted(torch.tensor(row), torch.tensor(places))
            assert found.tolist() == np.searchsorted(row, places).tolist(), (n, m)
    forget()


def test_draws_of_ever_new_lengths_are_derived(monkeypatch):
    """They write the generator's state: the numbers, and those that follow, are the ones of traced draws."""

    def drawn(lengths: Any) -> list[Any]:
        torch.manual_seed(3)
        return [
            t.tolist()
            for n in lengths
            for t in (torch.rand(n), torch.randn(n, 3), torch.randperm(n), nn.dropout(torch.ones(n, 5), 0.3))
        ]

    builtins.install()
    lengths = [*range(1, 40, 3), *range(100, 400, 17)]
    forget()
    for n in range(400, 440):
        drawn([n])
    before = STATS["planned"]
    got = drawn(lengths[-12:])
    assert STATS["planned"] - before <= 8
    got = drawn(lengths)
    forget()
    monkeypatch.setattr(family, "suitable", lambda form: False)
    assert got == drawn(lengths)
    forget()


def test_plans_belong_to_a_number_of_threads():
    """Work is divided by it."""
    threads = torch.get_num_threads()
    builtins.install()
    forget()
    w = floats(D, 40)
    try:
        for count in (2, 1, 2):
            torch.set_num_threads(count)
            for n in range(400, 420):
                x = floats(n, D)
                np.testing.assert_allclose((x @ w).numpy(), x.numpy() @ w.numpy(), atol=1e-4)
    finally:
        torch.set_num_threads(threads)
        forget()


def test_a_number_that_lost_its_symbol_is_found_out(monkeypatch):
    """What symbols gave serves only for extents that were seen to change nothing else."""
    from flambeau.stream.graph import const, map_

    builtins.install()
    forget()
    entry = ENTRIES["logsumexp"]
    body = entry.fn

    def leaking(self: Any, *rest: Any, **named: Any) -> Any:
        return map_("mul", body(self, *rest, **named), const(float(int(self.shape[0])), self.dtype))

    monkeypatch.setattr(entry, "fn", leaking)
    for n in range(3, 40):
        assert torch.zeros(n, 1).logsumexp(1).add(1).tolist() == [1] * n
        assert torch.logsumexp(torch.full((n, 2), 0.0), 1).tolist() == pytest.approx([n * 0.6931472] * n)
    forget()


def test_a_derived_instruction_that_comes_again_alone_is_not_planned():
    """Its own program serves; the bits are the same."""
    builtins.install()
    forget()
    x = floats(2, 90, D)
    for n in range(20, 50):
        nn.layer_norm(floats(2, n, D), (D,)).data_ptr()
    x.data_ptr()
    before = STATS["planned"]
    first = nn.layer_norm(x, (D,)).numpy().copy()
    for _ in range(5):
        assert nn.layer_norm(x, (D,)).numpy().tobytes() == first.tobytes()
    assert STATS["planned"] == before
    forget()


def test_large_results_come_and_go_as_they_do_where_they_are_planned():
    """A program over megabytes runs in several native calls; a derived one has the same."""
    call = grads(lambda x, t: nn.cross_entropy(x, t, reduction="sum").reshape(1))
    builtins.install()
    forget()
    for n in range(2400, 2426):
        x, t = floats(n, 300), numbers(n, 300)
        (_, dx) = call(x, t)
        e = np.exp(x.detach().numpy().astype("f8"))
        e /= e.sum(1, keepdims=True)
        e[np.arange(n), t.numpy()] -= 1
        np.testing.assert_allclose(dx.numpy(), -3 * e, atol=1e-5)
    plans = [
        plan
        for found in ENTRIES["_cross_entropy"].kin.values()
        if type(found) is family.Back
        for graph in found.family.graphs
        for known in graph.plans.values()
        for plan in known
    ]
    assert any(plan.cuts and len(plan.segments) > 1 for plan in plans)
    forget()


def test_a_cache_that_grows_plans_nothing():
    """Each step of a decoder has one key more."""
    make, call = CALLS["a cache that grows"]
    builtins.install()
    forget()
    with torch.no_grad():
        planned = []
        for n in range(40, 90):
            given = make(n, 9)
            [x.data_ptr() for x in given]
            before = STATS["planned"]
            call(*given).data_ptr()
            planned.append(STATS["planned"] - before)
    assert sum(planned[-20:]) <= 4 < sum(planned[:20]), planned
    forget()


def planned_for(sizes: Any, call: Callable[[int], Any]) -> list[int]:
    """How often something was planned for each of some sizes, each of which gives what it gives alone."""
    found = []
    for n in sizes:
        before = STATS["planned"]
        call(n)
        found.append(STATS["planned"] - before)
    return found


def test_ever_new_numbers_of_many_rows_share_kernels():
    w, b = floats(40, D), floats(40)
    sizes = list(range(260, 900, 7))
    made = planned_for(sizes, lambda n: nn.linear(floats(n, D), w, b).tolist())
    assert not any(made[-30:]) and sum(made) < 30
    x = floats(898, D)
    assert nn.linear(x, w, b)[:300].tolist() == nn.linear(x[:300], w, b).tolist()


def test_a_plan_that_has_not_served_for_longest_makes_room(monkeypatch):
    monkeypatch.setattr(family, "VARIANTS", 1)
    forget()
    w = floats(D, 40)
    for rows in (range(10, 30), range(1200, 1210)):
        made = planned_for(rows, lambda n: torch.matmul(floats(n, D), w).tolist())
    assert not any(made[-3:])


def test_large_elementwise_sizes_are_bound_for_symbols(monkeypatch):
    from flambeau.stream import rebind

    bound: list[int] = []
    bind = rebind.bind
    monkeypatch.setattr(rebind, "bind", lambda *a: bound.append(1) or bind(*a))
    for n in range(200, 230):
        bound.clear()
        x = floats(n, 300)
        assert (x.relu() * 2).tolist() == (x.numpy().clip(0) * np.float32(2)).tolist()
    assert not bound
