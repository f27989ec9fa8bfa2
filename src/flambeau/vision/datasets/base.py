"""What every data set of images has: a root folder, transforms, a printed form."""

from __future__ import annotations

import os.path
from collections.abc import Callable
from typing import Any

import flambeau as torch

from ...errors import fail

Transform = Callable[[Any], Any]


class StandardTransform:
    """A transform of the image and one of the target, as a transform of both."""

    def __init__(self, transform: Transform | None = None, target_transform: Transform | None = None):
        self.transform, self.target_transform = transform, target_transform

    def __call__(self, input: Any, target: Any) -> tuple[Any, Any]:
        if self.transform is not None:
            input = self.transform(input)
        if self.target_transform is not None:
            target = self.target_transform(target)
        return input, target

    def __repr__(self) -> str:
        lines = [type(self).__name__]
        for title, transform in (
            ("Transform: ", self.transform),
            ("Target transform: ", self.target_transform),
        ):
            if transform is not None:
                first, *rest = repr(transform).splitlines()
                lines += [title + first, *(" " * len(title) + line for line in rest)]
        return "\n".join(lines)


class VisionDataset(torch.utils.data.Dataset):
    """The base of the data sets of images; a subclass defines `__getitem__` and `__len__`."""

    _repr_indent = 4

    def __init__(
        self,
        root: Any = None,
        transforms: Callable[[Any, Any], tuple[Any, Any]] | None = None,
        transform: Transform | None = None,
        target_transform: Transform | None = None,
    ):
        self.root = os.path.expanduser(root) if isinstance(root, str) else root
        single = transform is not None or target_transform is not None
        if transforms is not None and single:
            fail(
                ValueError,
                f"{type(self).__name__}: transforms and transform/target_transform exclude each other",
            )
        self.transform, self.target_transform = transform, target_transform
        self.transforms = StandardTransform(transform, target_transform) if single else transforms

    def __getitem__(self, index: int) -> Any:
        raise NotImplementedError

    def __len__(self) -> int:
        raise NotImplementedError

    def apply(self, image: Any, target: Any) -> tuple[Any, Any]:
        """The image and the target, transformed."""
        if self.transform is not None:
            image = self.transform(image)
        if self.target_transform is not None:
            target = self.target_transform(target)
        return image, target

    def extra_repr(self) -> str:
        """A further line of the printed form; "" for none."""
        return ""

    def __repr__(self) -> str:
        body = [f"Number of datapoints: {len(self)}"]
        if self.root is not None:
            body.append(f"Root location: {self.root}")
        body += self.extra_repr().splitlines()
        if self.transforms is not None:
            body.append(repr(self.transforms))
        return "\n".join(
            [f"Dataset {type(self).__name__}", *(" " * self._repr_indent + line for line in body)]
        )
