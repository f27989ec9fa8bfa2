"""`ctc_loss` beside PyTorch: lengths of any kind, blanks anywhere, sequences without an alignment; derivatives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import flambeau

CASES = [
    (1, 1, 2, 0),
    (7, 3, 5, 3),
    (30, 5, 24, 11),
    (40, 2, 6, 20),
    (12, 4, 9, 9),
]  # steps, batch, classes, labels


@pytest.mark.parametrize("kind", ["float32", "float64"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_losses_and_gradients(case: tuple[int, ...], kind: str) -> None:
    torch = pytest.importorskip("torch")
    steps, batch, classes, count = case
    gen = np.random.default_rng(steps)
    x, blank = gen.standard_normal((steps, batch, classes)), steps % classes
    targets = gen.choice([c for c in range(classes) if c != blank], (batch, count))
    ends, lengths = gen.integers(1, steps + 1, batch), gen.integers(0, count + 1, batch)
    tolerance = 2e-4 if kind == "float32" else 1e-9
    for reduction in ("none", "mean", "sum"):
        for forgiving in (False, True):

            def outcome(m: Any, how: Any = (reduction, forgiving)) -> list[np.ndarray]:
                given = m.tensor(x, dtype=getattr(m, kind)).requires_grad_()
                args = (m.tensor(targets), m.tensor(ends), m.tensor(lengths), blank, *how)
                loss = m.nn.functional.ctc_loss(given.log_softmax(-1), *args)
                weights = m.arange(1, loss.numel() + 1, dtype=loss.dtype).reshape(loss.shape)
                return [loss.detach().numpy(), m.autograd.grad((loss * weights).sum(), given)[0].numpy()]

            for ours, theirs in zip(outcome(flambeau), outcome(torch), strict=True):
                np.testing.assert_allclose(ours, theirs, tolerance, tolerance)


def test_derivatives_of_two_orders() -> None:
    flambeau.manual_seed(1)
    x = flambeau.randn(6, 2, 5, dtype=flambeau.float64).requires_grad_()
    labels = flambeau.tensor([[1, 2], [3, 3]])
    f = lambda x: flambeau.nn.functional.ctc_loss(x.log_softmax(-1), labels, [6, 5], [2, 2], reduction="sum")
    assert flambeau.autograd.gradcheck(f, (x,)) and flambeau.autograd.gradgradcheck(f, (x,))
    (plain,) = flambeau.autograd.grad(f(x), x)
    (made,) = flambeau.autograd.grad(f(x), x, create_graph=True)
    assert (plain - made).abs().max() < 1e-12


def test_views_and_targets_in_a_row() -> None:
    x = flambeau.randn(3, 20, 6).log_softmax(-1)
    f = flambeau.nn.functional.ctc_loss
    labels = flambeau.tensor([[1, 2, 3], [4, 5, 5], [2, 1, 1]])
    want = f(x.transpose(0, 1).contiguous(), labels, [20, 18, 9], [3, 2, 3])
    row = flambeau.tensor([1, 2, 3, 4, 5, 2, 1, 1])
    assert f(x.transpose(0, 1), row, [20, 18, 9], [3, 2, 3]).item() == want.item()


def test_labels_that_are_no_class() -> None:
    with pytest.raises(IndexError, match="an index 7 is out of bounds"):
        flambeau.nn.functional.ctc_loss(flambeau.zeros(4, 1, 5), flambeau.tensor([[7]]), [4], [1]).item()
