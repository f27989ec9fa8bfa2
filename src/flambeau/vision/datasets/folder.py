"""Images in folders named after their classes."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from ...errors import fail
from ..images import open_picture
from .base import Transform, VisionDataset

IMG_EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")


def default_loader(path: str) -> Any:
    """The picture in a file, as RGB."""
    return open_picture(path)


def has_file_allowed_extension(filename: str, extensions: str | tuple[str, ...]) -> bool:
    """Whether the name ends in one of the extensions, in any case."""
    return filename.lower().endswith(extensions)


def is_image_file(filename: str) -> bool:
    """Whether the name is that of a picture."""
    return has_file_allowed_extension(filename, IMG_EXTENSIONS)


class DatasetFolder(VisionDataset):
    """`root/class/.../file`: items are (what `loader` makes of the file, number of the class in alphabetical order)."""

    def __init__(
        self,
        root: Any,
        loader: Callable[[str], Any],
        extensions: tuple[str, ...] | None = None,
        transform: Transform | None = None,
        target_transform: Transform | None = None,
        is_valid_file: Callable[[str], bool] | None = None,
        allow_empty: bool = False,
    ):
        super().__init__(root, transform=transform, target_transform=target_transform)
        if (extensions is None) == (is_valid_file is None):
            fail(ValueError, f"{type(self).__name__}: give one of extensions and is_valid_file")
        self.classes, self.class_to_idx = self.find_classes(self.root)
        self.loader, self.extensions = loader, extensions

        def wanted(path: str) -> bool:
            return (
                is_valid_file(path) if is_valid_file else has_file_allowed_extension(path, extensions or ())
            )

        self.samples = self.imgs = self.make_dataset(self.root, self.class_to_idx, wanted)
        self.targets = [target for _, target in self.samples]
        empty = sorted(set(self.class_to_idx.values()) - set(self.targets))
        if empty and not allow_empty:
            names = ", ".join(self.classes[number] for number in empty)
            fail(
                FileNotFoundError,
                f"{type(self).__name__}: found no valid file for the classes {names}",
                root=root,
            )

    @staticmethod
    def find_classes(directory: Any) -> tuple[list[str], dict[str, int]]:
        """The names of the folders, sorted, and their numbers; FileNotFoundError if there are none."""
        classes = sorted(entry.name for entry in os.scandir(directory) if entry.is_dir())
        if not classes:
            fail(FileNotFoundError, f"ImageFolder: couldn't find any class folder in {directory}")
        return classes, {name: number for number, name in enumerate(classes)}

    @staticmethod
    def make_dataset(
        directory: Any, class_to_idx: dict[str, int], wanted: Callable[[str], bool]
    ) -> list[tuple[str, int]]:
        """(path, class number) of every wanted file, by class, then by path."""
        samples = []
        for name in sorted(class_to_idx):
            for top, _, files in sorted(os.walk(os.path.join(directory, name), followlinks=True)):
                paths = [os.path.join(top, file) for file in sorted(files)]
                samples += [(path, class_to_idx[name]) for path in paths if wanted(path)]
        return samples

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        path, target = self.samples[index]
        return self.apply(self.loader(path), target)

    def __len__(self) -> int:
        return len(self.samples)


class ImageFolder(DatasetFolder):
    """`DatasetFolder` for pictures."""

    def __init__(
        self,
        root: Any,
        transform: Transform | None = None,
        target_transform: Transform | None = None,
        loader: Callable[[str], Any] = default_loader,
        is_valid_file: Callable[[str], bool] | None = None,
        allow_empty: bool = False,
    ):
        extensions = IMG_EXTENSIONS if is_valid_file is None else None
        super().__init__(root, loader, extensions, transform, target_transform, is_valid_file, allow_empty)


class _Refused(VisionDataset):
    """A data set that is not there yet."""

    def __init__(self, *args: Any, **options: Any):
        name = type(self).__name__
        fail(NotImplementedError, f"{name}: is not there yet", "ImageFolder reads a folder for each class")


class ImageNet(_Refused):
    """Not there yet."""


class INaturalist(_Refused):
    """Not there yet."""


class Places365(_Refused):
    """Not there yet."""
