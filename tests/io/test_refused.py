"""Nothing in a file is executed, and a damaged file is an error, whatever is damaged."""

from __future__ import annotations

import io
import os
import pickle
import random
import zipfile

import pytest

import flambeau as fl
from flambeau.io.archive import ArchiveWriter

torch = pytest.importorskip("torch")


def file_with(data_pkl, **records):
    out = io.BytesIO()
    archive = ArchiveWriter(out, "archive")
    archive.add("data.pkl", data_pkl)
    for name, data in records.items():
        archive.add(name.replace("_", "/"), data)
    archive.close()
    out.seek(0)
    return out


class Call:
    def __init__(self, function, *args):
        self.what = (function, args)

    def __reduce__(self):
        return self.what


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize(
    "call",
    [
        Call(os.system, "touch owned"),
        Call(eval, "open('owned', 'w')"),
        Call(getattr, "x", "upper"),
        Call(open, "owned", "w"),
    ],
    ids=["system", "eval", "getattr", "open"],
)
def test_calls_are_refused(call, protocol, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for file in (file_with(pickle.dumps([call], protocol)), io.BytesIO(pickle.dumps(call, max(protocol, 2)))):
        with pytest.raises((pickle.UnpicklingError, RuntimeError)):
            fl.load(file)
    assert os.listdir(tmp_path) == []


def test_the_refused_global_is_named():
    with pytest.raises(pickle.UnpicklingError, match=r"GLOBAL collections\.deque.*add_safe_globals"):
        fl.load(file_with(pickle.dumps(__import__("collections").deque(), 2)))
    names = fl.serialization.get_unsafe_globals_in_checkpoint(
        file_with(pickle.dumps([Call(os.system, "x")], 2))
    )
    assert [name.rpartition(".")[2] for name in names] == ["system"]


class Settings:
    def __init__(self):
        self.rate = 3


Settings.__module__ = "somewhere"
Settings.__qualname__ = "Settings"


def test_allowed_globals():
    data = b"\x80\x02csomewhere\nSettings\n)\x81}X\x04\x00\x00\x00rateK\x07sb."
    with pytest.raises(pickle.UnpicklingError, match=r"somewhere\.Settings"):
        fl.load(file_with(data))
    with fl.serialization.safe_globals([Settings]):
        assert fl.load(file_with(data)).rate == 7
    with pytest.raises(pickle.UnpicklingError):
        fl.load(file_with(data))
    fl.serialization.add_safe_globals([(Settings, "somewhere.Settings")])
    try:
        assert fl.load(file_with(data)).rate == 7
    finally:
        fl.serialization.clear_safe_globals()
    assert fl.serialization.get_safe_globals() == []


STORAGE = b"((X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK%ctQ"


def tensor_pickle(count, offset, size, stride):
    """A 1-d tensor on a storage of `count` elements."""
    return (
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n"
        + STORAGE.replace(b"%c", bytes([count]))
        + b"J" + offset.to_bytes(4, "little", signed=True)
        + b"J" + size.to_bytes(4, "little", signed=True) + b"\x85"
        + b"J" + stride.to_bytes(4, "little", signed=True) + b"\x85"
        + b"\x89}tR."
    )  # fmt: skip


def test_tensors_stay_inside_their_storage():
    data = bytes(range(16))
    assert fl.load(file_with(tensor_pickle(4, 1, 3, 1), data_0=data)).shape == (3,)
    for wrong in [
        (4, 1, 4, 1),
        (4, 0, 3, 2),
        (4, -1, 2, 1),
        (4, 0, 2, -1),
        (4, 0, -3, 1),
        (5, 0, 1, 1),
        (4, 2**31 - 1, 1, 1),
    ]:
        with pytest.raises(RuntimeError):
            fl.load(file_with(tensor_pickle(*wrong), data_0=data))
    with pytest.raises(RuntimeError, match="no record"):
        fl.load(file_with(tensor_pickle(4, 0, 1, 1)))
    outside = tensor_pickle(4, 0, 1, 1).replace(b"X\x01\x00\x00\x000", b"X\x0d\x00\x00\x00../etc/passwd")
    with pytest.raises(RuntimeError, match="no record"):
        fl.load(file_with(outside, data_0=data))


def test_an_archive_cannot_grow_a_thousandfold():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02N." + bytes(50_000_000))
    out.seek(0)
    with pytest.raises(RuntimeError, match="grow"):
        fl.load(out)


def test_compressed_archives_are_read():
    source, out = io.BytesIO(), io.BytesIO()
    torch.save({"w": torch.arange(5)}, source)
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    out.seek(0)
    assert fl.load(out)["w"].tolist() == [0, 1, 2, 3, 4]


def test_a_flipped_bit_is_noticed():
    file = io.BytesIO()
    fl.save(fl.ones(1000), file)
    data = bytearray(file.getvalue())
    data[data.index(b"\x00\x00\x80?" * 4) + 5] ^= 1
    with pytest.raises(RuntimeError, match="damaged"):
        fl.load(io.BytesIO(bytes(data)))


def test_damaged_pickles_are_errors_of_two_kinds():
    file = io.BytesIO()
    torch.save(
        [torch.nn.Linear(2, 3).state_dict(), torch.nn.Parameter(torch.ones(2)), {1, 2}, b"x", 2**70], file
    )
    archive = zipfile.ZipFile(file)
    whole = archive.read("archive/data.pkl")
    records = {
        name.split("/", 1)[1].replace("/", "_"): archive.read(name)
        for name in archive.namelist()
        if "/data/" in name
    }
    chance = random.Random(7)
    loaded = 0
    for _ in range(1500):
        data = bytearray(whole)
        for _ in range(chance.choice([1, 2, 5])):
            data[chance.randrange(len(data))] = chance.choice([chance.randrange(256), *b"cRb\x81Q(tq"])
        try:
            fl.load(file_with(bytes(data), **records))
            loaded += 1
        except (pickle.UnpicklingError, RuntimeError):
            pass
    assert loaded > 0


def test_truncated_files_are_errors():
    file = io.BytesIO()
    fl.save({"w": fl.ones(100)}, file)
    data = file.getvalue()
    for n in [0, 3, 10, 100, 700, len(data) // 2, len(data) - 1]:
        with pytest.raises((RuntimeError, EOFError, pickle.UnpicklingError)):
            fl.load(io.BytesIO(data[:n]))
