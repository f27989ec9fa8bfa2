"""Every module of PyTorch's module database: the same parameters from the same seed, printed form, state and result."""

from __future__ import annotations

import functools
import warnings

import pytest

torch = pytest.importorskip("torch")

from . import host  # noqa: E402

common = pytest.importorskip("torch.testing._internal.common_modules")
INFOS = {info.name: info for info in common.module_db}


@functools.cache
def samples(name, training, count=2):
    info = INFOS[name]
    torch.manual_seed(1)
    found = list(
        info.module_inputs_func(
            info, device="cpu", dtype=torch.float32, requires_grad=True, training=training
        )
    )
    return [s for s in found[:: max(1, len(found) // count)] if not others(s)]


def others(sample):
    """Modules among the constructor's arguments belong to torch.nn; float64 samples do not fit float32 inputs."""
    given = [*sample.constructor_input.args, *sample.constructor_input.kwargs.values()]
    if any(isinstance(v, torch.Tensor) and v.dtype == torch.float64 for v in given):
        return True
    return any(isinstance(v, (torch.nn.Module, torch.nn.LinearCrossEntropyOptions)) for v in given)


def run(cls, sample, training):
    torch.manual_seed(2)
    made = cls(*sample.constructor_input.args, **sample.constructor_input.kwargs).train(training)
    drawn = {k: v.clone() for k, v in made.state_dict().items() if "Uninitialized" not in type(v).__name__}
    result = None
    if sample.forward_input is not None:
        result = made(*sample.forward_input.args, **sample.forward_input.kwargs)
    return made, drawn, result


def tensors(value):
    if isinstance(value, torch.Tensor):
        return [value]
    return [t for v in value for t in tensors(v)] if isinstance(value, (tuple, list)) else []


@pytest.mark.parametrize("ops", [True, False], ids=["ops", "formulas"])
@pytest.mark.parametrize("name", INFOS)
def test_module_of_the_database(mirror, name, ops) -> None:
    info = INFOS[name]
    mine = getattr(mirror.nn, info.module_cls.__name__)
    host.provide(ops)
    try:
        for training in (True, False) if ops and "Norm" in name else (True,):
            for sample in samples(name, training):
                compare(info.module_cls, mine, sample, training)
    finally:
        host.provide(True)


def compare(theirs, mine, sample, training) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected, drawn, result = run(theirs, sample, training)
        got, got_drawn, got_result = run(mine, sample, training)
    assert repr(got) == repr(expected)
    assert list(got_drawn) == list(drawn)
    assert all(torch.equal(got_drawn[k], drawn[k]) for k in drawn)
    assert list(got.state_dict()) == list(expected.state_dict())
    for (k, a), b in zip(got.state_dict().items(), expected.state_dict().values()):
        assert torch.allclose(a.float(), b.float(), 1e-4, 1e-5, equal_nan=True), k
    assert len(tensors(got_result)) == len(tensors(result))
    for a, b in zip(tensors(got_result), tensors(result)):
        assert a.dtype == b.dtype and a.shape == b.shape
        assert torch.allclose(a, b, 1e-4, 1e-5, equal_nan=True)


def test_every_public_name_of_torch_nn_is_there(mirror) -> None:
    names = [n for n in dir(torch.nn) if n[0].isupper()]
    assert [n for n in names if not hasattr(mirror.nn, n)] == []
    for n in names:
        theirs, mine = getattr(torch.nn, n), getattr(mirror.nn, n)
        if isinstance(theirs, type) and issubclass(theirs, torch.nn.Module) and n != "DataParallel":
            assert mine.__module__.removeprefix("mirror.") == theirs.__module__.removeprefix("torch."), n
            assert mine._version == theirs._version, n
            assert set(getattr(mine, "__constants__", ())) >= set(), n


def test_modules_are_found_at_their_pytorch_addresses(mirror) -> None:
    from mirror.nn.modules import Linear
    from mirror.nn.modules.batchnorm import _BatchNorm
    from mirror.nn.modules.conv import _ConvNd
    from mirror.nn.modules.utils import _pair

    assert Linear is mirror.nn.Linear
    assert issubclass(mirror.nn.BatchNorm2d, _BatchNorm) and issubclass(mirror.nn.Conv2d, _ConvNd)
    assert _pair(3) == (3, 3) and _pair([1, 2]) == (1, 2)
