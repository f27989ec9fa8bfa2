"""The models by name, and torchvision's names of their trained weights, none of which come with flambeau."""

from __future__ import annotations

import enum
import fnmatch
import inspect
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any

from ...errors import fail
from . import densenet, plain, resnet, vgg

BUILDERS: dict[str, Callable[..., Any]] = {
    name: function
    for module in (plain, resnet, vgg, densenet)
    for name, function in vars(module).items()
    if inspect.isfunction(function) and function.__module__ == module.__name__
    if not name.startswith(("_", "make_"))
}
# For each class of weights the versions there are; the last is DEFAULT.
VERSIONS = {
    "AlexNet": 1,
    **{f"VGG{depth}{norm}": 1 for depth in (11, 13, 16, 19) for norm in ("", "_BN")},
    **{f"DenseNet{depth}": 1 for depth in (121, 161, 169, 201)},
    "ResNet18": 1,
    "ResNet34": 1,
    "ResNet50": 2,
    "ResNet101": 2,
    "MobileNet_V2": 2,
}


class WeightsEnum(enum.Enum):
    """The base of the classes of weights: names that a program may hold, and that a model refuses."""


def _weights(model: str, versions: int) -> Any:
    """The class of a model's weights; DEFAULT is the newest of them."""
    names = [f"IMAGENET1K_V{version}" for version in range(1, versions + 1)]
    members = [(name, f"{model}.{name}") for name in names]
    if model == "VGG16":
        members.append(("IMAGENET1K_FEATURES", f"{model}.IMAGENET1K_FEATURES"))
    made = [*members, ("DEFAULT", f"{model}.{names[-1]}")]
    return WeightsEnum(f"{model}_Weights", made, module=f"{__package__}")  # type: ignore[call-overload]


WEIGHTS = {f"{model}_Weights": _weights(model, versions) for model, versions in VERSIONS.items()}


def _named(patterns: Iterable[str] | str) -> set[str]:
    """The models whose names fit one of the patterns."""
    every = [patterns] if isinstance(patterns, str) else patterns
    return {name for pattern in every for name in fnmatch.filter(BUILDERS, pattern)}


def list_models(
    module: ModuleType | None = None,
    include: Iterable[str] | str | None = None,
    exclude: Iterable[str] | str | None = None,
) -> list[str]:
    """The names of the models in a module (all if None) that fit `include` and do not fit `exclude`, sorted."""
    names = _named(include) if include else set(BUILDERS)
    names -= _named(exclude or ())
    where = "" if module is None else module.__name__
    return sorted(name for name in names if BUILDERS[name].__module__.startswith(where))


def get_model_builder(name: str) -> Callable[..., Any]:
    """The function that makes a model of this name, in any case; ValueError if there is none."""
    if name.lower() not in BUILDERS:
        fail(
            ValueError, f"get_model_builder: unknown model {name!r}", f"known are {', '.join(list_models())}"
        )
    return BUILDERS[name.lower()]


def get_model(name: str, **config: Any) -> Any:
    """The model of this name, made with these arguments."""
    return get_model_builder(name)(**config)
