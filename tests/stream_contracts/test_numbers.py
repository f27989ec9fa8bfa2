"""A number that changes from call to call compiles nothing new: constants that change become arguments of kernels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

import flambeau as torch
from flambeau.ops import compare
from flambeau.ops.entry import ENTRIES
from flambeau.stream import constants, fragments
from flambeau.stream.novelty import Novelty
from flambeau.stream.program import STATS

F, T = torch.nn.functional, torch.Tensor
Make = Callable[[], list[T]]


def some(*shapes: tuple[int, ...]) -> Make:
    return lambda: [torch.randn(*s) for s in shapes]


def positive(*shapes: tuple[int, ...]) -> Make:
    return lambda: [torch.rand(*s) * 0.8 + 0.1 for s in shapes]


def classes() -> T:
    return torch.arange(6)


ONE, TWO, THREE = some((6, 8)), some((6, 8), (6, 8)), some((6, 6), (6, 6), (6, 6))
LIST, HEADS, IMAGES = some((4, 3, 5)), some((1, 2, 6, 8), (1, 2, 6, 8), (1, 2, 6, 8)), some((2, 3, 4, 4))
CALLS: dict[str, tuple[Make, Callable[..., Any]]] = {
    "var": (ONE, lambda x, p: x.var(correction=3 * p)),
    "std": (ONE, lambda x, p: x.std(1, correction=3 * p)),
    "norm": (ONE, lambda x, p: torch.norm(x, p + 2.1, dim=1)),
    "vector_norm": (ONE, lambda x, p: torch.linalg.vector_norm(x, p + 2.1)),
    "pairwise_distance": (TWO, lambda x, y, p: F.pairwise_distance(x, y, p=p + 2.1, eps=p)),
    "cdist": (TWO, lambda x, y, p: torch.cdist(x, y, p=p + 2.1)),
    "dist": (TWO, lambda x, y, p: torch.dist(x, y, p=p + 2.1)),
    "normalize": (ONE, lambda x, p: F.normalize(x, p=p + 2.1, eps=p)),
    "renorm": (ONE, lambda x, p: torch.renorm(x, p + 2.1, 0, p)),
    "lp_pool1d": (positive((2, 3, 12)), lambda x, p: F.lp_pool1d(x, p + 2.1, 3)),
    "cosine_similarity": (TWO, lambda x, y, p: F.cosine_similarity(x / 9, y / 9, eps=p)),
    "layer_norm": (ONE, lambda x, p: F.layer_norm(x, (8,), eps=p)),
    "rms_norm": (ONE, lambda x, p: F.rms_norm(x, (8,), eps=p)),
    "group_norm": (LIST, lambda x, p: F.group_norm(x, 3, eps=p)),
    "instance_norm": (LIST, lambda x, p: F.instance_norm(x, eps=p)),
    "batch_norm": (
        LIST,
        lambda x, p: F.batch_norm(x, torch.zeros(3), torch.ones(3), training=True, momentum=p, eps=p),
    ),
    "batch_norm in use": (LIST, lambda x, p: F.batch_norm(x, torch.zeros(3), torch.ones(3), eps=p)),
    "local_response_norm": (
        positive((2, 6, 5)),
        lambda x, p: F.local_response_norm(x, 2, alpha=p, beta=p + 0.3, k=p + 1),
    ),
    "huber_loss": (TWO, lambda x, y, p: F.huber_loss(x, y, delta=p)),
    "smooth_l1_loss": (TWO, lambda x, y, p: F.smooth_l1_loss(x, y, beta=p)),
    "label_smoothing": (ONE, lambda x, p: F.cross_entropy(x, classes(), label_smoothing=p / 3)),
    "label_smoothing with weights": (
        ONE,
        lambda x, p: F.cross_entropy(x, classes(), weight=torch.ones(8), label_smoothing=p / 3),
    ),
    "label_smoothing of probabilities": (
        ONE,
        lambda x, p: F.cross_entropy(x, torch.eye(6, 8), label_smoothing=p / 3),
    ),
    "nan_to_num": (ONE, lambda x, p: (x / (x > 0)).log().nan_to_num(p, p + 1, p - 9)),
    "isclose": (TWO, lambda x, y, p: torch.isclose(x, y, rtol=p / 9, atol=p / 9)),
    "attention": (HEADS, lambda q, k, v, p: F.scaled_dot_product_attention(q, k, v, scale=p)),
    "attention with dropout": (
        HEADS,
        lambda q, k, v, p: F.scaled_dot_product_attention(q, k, v, dropout_p=p / 3),
    ),
    "attention in tiles": (
        some((1, 2, 48, 8), (1, 2, 48, 8), (1, 2, 48, 8)),
        lambda q, k, v, p: F.scaled_dot_product_attention(q, k, v, scale=p, is_causal=True),
    ),
    "histc": (positive((20,)), lambda x, p: torch.histc(x.detach(), 5, p - 1, p + 2)),
    "logit": (positive((6, 8)), lambda x, p: torch.logit(x, p / 3)),
    "celu": (ONE, F.celu),
    "elu": (ONE, F.elu),
    "leaky_relu": (ONE, F.leaky_relu),
    "softplus": (ONE, lambda x, p: F.softplus(x, p, 9 * p)),
    "threshold": (ONE, lambda x, p: F.threshold(x, p, 2 * p)),
    "hardshrink": (ONE, F.hardshrink),
    "softshrink": (ONE, F.softshrink),
    "hardtanh": (ONE, lambda x, p: F.hardtanh(x, -p, 2 * p)),
    "clamp": (ONE, lambda x, p: x.clamp(-p, 2 * p)),
    "rrelu": (ONE, lambda x, p: F.rrelu(x, p / 9, p, training=True)),
    "margin_ranking_loss": (TWO, lambda x, y, p: F.margin_ranking_loss(x, y, torch.ones(6, 8), margin=p)),
    "hinge_embedding_loss": (ONE, lambda x, p: F.hinge_embedding_loss(x, -torch.ones(6, 8), margin=p)),
    "cosine_embedding_loss": (
        TWO,
        lambda x, y, p: F.cosine_embedding_loss(x, x + y, -torch.ones(6), margin=p / 9),
    ),
    "triplet_margin_loss": (
        THREE,
        lambda x, y, z, p: F.triplet_margin_loss(x, y, z, margin=p, p=p + 2.1, eps=p),
    ),
    "multi_margin_loss": (ONE, lambda x, p: F.multi_margin_loss(x, classes(), margin=p)),
    "focal": (positive((6, 8)), lambda x, p: ((1 - x) ** (p + 1.7) * -x.log()).mean()),
    "dropout": (ONE, lambda x, p: F.dropout(x, p / 3)),
    "alpha_dropout": (ONE, lambda x, p: F.alpha_dropout(x, p / 3, True)),
    "dropout2d": (IMAGES, lambda x, p: F.dropout2d(x, p / 3)),
    "uniform_": (ONE, lambda x, p: x.detach().uniform_(-p, 2 * p)),
    "normal_": (ONE, lambda x, p: x.detach().normal_(p, 2 * p)),
    "exponential_": (ONE, lambda x, p: x.detach().exponential_(p)),
    "bernoulli_": (ONE, lambda x, p: x.detach().bernoulli_(p / 3)),
    "trunc_normal_": (ONE, lambda x, p: torch.nn.init.trunc_normal_(x.detach(), p, 2 * p)),
    "lerp": (TWO, lambda x, y, p: x.lerp(y, p)),
    "addcmul": (TWO, lambda x, y, p: x.addcmul(x, y, value=p)),
    "addcdiv": (TWO, lambda x, y, p: x.addcdiv(x, y, value=p)),
    "alpha of add": (TWO, lambda x, y, p: x.add(y, alpha=p)),
    "addmm": (THREE, lambda x, y, z, p: torch.addmm(x, y, z, beta=p, alpha=2 * p)),
    "poisson_nll_loss": (
        positive((6, 8), (6, 8)),
        lambda x, y, p: F.poisson_nll_loss(x, y, log_input=False, eps=p),
    ),
    "gaussian_nll_loss": (
        positive((6, 8), (6, 8), (6, 8)),
        lambda x, y, z, p: F.gaussian_nll_loss(x, y, z, eps=p),
    ),
    "gumbel_softmax": (ONE, lambda x, p: F.gumbel_softmax(x, tau=p)),
    "temperature": (ONE, lambda x, p: (x / p).softmax(1)),
    "pow": (positive((6, 8)), lambda x, p: x.pow(p + 1.07)),
    "power of complex numbers": (ONE, lambda x, p: ((x + 1j) ** (p + 1.1)).abs()),
    "masked_fill": (ONE, lambda x, p: x.masked_fill(x > p, p)),
    "pad": (ONE, lambda x, p: F.pad(x, (1, 1), value=p)),
    "quantile": (ONE, lambda x, p: x.quantile(p / 3, 1)),
    "logspace": (ONE, lambda x, p: torch.logspace(p, 3 * p, 7, base=p + 1)),
    "in front of a product": (THREE, lambda x, y, z, p: F.celu(x, p) @ F.elu(y, p)),
    "after a product": (THREE, lambda x, y, z, p: F.huber_loss(x @ y, z, delta=p)),
}


def numbers(first: int, last: int) -> list[float]:
    return [0.317 + 0.0731 * k * (1 + k / 40) for k in range(first, last)]


def results(name: str, p: float) -> list[bytes]:
    """The bytes of what a call gives for a number, and of its gradients."""
    make, call = CALLS[name]
    torch.manual_seed(3)
    given = [x.requires_grad_() for x in make()]
    out = call(*given, p)
    found = [out.detach().numpy().tobytes()]
    if out.requires_grad:
        out.square().sum().backward()
        found += [x.grad.numpy().tobytes() for x in given if x.grad is not None]
    return found


def forget() -> None:
    """Trace and plan everything anew."""
    for entry in ENTRIES.values():
        for known in (entry.cache, entry.cache_inplace, entry.kin):
            known.clear()


@pytest.fixture
def anew(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing was seen yet, and only instructions are planned: whole sequences are, once, after some calls."""
    monkeypatch.setattr(constants, "SEEN", {})
    monkeypatch.setattr(compare, "EXPONENTS", set(range(11, 11 + compare.FEW)))
    for name in ("idle", "met"):  # how rarely others are to look for fragments
        monkeypatch.setitem(fragments._count, name, fragments._count[name])
    monkeypatch.setattr(Novelty, "plans", classmethod(lambda cls, known, now, pending: False))
    torch.synchronize()
    forget()
    yield
    forget()


@pytest.mark.parametrize("name", CALLS)
def test_a_number_that_changes(anew: None, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No kernel is made from the third number on, and the bits are those of kernels that have it in their code."""
    for p in numbers(0, 6):
        results(name, p)
    before = STATS["kernels"]
    found = [results(name, p) for p in numbers(6, 9)]
    assert STATS["kernels"] == before
    assert not found[0] == found[1] == found[2]
    forget()
    monkeypatch.setattr(constants, "FEW", 99)
    assert [results(name, p) for p in numbers(6, 7)] == found[:1]


def test_counts_that_change(anew: None) -> None:
    """The gradient of a variance has a factor 2 / (n - 1)."""

    def step(n: int) -> float:
        x = torch.arange(3.0 * n).reshape(3, n).requires_grad_()
        (x.var() + x.std(1).sum()).backward()
        return float(x.grad.square().sum())

    for n in range(5, 45):
        step(n)
    before = STATS["kernels"], STATS["planned"]
    found = [step(n) for n in (73, 53, 86)]
    assert (STATS["kernels"], STATS["planned"]) == before and len(set(found)) == 3


def test_what_does_not_change_stays_in_the_code(anew: None) -> None:
    for p in numbers(0, 5):
        values: list[tuple[Any, ...]] = [("load", 0), ("const", "f32", 0.5), ("const", "f32", p), ("load", 1)]
        given: list[Any] = []
        constants.loosen(values, given)
        known = p in numbers(0, constants.FEW)
        assert values[1] == ("const", "f32", 0.5)
        assert values[2] == (("const", "f32", p) if known else ("num", "f32", 0))


NORMS = ("layer_norm", "rms_norm", "group_norm", "instance_norm", "batch_norm", "batch_norm in use")


@pytest.mark.parametrize(
    "name", ["huber_loss", "smooth_l1_loss", "label_smoothing", "cosine_similarity", *NORMS]
)
def test_a_number_that_changes_each_step(name: str) -> None:
    """The number is an argument of the op: the step is one that is known, and nothing is traced or planned again."""
    for p in numbers(0, 8):
        results(name, p)
    before = STATS["planned"], STATS["kernels"]
    found = [results(name, p) for p in numbers(8, 11)]
    assert (STATS["planned"], STATS["kernels"]) == before
    assert not found[0] == found[1] == found[2]


@pytest.mark.parametrize(
    "call", [lambda x, k: F.pad(x, (k, 1)), lambda x, k: x.roll(k, 1)], ids=["pad", "roll"]
)
def test_a_place_that_changes(anew: None, call: Callable[[T, int], T]) -> None:
    """How far elements move is an extent: a form and its gradient are derived."""

    def step(k: int) -> list[float]:
        x = torch.arange(1.0, 121.0).reshape(3, 40).requires_grad_()
        y = call(x, k)
        (y * y).sum().backward()
        assert torch.equal(x.grad, 2 * x)
        return y[0].tolist()

    for k in range(2, 28):
        step(k)
    before = STATS["planned"]
    assert step(31).index(1) == 31 and step(29).index(6) == 34 and STATS["planned"] == before


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (
            lambda x, k: x.tril(k - 4),
            lambda x, k: [[float(j <= i + k - 4) for j in range(8)] for i in range(6)],
        ),
        (
            lambda x, k: x.triu(k - 4),
            lambda x, k: [[float(j >= i + k - 4) for j in range(8)] for i in range(6)],
        ),
        (
            lambda x, k: F.nll_loss(x, classes(), ignore_index=k, reduction="sum"),
            lambda x, k: [[-float(i == j != k) for j in range(8)] for i in range(6)],
        ),
        (
            lambda x, k: F.cross_entropy(x, classes(), ignore_index=k, reduction="none"),
            lambda x, k: ((x.softmax(1) - torch.eye(6, 8)) * (torch.arange(6) != k).unsqueeze(1)).tolist(),
        ),
    ],
    ids=["tril", "triu", "nll_loss", "cross_entropy"],
)
def test_a_whole_number_that_changes(anew: None, call: Any, expected: Any) -> None:
    """Which diagonal bounds a triangle, and which class does not count, are arguments of kernels."""

    def step(k: int) -> None:
        x = torch.randn(6, 8, requires_grad=True)
        call(x, k).sum().backward()
        assert torch.allclose(x.grad, torch.tensor(expected(x.detach(), k)))

    for k in (1, 2, 3):  # with 4, diagonals are those by default
        step(k)
    before = STATS["planned"], STATS["kernels"]
    for k in (5, 6, 7):
        step(k)
    assert (STATS["planned"], STATS["kernels"]) == before
