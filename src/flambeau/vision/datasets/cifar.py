"""CIFAR-10 and CIFAR-100: 60,000 images of 32x32 in 10 or 100 classes (A. Krizhevsky, 2009), in their own files."""

from __future__ import annotations

import os.path
from typing import Any

import numpy as np

from ...errors import fail
from ..images import from_pixels
from .archive import download, refuse_download, unpack
from .base import Transform, VisionDataset
from .pickles import load_dict


class CIFAR10(VisionDataset):
    """The files `data_batch_1` to 5 and `test_batch` in `root/cifar-10-batches-py`; items are (image, class number).

    The files are read as data, whatever their digests: nothing in them is run. `download=True` fetches the archive.
    """

    base_folder = "cifar-10-batches-py"
    url = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
    tgz_md5 = "c58f30108f718f92721af3b95e74349a"
    train_files = tuple(f"data_batch_{n}" for n in range(1, 6))
    test_files: tuple[str, ...] = ("test_batch",)
    meta_file, names_key, labels_key = "batches.meta", "label_names", "labels"

    def __init__(
        self,
        root: Any,
        train: bool = True,
        transform: Transform | None = None,
        target_transform: Transform | None = None,
        download: bool = False,
    ):
        super().__init__(root, transform=transform, target_transform=target_transform)
        self.train = train
        if download:
            self.download()
        if not self._check_integrity():
            refuse_download(type(self).__name__, root)
        batches = [load_dict(self._path(name)) for name in (self.train_files if train else self.test_files)]
        self.targets: list[int] = [int(label) for batch in batches for label in batch[self.labels_key]]
        self.data = np.vstack([self._images(batch["data"]) for batch in batches])
        if len(self.targets) != len(self.data):
            fail(
                RuntimeError, f"{type(self).__name__}: {len(self.data)} images but {len(self.targets)} labels"
            )
        self.classes: list[str] = load_dict(self._path(self.meta_file))[self.names_key]
        self.class_to_idx = {name: number for number, name in enumerate(self.classes)}

    def _path(self, name: str) -> str:
        return os.path.join(str(self.root), self.base_folder, name)

    def _images(self, rows: np.ndarray) -> np.ndarray:
        """Rows of 3,072 bytes, colour by colour, as images (N, 32, 32, 3)."""
        if rows.dtype != np.uint8 or rows.ndim != 2 or rows.shape[1] != 3072:
            fail(RuntimeError, f"{type(self).__name__}: a file holds no images of 32 x 32", data=rows)
        return rows.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)

    def _check_integrity(self) -> bool:
        names = (*self.train_files, *self.test_files, self.meta_file)
        return all(os.path.isfile(self._path(name)) for name in names)

    def download(self) -> None:
        """Fetch and unpack the archive, unless its files are there."""
        if not self._check_integrity():
            unpack(download(self.url, str(self.root), self.tgz_md5), str(self.root))

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        return self.apply(from_pixels(self.data[index]), self.targets[index])

    def __len__(self) -> int:
        return len(self.data)

    def extra_repr(self) -> str:
        """Which part it is."""
        return f"Split: {'Train' if self.train else 'Test'}"


class CIFAR100(CIFAR10):
    """As CIFAR10, from `train` and `test` in `root/cifar-100-python`; the classes are the hundred fine ones."""

    base_folder = "cifar-100-python"
    url = "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz"
    tgz_md5 = "eb9058c3a382ffc7106e4002c42a8d85"
    train_files = ("train",)
    test_files = ("test",)
    meta_file, names_key, labels_key = "meta", "fine_label_names", "fine_labels"
