"""The end of the outermost call of a module is a place where the stream runs, if there is enough to run."""

from __future__ import annotations

from typing import Any

import pytest

import flambeau as torch
from flambeau.stream import boundary
from flambeau.stream.value import LOCAL

nn = torch.nn


def pending(t: Any) -> bool:
    return t._st.pend is not None


def large() -> Any:
    torch.synchronize()
    return nn.Sequential(nn.Sequential(nn.Linear(64, 512), nn.ReLU()), nn.Linear(512, 64)), torch.randn(
        512, 64
    )


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_an_outermost_call_without_gradient_runs_at_its_end(mode: Any) -> None:
    model, x = large()
    inside = []
    model[0].register_forward_hook(lambda m, args, out: inside.append(pending(out)))
    with mode():
        for _ in range(3):
            assert not pending(model(x))
    assert inside == [True] * 3  # a call within a call is no end


def test_with_a_gradient_nothing_runs() -> None:
    model, x = large()
    assert pending(model(x))

    class Student(nn.Module):
        def forward(self, x: Any) -> Any:
            with torch.no_grad():
                target = model(x)
            self.was = pending(target)
            return target

    student = Student()
    assert pending(student(x)) and student.was


def test_little_work_waits() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Tanh())
    torch.synchronize()
    with torch.no_grad():
        assert pending(model(torch.randn(2, 4)))


def test_many_small_calls_are_looked_at_once_each() -> None:
    """A cell in a loop: a naive sum over all that is pending, at each call, is quadratic."""
    torch.synchronize()
    cell, h = nn.Tanh(), torch.randn(4)
    torch.synchronize()
    with torch.no_grad():
        for _half in range(2):
            for _ in range(50):
                h = cell(h)
            assert LOCAL.s.looked.moved == 50 * 2 * 16 and LOCAL.s.looked.length == len(LOCAL.s.code)
            LOCAL.s.looked.moved = 0  # what was looked at before is not looked at again
    torch.synchronize()


def test_what_an_index_reads_counts_as_much_as_it_gives() -> None:
    table = nn.Embedding(100_000, 16)
    torch.synchronize()
    with torch.no_grad():
        assert pending(table(torch.tensor([3])))
    assert boundary.moved(LOCAL.s) < boundary.WORTH


def test_a_captured_call_and_a_failing_one() -> None:
    model, x = large()
    compiled = torch.compile(model)
    with torch.no_grad():
        want = model(x)
        for _ in range(4):
            assert torch.equal(compiled(x), want)

    class Failing(nn.Module):
        def forward(self, x: Any) -> Any:
            self.made = x * 2
            raise KeyError("as it is")

    failing, wide = Failing(), torch.randn(1 << 18)
    torch.synchronize()
    with torch.no_grad():
        with pytest.raises(KeyError, match="as it is"):
            failing(wide)
        assert not pending(model(x)) and not pending(failing.made)


def test_a_derived_form_weighs_what_a_traced_one_does() -> None:
    """For a third length nothing is traced, and nothing is to be traced to know what it moves."""
    found = []
    for n in (100, 200, 300, 400, 500):
        x = torch.ones(2, n, 1, 2, 2)  # of a structure that no other test has left known
        torch.synchronize()
        y = torch.softmax(x, 2)
        found.append((LOCAL.s.code[0].kin is not None, boundary.moved(LOCAL.s) - 2 * 4 * 8 * n))
        del y
    assert [gap for _, gap in found] == [0] * 5 and found[-1][0] and not found[0][0]
