"""Calls of constructors that come again take a short way: it gives what the long way gives, and refuses the same."""

import pickle

import numpy as np
import pytest

import flambeau as torch
from flambeau.ops import builtins
from flambeau.ops.sizes import Sizes

MADE = {
    "zeros": lambda: torch.zeros(2, 3),
    "zeros of a tuple": lambda: torch.zeros((2, 3)),
    "zeros of a size": lambda: torch.zeros(torch.Size((2, 3))),
    "ones": lambda: torch.ones(4),
    "no numbers at all": lambda: torch.zeros(0, 3),
    "arange": lambda: torch.arange(5),
    "zeros_like": lambda: torch.zeros_like(torch.full((3, 2), 7, dtype=torch.int16)),
    "ones_like, turned": lambda: torch.ones_like(torch.zeros(2, 3).t()),
    "rand": lambda: torch.rand(20),
    "randn": lambda: torch.randn(3),
    "many normal": lambda: torch.randn(5, 4),
    "rand_like": lambda: torch.rand_like(torch.zeros(2, 2, dtype=torch.float64)),
    "a float": lambda: torch.tensor(1.1),
    "an int": lambda: torch.tensor(-3),
    "a bool": lambda: torch.tensor(True),
}


@pytest.fixture(params=["builtins", "definitions"])
def either(request):
    if request.param == "builtins":
        builtins.install()
    else:
        builtins.remove()
    yield
    builtins.install()


@pytest.mark.parametrize("make", MADE.values(), ids=list(MADE))
def test_the_second_call_gives_what_the_first_gives(make, either):
    Sizes.forget()
    made = []
    for _ in range(3):
        torch.manual_seed(1)
        made.append(make())
    for t in made:
        assert (t.shape, t.stride(), t.dtype) == (made[0].shape, made[0].stride(), made[0].dtype)
        assert np.array_equal(t.numpy(), made[0].numpy()) and not t.requires_grad


def test_empty_tensors_are_new_each_time(either):
    a, b = torch.empty(3, 2), torch.empty(3, 2)
    a.fill_(1), b.fill_(2)
    assert a.tolist() == [[1, 1]] * 3 and b.shape == (3, 2) and b.dtype is torch.float32


def test_another_default_dtype(either):
    assert torch.zeros(3).dtype is torch.float32
    torch.set_default_dtype(torch.float64)
    try:
        made = (torch.zeros(3), torch.rand(3), torch.empty(3), torch.tensor(1.5), torch.arange(3))
    finally:
        torch.set_default_dtype(torch.float32)
    assert [t.dtype for t in made] == [torch.float64] * 4 + [torch.int64]
    assert torch.zeros(3).dtype is torch.rand(3).dtype is torch.float32


def test_wrong_sizes_are_refused_after_right_ones(either):
    for _ in range(2):
        torch.zeros(2), torch.arange(2), torch.zeros_like(torch.zeros(2))
    for call in (lambda: torch.zeros(2.0), lambda: torch.zeros((2.0,)), lambda: torch.arange((2,))):
        with pytest.raises(TypeError):
            call()
    with pytest.raises(RuntimeError, match="negative dimension"):
        torch.zeros(-2)


def test_a_captured_step_makes_them_anew():
    step = torch.compile(lambda x: torch.zeros(4) + torch.ones_like(x) * x)
    for k in range(4):
        assert step(torch.full((4,), float(k))).tolist() == [k] * 4


def test_public_functions_are_pickled_by_name():
    for name in ("zeros", "tensor", "rand_like", "tril_indices", "add", "exp", "matmul", "narrow", "nonzero"):
        function = getattr(torch, name)
        assert pickle.loads(pickle.dumps(function)) is function


def test_numbers_at_the_ends_of_their_range():
    assert torch.tensor(2**63 - 1).item() == 2**63 - 1 and torch.tensor(-(2**63)).item() == -(2**63)
    assert torch.tensor(1e300).item() == float("inf")
    with pytest.raises((RuntimeError, ValueError), match="Overflow"):
        torch.tensor(2**63)


def test_range_holds_its_end():
    with pytest.warns(UserWarning, match="torch.range is deprecated"):
        assert torch.range(0, 4).tolist() == [0, 1, 2, 3, 4]
    with pytest.warns(UserWarning):
        found = [torch.range(5, 1, -2), torch.range(0, 4.5), torch.range(1, 3, dtype=torch.int64)]
    assert [t.tolist() for t in found] == [[5, 3, 1], [0, 1, 2, 3, 4], [1, 2, 3]]
    assert [t.dtype for t in found] == [torch.float32, torch.float32, torch.int64]
    for args, text in (
        ((0, 1, 0), "nonzero"),
        ((0, 1, -1), "inconsistent"),
        ((0, float("inf")), "unsupported"),
    ):
        with pytest.warns(UserWarning), pytest.raises(RuntimeError, match=text):
            torch.range(*args)


def test_places_of_small_triangles_are_not_shared():
    first = torch.tril_indices(3, 3)
    first.zero_()
    assert torch.tril_indices(3, 3).tolist() == [[0, 1, 1, 2, 2, 2], [0, 0, 1, 0, 1, 2]]


def test_a_range_of_whole_numbers_with_ends_that_are_none() -> None:
    def some(*args, dtype=torch.int64):
        return torch.arange(*args, dtype=dtype).tolist()

    assert some(0, 2.5) == [0, 1] and some(0, 2.5, dtype=torch.int32) == [0, 1, 2]
    assert some(0.5, 3) == [0, 1, 2] and some(-1.0, 1.1, 1.5) == [-1, 0]
    with pytest.raises(ValueError, match="step must be nonzero"):
        some(0, 1, 0.4)
