"""What the models share: their first weights, and the refusal of ones that would have to be fetched."""

from __future__ import annotations

from typing import Any

import flambeau as torch

from ...errors import fail


def refuse_weights(model: str, weights: Any) -> None:
    """ValueError unless weights is None: trained weights are not shipped."""
    if weights is not None:
        fail(
            ValueError,
            f"{model}: no trained weights come with flambeau",
            "load a state dict of torchvision's with torch.load and load_state_dict: the names are the same",
            weights=weights,
        )


def kaiming_start(model: Any, linear: bool = False) -> None:
    """Convolutions from a normal of variance 2 / fan-out, norms 1 and 0; if `linear`, linear layers from N(0, 0.01)."""
    nn = torch.nn
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, (nn.BatchNorm2d, nn.GroupNorm)):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
        elif linear and isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0, 0.01)
            nn.init.zeros_(module.bias)
