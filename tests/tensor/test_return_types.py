"""The results of ops that have several: their printed form, their classes, pickles of them."""

from __future__ import annotations

import pickle

import pytest

import flambeau as torch

CALLS = {
    "topk": lambda x: x.topk(1),
    "cummax": lambda x: x.cummax(0),
    "aminmax": torch.aminmax,
    "linalg_slogdet": torch.linalg.slogdet,
    "slogdet": torch.slogdet,
    "linalg_svd": torch.linalg.svd,
    "linalg_eigh": torch.linalg.eigh,
}


@pytest.mark.parametrize("name", CALLS)
def test_form_class_and_pickle(name: str) -> None:
    results = CALLS[name](torch.eye(2))
    assert type(results) is getattr(torch.return_types, name)
    assert repr(results).startswith(f"torch.return_types.{name}(\n{results._fields[0]}=tensor(")
    again = pickle.loads(pickle.dumps(results))
    assert type(again) is type(results) and repr(again) == repr(results)


def test_a_name_that_is_none() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nosuch'"):
        torch.return_types.nosuch  # noqa: B018
