"""Data sets: files written here in their published formats, and files that must be refused."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import struct
import tarfile
import zipfile

import numpy as np
import pytest

import flambeau as torch
from flambeau.vision import datasets, transforms
from flambeau.vision.datasets.archive import copy_bounded, unpack
from flambeau.vision.datasets.mnist import read_idx
from flambeau.vision.datasets.pickles import load_dict


def write_cifar(root, labels_key="labels", count=4):
    """CIFAR-10 as make_cifar writes it: five training files, a test file, the names."""
    folder = root / "cifar-10-batches-py"
    folder.mkdir()
    rng = np.random.default_rng(0)
    pixels = {}
    for name in (*datasets.CIFAR10.train_files, "test_batch"):
        pixels[name] = rng.integers(0, 256, (count, 3072), dtype=np.uint8)
        batch = {b"labels": list(range(count)), b"data": pixels[name], b"batch_label": name.encode()}
        (folder / name).write_bytes(pickle.dumps(batch, protocol=2))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": list("abcdefghij")}, protocol=2))
    return pixels


def test_cifar10_reads_its_own_files(tmp_path) -> None:
    pixels = write_cifar(tmp_path)
    data = datasets.CIFAR10(str(tmp_path), train=True, transform=transforms.ToTensor())
    assert len(data) == 20 and data.classes == list("abcdefghij") and data.class_to_idx["c"] == 2
    image, label = data[5]
    assert label == 1 and tuple(image.shape) == (3, 32, 32)
    expected = pixels["data_batch_2"][1].reshape(3, 32, 32).astype(np.float32) / np.float32(255)
    assert np.array_equal(image.numpy(), expected)
    held_out = datasets.CIFAR10(str(tmp_path), train=False)
    assert len(held_out) == 4 and "Split: Test" in repr(held_out)


def test_missing_files_name_what_to_do(tmp_path) -> None:
    for kind in (datasets.CIFAR10, datasets.CIFAR100, datasets.MNIST, datasets.FashionMNIST):
        with pytest.raises(RuntimeError, match="download=True"):
            kind(str(tmp_path))


def test_qmnist_and_kmnist(tmp_path) -> None:
    raw = tmp_path / "QMNIST" / "raw"
    raw.mkdir(parents=True)
    images = np.arange(3 * 28 * 28).reshape(3, 28, 28).astype(np.uint8)
    labels = np.arange(24, dtype=np.int32).reshape(3, 8)
    (raw / "qmnist-test-images-idx3-ubyte").write_bytes(
        b"\0\0\x08\x03" + struct.pack(">3I", 3, 28, 28) + images.tobytes()
    )
    ints = b"\0\0\x0c\x02" + struct.pack(">2I", 3, 8) + labels.astype(">i4").tobytes()
    (raw / "qmnist-test-labels-idx2-int.gz").write_bytes(gzip.compress(ints))
    data = datasets.QMNIST(str(tmp_path), train=False)
    assert len(data) == 3 and data[1][1] == 8 and repr(data).endswith("Split: test")
    every = datasets.QMNIST(str(tmp_path), what="test10k", compat=False)[2]
    assert every[1].tolist() == list(range(16, 24))
    with pytest.raises(ValueError, match="QMNIST: what is one of"):
        datasets.QMNIST(str(tmp_path), what="half")
    for kind in (datasets.QMNIST, datasets.KMNIST):
        with pytest.raises(RuntimeError, match="download=True"):
            kind(str(tmp_path))
    with pytest.raises(NotImplementedError, match="ImageNet"):
        datasets.ImageNet(str(tmp_path))


class Evil:
    def __reduce__(self):
        return os.system, ("touch harm",)


def test_a_pickle_runs_nothing(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_cifar(tmp_path)
    (tmp_path / "cifar-10-batches-py" / "data_batch_3").write_bytes(
        pickle.dumps({"labels": [], "data": Evil()})
    )
    with pytest.raises(pickle.UnpicklingError, match="system"):
        datasets.CIFAR10(str(tmp_path))
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize(
    "value",
    [np.array([object()]), np.array(["text"]), np.dtype("O"), np.datetime64("2020-01-01"), range(3), int],
    ids=["objects", "strings", "dtype", "date", "range", "type"],
)
def test_a_pickle_holds_numbers_alone(tmp_path, value) -> None:
    (tmp_path / "p").write_bytes(pickle.dumps({"data": value}, protocol=2))
    with pytest.raises(pickle.UnpicklingError):
        load_dict(str(tmp_path / "p"))


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["u1", "<i4", ">i4", "f8", "?"])
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_arrays_come_out_as_they_went_in(tmp_path, dtype, order, protocol) -> None:
    array = np.arange(6).reshape(2, 3).astype(dtype, order=order)
    (tmp_path / "p").write_bytes(pickle.dumps({"a": array, "n": [1, "x"], b"b": b"raw"}, protocol=protocol))
    found = load_dict(str(tmp_path / "p"))
    assert np.array_equal(found["a"], array) and found["a"].dtype == array.dtype
    assert found["n"] == [1, "x"] and found["b"] == "raw"


def write_idx(path, array, zipped) -> None:
    head = bytes([0, 0, 8, array.ndim]) + b"".join(struct.pack(">I", n) for n in array.shape)
    opener = gzip.open if zipped else open
    with opener(path, "wb") as file:
        file.write(head + array.tobytes())


@pytest.mark.parametrize("zipped", [True, False])
def test_mnist_reads_idx_files(tmp_path, zipped) -> None:
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    images = np.arange(3 * 28 * 28, dtype=np.uint64).astype(np.uint8).reshape(3, 28, 28)
    for part in ("train", "t10k"):
        ending = ".gz" if zipped else ""
        write_idx(raw / f"{part}-images-idx3-ubyte{ending}", images, zipped)
        write_idx(raw / f"{part}-labels-idx1-ubyte{ending}", np.array([7, 0, 9], np.uint8), zipped)
    data = datasets.MNIST(str(tmp_path), transform=transforms.ToTensor())
    image, label = data[2]
    assert (len(data), label, tuple(image.shape)) == (3, 9, (1, 28, 28))
    assert np.array_equal(image.numpy()[0], images[2].astype(np.float32) / np.float32(255))
    assert data.targets.tolist() == [7, 0, 9] and data.classes[2] == "2 - two"


@pytest.mark.parametrize(
    "data", [b"", b"\0\0\x08", b"\0\0\x08\x01\0\0\0\x05abc", b"\0\0\x63\x01\0\0\0\x01a", b"PK\3\4...."]
)
def test_what_is_no_idx_file_is_refused(tmp_path, data) -> None:
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(RuntimeError):
        read_idx(str(tmp_path / "x"))


def test_image_folder(tmp_path) -> None:
    Image = pytest.importorskip("PIL.Image")
    for name, colour in (("cat", (255, 0, 0)), ("ant", (0, 255, 0))):
        (tmp_path / name / "deep").mkdir(parents=True)
        Image.new("RGB", (4, 3), colour).save(tmp_path / name / "deep" / "a.png")
        (tmp_path / name / "notes.txt").write_text("no picture")
    data = datasets.ImageFolder(str(tmp_path), transforms.ToTensor())
    assert data.classes == ["ant", "cat"] and data.targets == [0, 1]
    image, label = data[1]
    assert label == 1 and image[:, 0, 0].tolist() == [1.0, 0.0, 0.0] and tuple(image.shape) == (3, 3, 4)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="empty"):
        datasets.ImageFolder(str(tmp_path))


def test_fake_data_leaves_the_generator_alone() -> None:
    data = datasets.FakeData(3, (3, 4, 4), 5, transform=transforms.ToTensor())
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first, second = data[1], data[1]
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(first[0], second[0]) and first[1] == second[1]
    assert (
        repr(data)
        == "Dataset FakeData\n    Number of datapoints: 3\n    StandardTransform\nTransform: ToTensor()"
    )


def test_digits_ship_with_the_package() -> None:
    data = datasets.Digits(transform=transforms.ToTensor())
    assert len(data) == 1797 and data.images.max() == 16 and np.bincount(data.labels).min() == 174
    image, label = data[0]
    assert label == 0 and tuple(image.shape) == (1, 8, 8) and image.max().item() <= 1.0


def test_archives_cannot_leave_their_folder(tmp_path) -> None:
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as tar:
        info = tarfile.TarInfo("../outside")
        info.size = 1
        tar.addfile(info, io.BytesIO(b"x"))
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        archive.writestr("/outside", "x")
        archive.writestr("../../outside", "x")
    with tarfile.open(tmp_path / "c.tar", "w") as tar:
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    for name in ("a.tar.gz", "b.zip", "c.tar"):
        with pytest.raises(RuntimeError):
            unpack(str(tmp_path / name), str(tmp_path / "inner"))
    assert not (tmp_path / "outside").exists()


def test_archives_are_unpacked(tmp_path) -> None:
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as tar:
        info = tarfile.TarInfo("deep/file")
        info.size = 3
        tar.addfile(info, io.BytesIO(b"abc"))
    with gzip.open(tmp_path / "b.gz", "wb") as file:
        file.write(b"xyz")
    for name in ("a.tar.gz", "b.gz"):
        unpack(str(tmp_path / name), str(tmp_path / "inner"))
    assert (tmp_path / "inner" / "deep" / "file").read_bytes() == b"abc"
    assert (tmp_path / "inner" / "b").read_bytes() == b"xyz"


def test_copies_are_bounded() -> None:
    with pytest.raises(RuntimeError, match="more than 10 bytes"):
        copy_bounded(io.BytesIO(b"x" * 11), io.BytesIO(), 10, "file")


def test_download_is_http_alone(tmp_path) -> None:
    from flambeau.vision.datasets.archive import download

    with pytest.raises(ValueError, match="http"):
        download("file:///etc/passwd", str(tmp_path))
