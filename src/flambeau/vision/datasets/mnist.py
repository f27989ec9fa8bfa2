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
    """The array of an idx file (also gzipped): two zero bytes, type, number of dimensions, sizes, values."""
    import gzip

    with gzip.open(path) if path.endswith(".gz") else open(path, "rb") as file:
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
        part = "train" if train else "t10k"
        images, labels = (
            read_idx(self._file(f"{part}-{kind}-ubyte")) for kind in ("images-idx3", "labels-idx1")
        )
        if images.ndim != 3 or labels.shape != images.shape[:1]:
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

    def _file(self, name: str) -> str:
        """The file of this name, plain or gzipped; "" if neither is there."""
        path = os.path.join(self.raw_folder, name)
        return next((p for p in (path, path + ".gz") if os.path.isfile(p)), "")

    def _check_exists(self) -> bool:
        return all(self._file(name.removesuffix(".gz")) for name, _ in self.resources)

    def download(self) -> None:
        """Fetch the four files, unless they are there."""
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
