"""torchvision's feature extraction: the names of what a model computes, and modules that return it."""

from __future__ import annotations

import copy

import pytest

import flambeau as torch
from flambeau import nn
from flambeau.vision.models.feature_extraction import create_feature_extractor, get_graph_node_names


class Model(nn.Module):
    """Two layers; in training its result is doubled."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
        self.act = nn.ReLU()
        self.fc = nn.Linear(4, 2)

    def forward(self, x):
        x = self.act(self.act(self.layers(x)) + 1)
        y = self.fc(x.mean((2, 3)))
        return y * 2 if self.training else y


def test_names_of_nodes() -> None:
    model = Model().eval()
    with pytest.warns(UserWarning, match="differ between training and evaluation"):
        train, evaluation = get_graph_node_names(model)
    assert evaluation == ["x", "layers.0", "layers.1", "layers.2", "act", "add", "act_1", "mean", "fc"]
    assert train == [*evaluation, "mul"] and not model.training


def test_features_in_both_modes() -> None:
    model = Model().eval()
    x = torch.randn(2, 3, 5, 5)
    made = create_feature_extractor(model, {"layers": "a", "mean": "b"}, suppress_diff_warning=True)
    inner = model.layers(x)
    out = made(x)
    assert list(out) == ["a", "b"] and torch.equal(out["a"], inner) and not made.training
    assert torch.equal(out["b"], (inner + 1).mean((2, 3)))
    assert [n for n, _ in made.named_children()] == ["layers", "act"]
    other = copy.deepcopy(made).train()
    assert getattr(other.layers, "1").training
    assert not torch.equal(other(x)["a"], inner) and torch.equal(made(x)["a"], inner)
    both = create_feature_extractor(model, train_return_nodes=["mul"], eval_return_nodes=["fc"])
    assert list(both(x)) == ["fc"] and list(both.train()(x)) == ["mul"]
    with pytest.raises(ValueError, match="'nothing' is not present in model"):
        create_feature_extractor(model, ["nothing"], suppress_diff_warning=True)
    with pytest.raises(ValueError, match="should be specified"):
        create_feature_extractor(model)
