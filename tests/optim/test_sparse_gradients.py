"""Optimizers on sparse gradients beside PyTorch's: parameters and state after the same steps; who refuses them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import flambeau

torch = pytest.importorskip("torch")
BOTH = (torch, flambeau)
pytestmark = pytest.mark.filterwarnings("ignore:Sparse invariant checks")

CASES = [
    ("SGD", {}),
    ("SGD", {"maximize": True}),
    ("SGD", {"momentum": 0.9}),
    ("SGD", {"momentum": 0.9, "nesterov": True}),
    ("SGD", {"momentum": 0.9, "dampening": 0.5}),
    ("Adagrad", {}),
    ("Adagrad", {"lr_decay": 0.1, "initial_accumulator_value": 0.2, "maximize": True}),
    ("SparseAdam", {}),
    ("SparseAdam", {"betas": (0.8, 0.9), "eps": 1e-4, "maximize": True}),
]
IDS = [f"{name} {options}" for name, options in CASES]


def table(T: Any) -> Any:
    e = T.nn.Embedding(9, 4, sparse=True)
    with T.no_grad():
        e.weight.copy_(T.tensor(np.random.default_rng(0).standard_normal((9, 4)).astype("f")))
    return e


def dense(t: Any) -> Any:
    return t.detach().to_dense().numpy() if hasattr(t, "to_dense") else t


@pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
def test_steps(name: str, options: dict[str, Any]) -> None:
    found = []
    for T in BOTH:
        e = table(T)
        extra = [] if name == "SparseAdam" else [T.ones(3, requires_grad=True)]  # has a dense gradient
        o = getattr(T.optim, name)([e.weight, *extra], lr=0.1, **options)
        for i in range(5):
            o.zero_grad(set_to_none=i != 3)
            if i != 2:  # a step without
                y = e(T.tensor([[1, 3, 1], [i, 8, 3]]))
                (y**2).sum().backward()
            for p in extra:
                (p**2).sum().backward()
            o.step()
        state = {k: dense(v) for k, v in o.state_dict()["state"].get(0, {}).items()}
        found.append((e.weight.detach().numpy(), state, [p.detach().numpy() for p in extra]))
    (want, states, others), (got, mine, others_) = found
    np.testing.assert_allclose(got, want, rtol=2e-6, atol=1e-6)
    assert sorted(mine) == sorted(states)
    for key, value in states.items():
        np.testing.assert_allclose(mine[key], value, rtol=2e-6, atol=1e-6, err_msg=key)
    for a, b in zip(others, others_):
        np.testing.assert_allclose(b, a, rtol=2e-6)


def test_rows_and_dense_gradients_take_turns() -> None:
    for name in ("SGD", "Adagrad"):
        found = []
        for T in BOTH:
            e = table(T)
            o = getattr(T.optim, name)(e.parameters(), lr=0.1)
            for i in range(4):
                o.zero_grad()
                (
                    T.nn.functional.embedding(T.tensor([1, 5]), e.weight, sparse=i % 2 == 1) ** 2
                ).sum().backward()
                o.step()
            found.append(e.weight.detach().numpy())
        np.testing.assert_allclose(found[1], found[0], rtol=2e-6)


def test_gradients_of_all_coordinates() -> None:
    for name in ("SGD", "Adagrad", "SparseAdam"):
        found = []
        for T in BOTH:
            p = T.arange(6.0).reshape(2, 3).requires_grad_()
            o = getattr(T.optim, name)([p], lr=0.1)
            for _ in range(2):
                p.grad = T.tensor([[0.0, 2.0, 0.0], [1.0, 0.0, 3.0]]).to_sparse()
                o.step()
            found.append(p.detach().numpy())
        np.testing.assert_allclose(found[1], found[0], rtol=2e-6)


REFUSE = ("Adam", "AdamW", "RMSprop", "Adadelta", "Adamax", "NAdam", "RAdam", "Rprop", "ASGD", "Adafactor")


@pytest.mark.parametrize("name", REFUSE)
def test_who_refuses_them(name: str) -> None:
    texts = []
    for T in BOTH:
        e = table(T)
        o = getattr(T.optim, name)(e.parameters())
        if T is flambeau:  # also after a step that had a dense gradient
            T.nn.functional.embedding(T.tensor([1]), e.weight).sum().backward()
            o.step()
            o.zero_grad()
        e(T.tensor([1])).sum().backward()
        with pytest.raises(RuntimeError, match="does not support sparse gradients") as error:
            o.step()
        texts.append(str(error.value))
    assert texts[1] == texts[0]


def test_other_errors() -> None:
    for T in BOTH:
        e = table(T)
        with pytest.raises(ValueError, match="Invalid learning rate: -1"):
            T.optim.SparseAdam(e.parameters(), lr=-1)
        with pytest.raises(ValueError, match="Invalid beta parameter at index 0: 1"):
            T.optim.SparseAdam(e.parameters(), betas=(1, 0))
        with pytest.raises(
            ValueError, match=r"Sparse params at indices \[\[0, 0\]\]: SparseAdam requires dense"
        ):
            T.optim.SparseAdam([T.eye(2).to_sparse()])
        with pytest.raises(ValueError, match=r"Complex params at indices \[\[0, 0\]\]"):
            T.optim.SparseAdam([T.eye(2, dtype=T.complex64)])
        o = T.optim.SparseAdam(e.parameters())
        e.weight.grad = T.ones(9, 4)
        with pytest.raises(
            RuntimeError, match="SparseAdam does not support dense gradients, please consider Adam"
        ):
            o.step()
        e.weight.grad = None
        for kind, text in (("SGD", "sparse, dense"), ("Adagrad", "weight_decay option is not compatible")):
            o = getattr(T.optim, kind)(e.parameters(), lr=0.1, weight_decay=0.1)
            o.zero_grad()
            e(T.tensor([1])).sum().backward()
            with pytest.raises(RuntimeError, match=text):
                o.step()


def test_lbfgs_takes_them_as_dense() -> None:
    found = []
    for T in BOTH:
        e = table(T)
        o = T.optim.LBFGS(e.parameters(), max_iter=3)

        def closure(e: Any = e, o: Any = o, T: Any = T) -> Any:
            o.zero_grad()
            loss = (e(T.tensor([1, 2, 1])) ** 2).sum()
            loss.backward()
            return loss

        o.step(closure)
        found.append(e.weight.detach().numpy())
    np.testing.assert_allclose(found[1], found[0], rtol=1e-5, atol=1e-6)


def test_norms_of_sparse_gradients_are_clipped() -> None:
    """PyTorch refuses these; the norm is that of the dense gradient."""
    e = table(flambeau)
    e(flambeau.tensor([1, 1, 2])).sum().backward()
    want = e.weight.grad.to_dense().norm()
    assert float(flambeau.nn.utils.clip_grad_norm_(e.parameters(), 1.0)) == pytest.approx(float(want))
    assert e.weight.grad.is_sparse
    assert float(e.weight.grad.to_dense().norm()) == pytest.approx(1.0, rel=1e-4)
    with pytest.raises(NotImplementedError, match="clamp_: it is not there for sparse tensors"):
        flambeau.nn.utils.clip_grad_value_(e.parameters(), 0.1)


def test_a_buffer_of_many_rows_does_not_outgrow_the_table() -> None:
    e = flambeau.nn.Embedding(5000, 2, sparse=True)
    o = flambeau.optim.SGD(e.parameters(), lr=0.1, momentum=0.9)
    for _ in range(30):
        o.zero_grad()
        e(flambeau.randint(0, 5000, (1000,))).sum().backward()
        o.step()
    assert o.state[e.weight]["momentum_buffer"]._nnz() <= 10_000
