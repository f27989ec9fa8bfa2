"""`torch.fft`, `stft` and `istft` beside PyTorch: values, dtypes, gradients of two orders, errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import flambeau
from flambeau.ops import fourier

rng = np.random.default_rng(1)
REAL = rng.standard_normal((3, 5, 6))
COMPLEX = REAL + 1j * rng.standard_normal((3, 5, 6))
SIGNAL = rng.standard_normal((2, 60))
ONE = ["fft", "ifft", "rfft", "irfft", "hfft", "ihfft"]
SEVERAL = [
    "fftn",
    "ifftn",
    "rfftn",
    "irfftn",
    "hfftn",
    "ihfftn",
    "fft2",
    "ifft2",
    "rfft2",
    "irfft2",
    "hfft2",
    "ihfft2",
]
OF_REAL = ("rfft", "ihfft")
ONE_WAYS: list[dict[str, Any]] = [
    {},
    {"n": 4},
    {"n": 9, "norm": "ortho"},
    {"n": 7, "dim": 1},
    {"norm": "forward"},
]
WAYS: list[dict[str, Any]] = [
    {},
    {"s": (4, 8)},
    {"norm": "ortho", "dim": (0, 2)},
    {"s": (-1, 4), "norm": "forward"},
]


def arrays(x: Any) -> Any:
    if isinstance(x, (list, tuple)):
        return [arrays(v) for v in x]
    return str(x.dtype).rpartition(".")[2], x.detach().resolve_conj().numpy()


def same(got: Any, want: Any, tolerance: float) -> None:
    if isinstance(want, list):
        assert len(got) == len(want)
        for a, b in zip(got, want):
            same(a, b, tolerance)
        return
    assert got[0] == want[0] and got[1].shape == want[1].shape
    np.testing.assert_allclose(got[1], want[1], tolerance, tolerance)


def both(fn: Callable[[Any], Any], tolerance: float = 1e-9) -> None:
    torch = pytest.importorskip("torch")
    same(arrays(fn(flambeau)), arrays(fn(torch)), tolerance)


def with_gradients(fn: Callable[[Any, Any], Any], a: np.ndarray) -> Callable[[Any], Any]:
    def run(m: Any) -> Any:
        x = m.tensor(a, requires_grad=True)
        out = fn(m, x)
        w = m.linspace(0.2, 1.7, out.numel(), dtype=m.float64).reshape(out.shape)
        loss = (out.real * w + (out.imag * w.flip(0)) ** 2 if out.is_complex() else out * w + out * out).sum()
        (g,) = m.autograd.grad(loss, x, create_graph=True)
        return [out, g, *m.autograd.grad((g.abs() ** 2).sum(), x)]

    return run


@pytest.mark.torch
@pytest.mark.parametrize("name", ONE + SEVERAL)
def test_transforms(name: str) -> None:
    for options in ONE_WAYS if name in ONE else WAYS:
        for a in (REAL,) if name.startswith(OF_REAL) else (REAL, COMPLEX):
            both(with_gradients(lambda m, x, o=options: getattr(m.fft, name)(x, **o), a))
    single = REAL.astype("f") if name.startswith(OF_REAL) else COMPLEX.astype("F")
    both(lambda m: getattr(m.fft, name)(m.tensor(single)), 1e-5)
    both(lambda m: getattr(m.fft, name)(m.tensor([[1, 2, 3], [4, 5, 7]])), 1e-5)


@pytest.mark.parametrize("name", ["fft", "ifft", "rfft", "irfft"])
def test_threads_and_libraries(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same bits on any number of threads; without SciPy, NumPy's transforms."""
    given = np.random.default_rng(2).standard_normal((137, 1001)) + 0j
    x = flambeau.tensor(given.real if name == "rfft" else given)
    before = flambeau.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 3):
            flambeau.set_num_threads(threads)
            found.append(getattr(flambeau.fft, name)(x).numpy())
    finally:
        flambeau.set_num_threads(before)
    assert all(a.tobytes() == found[0].tobytes() for a in found)
    monkeypatch.setattr(fourier, "transforms", lambda: None)
    np.testing.assert_allclose(getattr(flambeau.fft, name)(x).numpy(), found[0], atol=1e-12)
    single = getattr(flambeau.fft, name)(x.to(flambeau.float32 if name == "rfft" else flambeau.complex64))
    np.testing.assert_allclose(single.numpy(), found[0], atol=1e-3)


@pytest.mark.torch
def test_real_transforms_are_mirrored() -> None:
    """All of a real tensor's transform from half of it, in exact mirror images, wherever the last of dims lies."""
    x = flambeau.tensor(np.random.default_rng(3).standard_normal((4, 5, 6, 7)))
    for dims in ((3,), (1,), (0, 2), (2, 1), (0, 1, 2, 3), (3, 0)):
        found = flambeau.fft.fftn(x, dim=dims).resolve_conj().numpy()
        np.testing.assert_allclose(found, np.fft.fftn(x.numpy(), axes=dims), atol=1e-12)
    for n in (1, 2, 3, 6, 7):
        found = flambeau.fft.fft(x[0, 0], n, dim=0).resolve_conj().numpy()
        assert np.array_equal(found[1:], found[:0:-1].conj())


def test_frequencies_and_order() -> None:
    both(lambda m: [m.fft.fftfreq(5), m.fft.fftfreq(8, 0.25), m.fft.rfftfreq(5), m.fft.rfftfreq(8, 0.1)])
    both(lambda m: [m.fft.fftshift(m.tensor(REAL)), m.fft.ifftshift(m.tensor(REAL), dim=(0, 2))])
    both(lambda m: m.fft.fft(m.tensor(COMPLEX)[:, ::2].transpose(0, 1), out=m.empty(0, dtype=m.complex128)))


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore:A window was not provided", "ignore:stft with return_complex")
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        {"n_fft": 16},
        {"n_fft": 16, "hop_length": 5, "win_length": 10},
        {"n_fft": 16, "normalized": True},
        {"n_fft": 8, "onesided": False},
    ],
)
def test_short_time(options: dict[str, Any], weighted: bool) -> None:
    def given(m: Any) -> dict[str, Any]:
        n = options.get("win_length", options["n_fft"])
        return options | {"window": m.hann_window(n, dtype=m.float64) if weighted else None}

    both(with_gradients(lambda m, x: m.stft(x, return_complex=True, **given(m)), SIGNAL), 1e-8)
    both(lambda m: m.stft(m.tensor(SIGNAL)[0], return_complex=False, **given(m)))
    back = lambda m, x: m.istft(m.stft(x, return_complex=True, **given(m)), **given(m))
    both(with_gradients(back, SIGNAL), 1e-8)
    both(lambda m: m.istft(m.stft(m.tensor(SIGNAL), return_complex=True, **given(m)), length=50, **given(m)))


ERRORS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "real": (
        lambda m: m.fft.rfft(m.tensor(COMPLEX)),
        "rfft expects a real input tensor, but got ComplexDouble",
    ),
    "points": (lambda m: m.fft.fft(m.tensor(REAL), n=0), "Invalid number of data points (0) specified"),
    "norm": (lambda m: m.fft.fft(m.tensor(REAL), norm="x"), 'Invalid normalization mode: "x"'),
    "dims": (lambda m: m.fft.fftn(m.tensor(REAL), dim=(0, 0)), "FFT dims must be unique"),
    "sizes": (lambda m: m.fft.fftn(m.tensor(REAL), s=(2,), dim=(0, 1)), "must have the same length"),
    "half": (lambda m: m.fft.fft(m.ones(3).half()), "Unsupported dtype Half"),
    "stft": (lambda m: m.stft(m.tensor(SIGNAL), 16), "stft requires the return_complex parameter"),
    "istft": (lambda m: m.istft(m.ones(9, 4), 16), "istft requires a complex-valued input tensor"),
}


@pytest.mark.torch
@pytest.mark.parametrize("name", ERRORS)
def test_errors(name: str) -> None:
    fn, words = ERRORS[name]
    for m in (flambeau, pytest.importorskip("torch")):
        with pytest.raises(RuntimeError) as caught:
            fn(m)
        assert words in str(caught.value)


def test_the_convolution_theorem() -> None:
    x, y = flambeau.tensor(REAL[0]), flambeau.tensor(REAL[1])
    found = flambeau.fft.irfft(flambeau.fft.rfft(x) * flambeau.fft.rfft(y), n=6)
    wanted = sum(x[:, [(i - k) % 6 for i in range(6)]] * y[:, k : k + 1] for k in range(6))
    assert flambeau.allclose(found, wanted)
