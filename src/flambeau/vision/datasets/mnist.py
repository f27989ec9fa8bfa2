"""MNIST and data sets in its form: images of 28x28 in idx files (LeCun, Cortes, Burges, 1998)."""

from __future__ import annotations

import math
import os.path
from typing import Any

import numpy as np

import flambeau as torch

from ...errors import fail
from ..images import from_pixels
from .archive import download, refuse_download
from .base import Transform, VisionDataset

MAX_BYTES = 4 << 30
IDX_TYPES = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}


def read_idx(path: str) -> np.ndarray:
    """The array of an idx file (also .gz or .xz): two zero bytes, type, number of dimensions, sizes, values."""
    import gzip
    import lzma

    way: Any = gzip.open if path.endswith(".gz") else lzma.open if path.endswith(".xz") else open
    with way(path, "rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) < 4 or len(data) > MAX_BYTES or data[:2] != b"\0\0" or data[2] not in IDX_TYPES:
        fail(RuntimeError, f"{path}: is no idx file")
    start = 4 + 4 * data[3]
    shape = tuple(int.from_bytes(data[4 + 4 * i : 8 + 4 * i], "big") for i in range(data[3]))
    kind = np.dtype(IDX_TYPES[data[2]])
    if math.prod(shape) * kind.itemsize != len(data) - start:
        fail(RuntimeError, f"{path}: its values do not fill its shape {shape}")
    return np.frombuffer(data, kind, offset=start).reshape(shape).astype(kind.newbyteorder("="))


class MNIST(VisionDataset):
    """`train-images-idx3-ubyte` and the other three in `root/MNIST/raw`, gzipped or not; items are (image, digit)."""

    mirrors = ("https://ossci-datasets.s3.amazonaws.com/mnist/",)
    resources: tuple[tuple[str, str], ...] = (
        ("train-images-idx3-ubyte.gz", "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
        ("train-labels-idx1-ubyte.gz", "d53e105ee54ea40749a09fcbcd1e9432"),
        ("t10k-images-idx3-ubyte.gz", "9fb629c4189551a2d022fa330f9573f3"),
        ("t10k-labels-idx1-ubyte.gz", "ec29112dd5afa0611ce80d1b7f02629c"),
    )
    label_rank = 1
    classes = [
        "0 - zero",
        "1 - one",
        "2 - two",
        "3 - three",
        "4 - four",
        "5 - five",
        "6 - six",
        "7 - seven",
        "8 - eight",
        "9 - nine",
    ]

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
        if not self._check_exists():
            refuse_download(type(self).__name__, root)
        images, labels = (read_idx(self._file(name)) for name in self._names())
        if images.ndim != 3 or labels.shape[:1] != images.shape[:1] or labels.ndim != self.label_rank:
            fail(
                RuntimeError,
                f"{type(self).__name__}: images and labels do not agree",
                images=images,
                labels=labels,
            )
        self.data = torch.from_numpy(images)
        self.targets = torch.from_numpy(labels.astype(np.int64))

    @property
    def raw_folder(self) -> str:
        """Where the files lie."""
        return os.path.join(str(self.root), type(self).__name__, "raw")

    @property
    def class_to_idx(self) -> dict[str, int]:
        """From the name of a class to its number."""
        return {name: number for number, name in enumerate(self.classes)}

    def _names(self) -> list[str]:
        """The files of this part: images and labels."""
        return [name for name, _ in (self.resources[:2] if self.train else self.resources[2:])]

    def _file(self, name: str) -> str:
        """The file of this name, packed or not; "" if neither is there."""
        path = os.path.join(self.raw_folder, name)
        return next((p for p in (os.path.splitext(path)[0], path) if os.path.isfile(p)), "")

    def _check_exists(self) -> bool:
        return all(self._file(name) for name, _ in self.resources)

    def download(self) -> None:
        """Fetch the files, unless they are there."""
        if not self._check_exists():
            for name, md5 in self.resources:
                download(self.mirrors[0] + name, self.raw_folder, md5)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        return self.apply(from_pixels(self.data[index].numpy()), int(self.targets[index]))

    def __len__(self) -> int:
        return len(self.data)

    def extra_repr(self) -> str:
        """Which part it is."""
        return f"Split: {'Train' if self.train else 'Test'}"


class FashionMNIST(MNIST):
    """Ten kinds of clothes in the form of MNIST (H. Xiao, K. Rasul, R. Vollgraf, 2017), in `root/FashionMNIST/raw`."""

    mirrors = ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",)
    resources = (
        ("train-images-idx3-ubyte.gz", "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
        ("train-labels-idx1-ubyte.gz", "25c81989df183df01b3e8a0aad5dffbe"),
        ("t10k-images-idx3-ubyte.gz", "bef4ecab320f06d8554ea6380940ec79"),
        ("t10k-labels-idx1-ubyte.gz", "bb300cfdad3c16e7a12a480ee83cd310"),
    )
    classes = [
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ]


class KMNIST(MNIST):
    """Ten cursive Japanese letters in the form of MNIST (T. Clanuwat et al., 2018), in `root/KMNIST/raw`."""

    mirrors = ("http://codh.rois.ac.jp/kmnist/dataset/kmnist/",)
    resources = (
        ("train-images-idx3-ubyte.gz", "bdb82020997e1d708af4cf47b453dcf7"),
        ("train-labels-idx1-ubyte.gz", "e144d726b3acfaa3e44228e80efcd344"),
        ("t10k-images-idx3-ubyte.gz", "5c965bf0a639b31b8f53240b1b52f4d7"),
        ("t10k-labels-idx1-ubyte.gz", "7320c461ea6c1c855c0b718fb2a4b134"),
    )
    classes = ["o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"]


class QMNIST(MNIST):
    """MNIST with all 60,000 test images and what is known of each (C. Yadav, L. Bottou, 2019), in `root/QMNIST/raw`.

    `what` is train, test, test10k (MNIST's own), test50k (the others) or nist; a target is the digit, or with
    `compat=False` all eight numbers.
    """

    mirrors = ("https://raw.githubusercontent.com/facebookresearch/qmnist/master/",)
    subsets = {"train": "train", "test": "test", "test10k": "test", "test50k": "test", "nist": "nist"}
    files = {
        "train": (
            ("qmnist-train-images-idx3-ubyte.gz", "ed72d4157d28c017586c42bc6afe6370"),
            ("qmnist-train-labels-idx2-int.gz", "0058f8dd561b90ffdd0f734c6a30e5e4"),
        ),
        "test": (
            ("qmnist-test-images-idx3-ubyte.gz", "1394631089c404de565df7b7aeaf9412"),
            ("qmnist-test-labels-idx2-int.gz", "5b5b05890a5e13444e108efe57b788aa"),
        ),
        "nist": (
            ("xnist-images-idx3-ubyte.xz", "7f124b3b8ab81486c9d8c2749c17f834"),
            ("xnist-labels-idx2-int.xz", "5ed0e788978e45d4a8bd4b7caec3d79d"),
        ),
    }
    label_rank = 2

    def __init__(
        self, root: Any, what: str | None = None, compat: bool = True, train: bool = True, **kwargs: Any
    ):
        self.what = what or ("train" if train else "test")
        if self.what not in self.subsets:
            fail(ValueError, f"QMNIST: what is one of {', '.join(self.subsets)}", what=what)
        self.compat, self.resources = compat, self.files[self.subsets[self.what]]
        super().__init__(root, train, **kwargs)
        part = {"test10k": slice(None, 10000), "test50k": slice(10000, None)}.get(self.what, slice(None))
        self.data, self.targets = self.data[part], self.targets[part]

    def _names(self) -> list[str]:
        return [name for name, _ in self.resources]

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        target = self.targets[index]
        return self.apply(from_pixels(self.data[index].numpy()), int(target[0]) if self.compat else target)

    def extra_repr(self) -> str:
        """Which part it is."""
        return f"Split: {self.what}"
