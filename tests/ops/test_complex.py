"""Complex tensors beside PyTorch: values, dtypes, printed forms, gradients, errors; their bits in every way to run."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import flambeau
from flambeau import config
from flambeau.stream.value import LOCAL

rng = np.random.default_rng(0)
X, Y = (rng.standard_normal((3, 4)) + 1j * rng.standard_normal((3, 4)) for _ in range(2))
M, V = rng.standard_normal((4, 4)) + 1j * rng.standard_normal((4, 4)), X[0]
STACK = rng.standard_normal((2, 3, 4)) + 1j * rng.standard_normal((2, 3, 4))
R = rng.standard_normal((3, 4))
SINGLE = [[1 + 2j, 3 - 1j, -0.5 + 0.25j], [0j, -2 + 0j, 1e-3 - 4j]]
PROGRAMS: dict[str, Callable[[Any], Any]] = {}
GRADIENTS: dict[str, tuple[Any, ...]] = {}


def plain(x: Any) -> Any:
    if isinstance(x, (list, tuple)):
        return [plain(v) for v in x]
    if not hasattr(x, "detach"):
        return x if isinstance(x, (bool, int, float, complex, str)) else str(x)
    x = x.detach().resolve_conj().resolve_neg()
    return str(x.dtype), np.asarray(x.numpy())


def same(got: Any, want: Any, tolerance: float) -> None:
    if isinstance(want, list):
        assert len(got) == len(want)
        for a, b in zip(got, want):
            same(a, b, tolerance)
    elif isinstance(want, tuple):
        assert got[0] == want[0] and got[1].shape == want[1].shape
        np.testing.assert_allclose(got[1], want[1], tolerance, tolerance)
    else:
        assert got == want and type(got) is type(want)


def single(m: Any) -> Any:
    return m.tensor(SINGLE)


def program(fn: Callable[[Any], Any]) -> Callable[[Any], Any]:
    PROGRAMS[fn.__name__] = fn
    return fn


@program
def made(m: Any) -> Any:
    m.manual_seed(3)
    drawn = [m.rand(5, dtype=m.complex64), m.randn(40, dtype=m.complex128), m.randn(3, dtype=m.cfloat)]
    filled = [m.full((2,), 1 + 2j), m.ones(2, dtype=m.complex128), m.zeros_like(single(m)), m.tensor(3 + 0j)]
    parts = [m.complex(m.ones(2), m.zeros(2, 1)), m.polar(m.tensor([1.0, 2.0]), m.tensor([3.0, 4.0]))]
    return drawn + filled + parts + [m.randn_like(single(m)), m.empty(20, dtype=m.cfloat).normal_(1, 2)]


@program
def parts(m: Any) -> Any:
    x = single(m)
    views = [x.real, x.imag, m.view_as_real(x), m.view_as_complex(m.ones(3, 2)), x.view(m.float32)]
    return [*views, x.conj(), x.abs(), x.angle(), x.sgn(), x.mH, x.H, m.isreal(x), x.isfinite(), x.bool()]


@program
def written(m: Any) -> Any:
    x = single(m)
    x.real.mul_(2)
    x.imag[0] = 7
    x[0, 1] = 9 - 9j
    x.real = m.ones(2, 3)
    x.imag.add_(x.real)
    m.view_as_real(x)[..., 0].neg_()
    x[:, 0].mul_(1j)
    x[:, m.tensor([1, 2])] = 4j
    a = x.numpy()
    a[0, 0] = 100j
    return [
        x * 1,
        x.sum(),
        x.pow_(2),
        x.masked_fill_(x.real > 0, 3j),
        x.scatter_add_(1, m.tensor([[0]]), x + 1),
    ]


@program
def moved(m: Any) -> Any:
    x, at = single(m), m.tensor([1, 0, 1])
    taken = [x[:, 1], x.t(), x[:, at], x[x.abs() > 1], x.flip(0), x[:, ::2], x.gather(1, at[None]), x.tril()]
    joined = [m.cat([x, m.ones(1, 3)]), m.stack([x, x], 1), m.where(x.real > 0, x, 1j), x.unfold(1, 2, 1)]
    return taken + joined + [x.to(m.complex128), x.t().contiguous(), x.nonzero(), x.masked_select(x.real > 0)]


@program
def compared(m: Any) -> Any:
    x = single(m)
    tests = [
        x == x.conj(),
        x != 0,
        m.isclose(x, x + 1e-9),
        m.allclose(x, x + 1),
        m.equal(x, x),
        x.any(),
        x.all(),
    ]
    return [
        *tests,
        m.is_complex(x),
        x.is_floating_point(),
        m.is_nonzero(m.tensor(1j)),
        x[0, 0].item(),
        x.tolist(),
    ]


@program
def promoted(m: Any) -> Any:
    found: list[Any] = []
    for d in (m.float32, m.float64, m.int64, m.bool, m.complex64, m.complex128):
        x = m.ones(2, dtype=d)
        found += [x * 1j, x[0] * 1j, x + m.ones(2, dtype=m.complex64), 1j / x, x ** (1 + 1j), (1 + 1j) ** x]
        found += [x + m.tensor(1j, dtype=m.complex128), x[0] + m.tensor(1j), str(m.result_type(x, 1j))]
    return [*found, m.complex64.to_real(), m.float32.to_complex(), m.finfo(m.complex64).eps]


@program
def computed(m: Any) -> Any:
    x, y = m.tensor(X), m.tensor(Y)
    names = "neg exp log log2 log10 sin cos tan sinh cosh tanh asin acos atan asinh acosh atanh sqrt rsqrt"
    names += " reciprocal square sigmoid abs angle sgn log1p expm1 exp2"
    ways = [getattr(m, name)(x) for name in names.split()]
    ways += [
        x + y,
        x - y,
        x * y,
        x / y,
        x**y,
        2**x,
        1j - x,
        m.addcmul(x, x, y, value=2j),
        m.add(x, y, alpha=1j),
    ]
    return ways + [x**p for p in (0, 2, 3, -1, 0.5, 1.7, 1j)]


@program
def reduced(m: Any) -> Any:
    x = m.tensor(X)
    sums = [x.sum(), x.mean(0), x.cumsum(1), x.prod(), x.prod(1), x.cumprod(1), x.var(), x.std(0)]
    return [*sums, x.norm(), x.norm(p=1, dim=1), m.linalg.vector_norm(x, ord=float("inf")), x[:0].prod(0)]


@program
def multiplied(m: Any) -> Any:
    x, y, a, v = m.tensor(X), m.tensor(M), m.tensor(STACK), m.tensor(V)
    ways = [x @ y, x @ v, v @ y, a @ y, m.bmm(a, a.mT), m.dot(v, v), m.vdot(v, v), m.outer(v, v), x.mH @ x]
    ways += [m.einsum("bij,jk->bik", a, y), m.addmm(x, x, y, beta=2j), m.linalg.vecdot(x, x), m.kron(y, y)]
    wide = m.view_as_complex(m.linspace(-1, 1, 2 * 70 * 70, dtype=m.float64).reshape(70, 70, 2))
    return [*ways, wide @ wide, m.nn.functional.conv1d(a, a[:, :, :2], padding=1)]


@program
def printed(m: Any) -> Any:
    x = single(m)
    more = [x * 1e5, m.tensor([1 + 2j, -3 - 4j]), m.tensor(1 + 2j), m.zeros(0, dtype=m.cfloat), x.cdouble()]
    more += [m.arange(3000).cfloat() * (1 - 0.5j), m.tensor([complex("nan"), 1.5 - 2j]), x.requires_grad_()]
    more += [x.real, x.conj(), x.abs(), x * 2, m.view_as_real(x)]
    return [repr(t) for t in more] + [f"{m.tensor(1 + 2j)}"]


@program
def trained(m: Any) -> Any:
    found = []
    for name, options in (
        ("SGD", {"momentum": 0.9}),
        ("Adam", {}),
        ("AdamW", {}),
        ("RMSprop", {}),
        ("Adagrad", {}),
    ):
        p, q = m.nn.Parameter(m.tensor(X)), m.nn.Parameter(m.tensor(R))
        optimizer = getattr(m.optim, name)([p, q], lr=0.01, **options)
        for _ in range(3):
            optimizer.zero_grad()
            ((p * p - q).abs() ** 2).sum().backward()
            optimizer.step()
        found += [p, q]
    m.manual_seed(0)
    layer = m.nn.Linear(3, 2, dtype=m.complex64)
    y = layer(m.randn(4, 3, dtype=m.complex64))
    (y.abs() ** 2).mean().backward()
    return [*found, y, layer.weight.grad, layer.bias.grad]


@pytest.mark.torch
@pytest.mark.parametrize("name", PROGRAMS)
def test_as_pytorch(name: str) -> None:
    torch = pytest.importorskip("torch")
    tolerance = 1e-5 if name in ("made", "written", "promoted", "parts", "trained") else 1e-9
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        same(plain(PROGRAMS[name](flambeau)), plain(PROGRAMS[name](torch)), tolerance)


def in_place(m: Any, x: Any) -> Any:
    y = x * 1
    y.real.mul_(2)
    y.imag[0] = y.real[1]
    y[2] = 3j
    y.mul_(x)
    m.view_as_real(y)[..., 0].add_(1)
    return y


def in_place_as_complex(m: Any, x: Any) -> Any:
    y = x * 1
    z = m.view_as_complex(y)
    z.mul_(2j)
    z[0].mul_(z[1] * 1)
    return y


def masked(m: Any, x: Any) -> Any:
    mask = x.detach().real > -1
    return m.masked.mean(x, 1, mask=mask) + m.masked.std(x, 1, mask=mask)


SMOOTH = "exp log sin cos tanh sqrt reciprocal square abs angle sgn acosh atan real imag"
for _name in SMOOTH.split(" "):
    GRADIENTS[_name] = (lambda m, x, name=_name: getattr(m, name)(x), X)
for _name in ["add", "mul", "div", "pow"]:
    GRADIENTS[_name] = (lambda m, x, y, name=_name: getattr(m, name)(x, y), X, V)
    GRADIENTS[_name + " of a real one"] = (
        lambda m, x, y, name=_name: getattr(m, name)(y, x),
        X,
        abs(R) + 0.1,
    )
GRADIENTS |= {
    "number": (lambda m, x: x * 1j + (2 + 1j) ** x, R),
    "views": (lambda m, x: m.view_as_complex(m.view_as_real(x) * 2), X),
    "complex": (lambda m, a, b: m.complex(a, b) ** 2, R, R),
    "polar": (lambda m, a, b: m.polar(a, b), abs(R) + 0.1, R),
    "reductions": (lambda m, x: x.prod(1) + x.cumprod(0).sum(1) + x.var(1) + x.norm(dim=1) + x.std(1), X),
    "products": (lambda m, a, y: m.einsum("bij,jk->bik", a @ y, y), STACK, M),
    "dots": (lambda m, x, y: m.vdot(x, y) * m.dot(x, y), V, V + 1),
    "convolution": (lambda m, x, w: m.nn.functional.conv1d(x, w), STACK, STACK[:, :, :2]),
    "moved": (lambda m, x: m.cat([x[1:, ::2].t(), x[:2][:, [0, 0, 2]].mH]), X),
    "chosen": (lambda m, x, y: m.where(x.real > 0, x, y), X, Y),
    "conj": (lambda m, x: x.conj() * x * x, X),
    "cast": (lambda m, x: x.to(m.float64) ** 2, X),
    "sums of powers": (lambda m, x, y: m.logaddexp(x, y) + x.logsumexp(1, True) + y.logcumsumexp(1), X, Y),
    "masked": (masked, X),
    "rms_norm": (lambda m, x, w: m.nn.functional.rms_norm(x, x.shape[1:], w, 0.1), X, X[0] + 1),
    "distance": (lambda m, x, y: m.nn.functional.l1_loss(x, y, reduction="none"), X, Y),
    "loss": (lambda m, x, y: m.nn.functional.mse_loss(m.view_as_real(x), m.view_as_real(y)), X, Y),
    "in place": (in_place, X),
    "in place, as complex": (in_place_as_complex, rng.standard_normal((3, 2))),
}


def gradients(m: Any, fn: Callable[..., Any], *arrays: np.ndarray) -> Any:
    """The result, the gradients of a real loss, and those of their size."""
    xs = [m.tensor(a).requires_grad_() for a in arrays]
    out = fn(m, *xs)
    weights = m.linspace(0.3, 1.7, out.numel(), dtype=m.float64).reshape(out.shape)
    loss = (
        m.view_as_real(out) * weights[..., None] + out.abs()[..., None] if out.is_complex() else out**2
    ).sum()
    first = m.autograd.grad(loss, xs, create_graph=True)
    second = m.autograd.grad(
        sum((g.abs() ** 2).sum() for g in first), xs, allow_unused=True, materialize_grads=True
    )
    return [out, *first, *second]


@pytest.mark.torch
@pytest.mark.parametrize("name", GRADIENTS)
def test_gradients(name: str) -> None:
    torch = pytest.importorskip("torch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        same(plain(gradients(flambeau, *GRADIENTS[name])), plain(gradients(torch, *GRADIENTS[name])), 1e-7)


@pytest.mark.parametrize("name", ["mul", "abs", "views", "products", "in place"])
def test_finite_differences(name: str) -> None:
    fn, *arrays = GRADIENTS[name]
    xs = [flambeau.tensor(a, requires_grad=True) for a in arrays]
    assert flambeau.autograd.gradcheck(lambda *x: fn(flambeau, *x), xs)
    if name != "in place":
        assert flambeau.autograd.gradgradcheck(lambda *x: fn(flambeau, *x), xs)


ERRORS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "order": (lambda m: single(m) < 1, "not implemented for 'ComplexFloat'"),
    "floor": (lambda m: single(m).floor(), "not supported for complex"),
    "sign": (lambda m: single(m).sign(), "use torch.sgn instead"),
    "imag": (lambda m: m.ones(2).imag, "imag is not implemented for tensors with non-complex dtypes"),
    "as real": (lambda m: m.view_as_real(m.ones(2)), "view_as_real is only supported for complex tensors"),
    "as complex": (lambda m: m.view_as_complex(m.ones(3)), "must have a last dimension of size 2"),
    "as complex, strides": (lambda m: m.view_as_complex(m.ones(2, 2).t()), "a last dimension with stride 1"),
    "in place": (lambda m: m.ones(2).mul_(1j), "can't be cast to the desired output type Float"),
    "alpha": (lambda m: m.add(m.ones(2), 1, alpha=1j), "argument alpha must not be a complex number"),
    "float": (lambda m: float(m.tensor(3j)), "cannot be converted to type double without overflow"),
    "backward": (
        lambda m: m.tensor([1j], requires_grad=True).sum().backward(),
        "only for real scalar outputs",
    ),
    "parts": (
        lambda m: m.complex(m.tensor([1]), m.tensor([2])),
        "Expected both inputs to be Half, Float or Double",
    ),
}


@pytest.mark.torch
@pytest.mark.parametrize("name", ERRORS)
def test_errors(name: str) -> None:
    fn, words = ERRORS[name]
    for m in (flambeau, pytest.importorskip("torch")):
        with pytest.raises((RuntimeError, TypeError)) as caught:
            fn(m)
        assert words in str(caught.value)


def mixed(x: Any, y: Any) -> Any:
    """Both dtypes of one memory in one flush; offsets; a chain; a product; a gradient."""
    a = x * y
    a.real.add_(1)
    b = a[1:, 1:].exp() + x[0, 0]
    z = x.detach().requires_grad_()
    ((z @ y.mT).abs() * 2).sum().backward()
    flambeau.view_as_real(b)[..., 1].mul_(2)
    return [a, b, b.real.sum(), a.conj() @ b.sum(0, keepdim=True).expand(4, 3), z.grad, a.prod(), a.cumsum(1)]


def test_bits_do_not_depend_on_the_way_to_run() -> None:
    x, y = flambeau.tensor(X).cfloat(), flambeau.tensor(Y).cfloat()
    S = LOCAL.s

    def bits() -> list[bytes]:
        return [t.detach().numpy().tobytes() for t in mixed(x, y)]

    S.eager = True
    try:
        wanted = bits()
    finally:
        S.eager = False
    assert all(bits() == wanted for _ in range(4))
    S.flush()
    config.set("backend", "python")
    try:
        assert bits() == wanted
    finally:
        S.flush()
        config.set("backend", "cpu")


def test_files_of_both() -> None:
    torch = pytest.importorskip("torch")
    for d in ("complex64", "complex128"):
        x = torch.tensor(X).to(getattr(torch, d))
        file = io.BytesIO()
        torch.save({"x": x, "part": x[:, ::2], "conj": x.conj()}, file)
        file.seek(0)
        got = flambeau.load(file)
        assert got["x"].dtype is getattr(flambeau, d) and (got["x"].numpy() == x.numpy()).all()
        assert (got["part"].numpy() == x[:, ::2].numpy()).all()
        assert (got["conj"].numpy() == x.numpy().conj()).all()
        file = io.BytesIO()
        flambeau.save(got, file)
        file.seek(0)
        assert (torch.load(file)["part"] == x[:, ::2]).all()


def test_a_captured_step() -> None:
    def step(x: Any, w: Any) -> Any:
        y = (x @ w) * (1 + 0.5j)
        return y.abs().sum(), y.conj()

    x, w = flambeau.tensor(X), flambeau.tensor(M)
    captured = flambeau.compile(step)
    wanted = plain(step(x, w))
    for _ in range(4):
        same(plain(captured(x, w)), wanted, 0)
    same(plain(captured(x * 2, w)), plain(step(x * 2, w)), 0)


def test_losing_the_imaginary_part_warns() -> None:
    with pytest.warns(UserWarning, match="discards the imaginary part"):
        flambeau.tensor([1 + 2j]).float()


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ((9, 7), (7, 5)),
        ((2, 30), (30, 40)),
        ((3, 1, 4, 6), (5, 6, 33)),
        ((40, 1), (1, 3)),
        ((4, 0), (0, 3)),
        ((0, 4), (4, 3)),
    ],
)
def test_products_of_matrices(left: tuple[int, ...], right: tuple[int, ...]) -> None:
    """Both ways to make a product of real matrices of a complex one, of views of every kind."""
    rng = np.random.default_rng(3)
    x, y = (rng.standard_normal((*s, 2)).view(np.complex128)[..., 0] for s in (left, right))
    a, b = flambeau.tensor(x), flambeau.tensor(y)
    ways = [
        (a @ b, x @ y),
        (a.conj() @ (b * 2j), x.conj() @ (y * 2j)),
        (b.mT @ a.mT, y.swapaxes(-1, -2) @ x.swapaxes(-1, -2)),
        (b.mH @ a.mH, (x @ y).conj().swapaxes(-1, -2)),
        (flambeau.stack([a, a], -1)[..., 1] @ b, x @ y),
        (a.real.to(a.dtype) @ b, x.real @ y),
        (a.to(flambeau.complex64) @ b.to(flambeau.complex64), x @ y),
    ]
    for made, wanted in ways:
        tolerance = 1e-12 if made.dtype is flambeau.complex128 else 1e-4
        np.testing.assert_allclose(made.numpy(), wanted, atol=tolerance)


@pytest.mark.parametrize(("rows", "kernels"), [(40, 2), (2, 3)])
def test_a_product_of_matrices_is_one_of_real_ones(rows: int, kernels: int) -> None:
    a, b = flambeau.ones(rows, 64, dtype=flambeau.complex64), flambeau.ones(64, 64, dtype=flambeau.complex64)
    found = [k.title for k in flambeau.explain(lambda: a @ b).kernels]
    assert len(found) == kernels and sum("contract" in title for title in found) == 1


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_numbers_that_are_written_at_places(dtype: str) -> None:
    kind, at = getattr(flambeau, dtype), flambeau.tensor([0, 0, -1])
    for value in (2.5, 3, 1.5j):
        assert flambeau.ones(4, dtype=kind).index_fill(0, at, value).tolist() == [value, 1, 1, value]
        assert flambeau.ones(4, dtype=kind).scatter_(0, at + 1, value).tolist() == [value, value, 1, 1]


def test_covariance_has_the_conjugate_on_the_right() -> None:
    rng = np.random.default_rng(3)
    x = rng.standard_normal((3, 6)) + 1j * rng.standard_normal((3, 6))
    got = flambeau.tensor(x)
    np.testing.assert_allclose(got.cov().numpy(), np.cov(x), atol=1e-12)
    np.testing.assert_allclose(got.corrcoef().numpy(), np.corrcoef(x), atol=1e-12)


def test_float_power_is_of_complex128() -> None:
    x = flambeau.tensor([1.0, 2.0])
    for made, wanted in (
        (flambeau.float_power(x, 1j), [1, 2**1j]),
        (flambeau.float_power(x + 1j, x), [1 + 1j, (2 + 1j) ** 2]),
        (flambeau.float_power(2j, x), [2j, -4]),
    ):
        assert made.dtype is flambeau.complex128
        np.testing.assert_allclose(made.numpy(), wanted, atol=1e-12)


def test_no_repeats() -> None:
    x = flambeau.ones(2, 3, dtype=flambeau.complex64)
    assert x.tile(0).shape == (2, 0) and x.repeat(2, 0, 1).shape == (2, 0, 3)


def test_whole_numbers_only() -> None:
    x = flambeau.ones(2, dtype=flambeau.complex64)
    for op in (flambeau.gcd, flambeau.lcm):
        with pytest.raises(NotImplementedError, match="ComplexFloat"):
            op(x, x)


def test_evenly_spaced_numbers() -> None:
    x = flambeau.linspace(1j, 3, 3)
    assert x.dtype is flambeau.complex64 and x.tolist() == [1j, 1.5 + 0.5j, 3]
    assert flambeau.linspace(0, 1, 3, dtype=flambeau.complex128).tolist() == [0, 0.5, 1]
    assert flambeau.linspace(4.3, -2.7, 3, dtype=flambeau.int64).tolist() == [4, 1, -2]


def test_logarithms_of_sums_far_apart() -> None:
    x = flambeau.tensor([1000 + 1j, -1000 + 2j, complex("-inf"), 1000 - 2j], dtype=flambeau.complex128)
    total = x[0] + np.log1p(np.exp(-3j))
    assert abs(x.logsumexp(0).item() - total) < 1e-12
    assert abs(x.logcumsumexp(0)[-1].item() - total) < 1e-12
    assert flambeau.logaddexp(x[2], x[2]).real.item() == -float("inf")
