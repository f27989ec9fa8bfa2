"""Files go to PyTorch and back: values, types, strides, sharing, and the bytes of the container."""

from __future__ import annotations

import collections
import io
import os
import pickle
import zipfile

import numpy as np
import pytest

import flambeau as fl

torch = pytest.importorskip("torch")
DTYPES = ("float32", "float64", "uint8", "int8", "int16", "int32", "int64", "bool", "float16", "bfloat16")
MORE = ("uint16", "uint32", "uint64", "complex64", "complex128")


def saved(lib, obj, **options):
    file = io.BytesIO()
    lib.save(obj, file, **options)
    file.seek(0)
    return file


def shown(value):
    """A value with tensors as what must survive: type, dtype, shape, strides, offset, flags, elements."""
    if hasattr(value, "detach"):
        flat = value.detach()
        name = str(value.dtype)
        if name == "torch.bfloat16":
            flat = flat.float()
        kind = "Parameter" if type(value).__name__ == "Parameter" else "Tensor"
        place = (tuple(value.shape), tuple(value.stride()), value.storage_offset())
        return kind, name, place, value.requires_grad, flat.numpy().tolist(), dict(value.__dict__)
    if isinstance(value, dict):
        return type(value).__name__, {k: shown(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value).__name__, [shown(v) for v in value]
    if str(value).startswith("torch.") or type(value).__name__ == "device":
        return str(value)
    return value


def tensors(lib):
    base = lib.arange(24.0).reshape(4, 6)
    parameter = lib.nn.Parameter(lib.ones(2))
    parameter.tag = "mine"
    return {
        "views": {"a": base, "b": base[1], "c": base.t(), "d": base[:, ::2], "e": base[2:, 1:3]},
        "dtypes": {name: lib.ones(3).to(getattr(lib, name)) for name in DTYPES},
        "parameters": [parameter, parameter.detach(), lib.nn.Parameter(lib.ones(2), requires_grad=False)],
        "gradient": lib.ones(2, requires_grad=True),
        "empty": [lib.empty(0), lib.empty(0, 3), lib.tensor(3.5), lib.tensor(True)],
        "state": lib.nn.Sequential(lib.nn.Linear(2, 3), lib.nn.BatchNorm1d(3)).state_dict(),
        "kinds": [lib.Size([1, 2]), lib.device("cpu"), lib.float32, lib.bfloat16],
    }


PYTHON = {
    **{
        "small": 1,
        "negative": -5,
        "large": 2**70,
        "byte": 255,
        "short": 65535,
        "long": 65536,
        "minus": -(2**40),
    },
    **{
        "float": 1.5,
        "text": "é",
        "bytes": b"x\xff",
        "none": None,
        "yes": True,
        "set": {1, 2},
        "complex": 1 + 2j,
    },
    **{"list": [1, [2, (3,)]], "tuple": (1, 2, 3, 4), "counter": collections.Counter("aab")},
    **{"ordered": collections.OrderedDict(x=1), "bytearray": bytearray(b"abc"), "many": list(range(2000))},
}
NAMES = ("views", "dtypes", "parameters", "gradient", "empty", "kinds", "state")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("zipped", [True, False])
def test_tensors_go_both_ways(name, zipped):
    fl.manual_seed(0)
    torch.manual_seed(0)
    for writer, reader in ((fl, torch), (torch, fl), (fl, fl)):
        obj = tensors(writer)[name]
        file = saved(writer, obj, _use_new_zipfile_serialization=zipped)
        assert shown(reader.load(file, weights_only=True)) == shown(obj)
        file.seek(0)
        assert shown(reader.load(file, weights_only=False)) == shown(obj)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_plain_python_goes_both_ways(protocol):
    file = saved(fl, PYTHON, pickle_protocol=protocol)
    assert fl.load(file) == PYTHON
    file.seek(0)
    assert torch.load(file, weights_only=False) == PYTHON
    assert fl.load(saved(torch, PYTHON, pickle_protocol=protocol)) == PYTHON


@pytest.mark.parametrize("name", MORE)
def test_rarer_dtypes_pass_through(name):
    theirs = [torch.arange(6).reshape(2, 3).to(getattr(torch, name)).t()]
    ours = fl.load(saved(torch, theirs))
    assert str(ours[0].dtype) == f"torch.{name}" and ours[0].stride() == (1, 3)
    assert shown(torch.load(saved(fl, ours))) == shown(theirs)


@pytest.mark.parametrize("name", NAMES)
def test_the_container_is_pytorchs(name):
    fl.manual_seed(0)
    ours = saved(fl, tensors(fl)[name])
    torch.manual_seed(0)
    theirs = saved(torch, tensors(torch)[name])
    a, b = zipfile.ZipFile(ours), zipfile.ZipFile(theirs)
    assert a.testzip() is None
    assert a.namelist() == b.namelist()
    assert a.read("archive/data.pkl") == b.read("archive/data.pkl")
    for x, y in zip(a.infolist(), b.infolist()):
        assert (x.header_offset, x.file_size, x.flag_bits) == (y.header_offset, y.file_size, y.flag_bits)
        assert x.filename.endswith("serialization_id") or a.read(x) == b.read(y)


def test_sharing_is_kept():
    x = fl.zeros(4)
    a, b, c = fl.load(saved(fl, [x, x, x[1:]]))
    a[2] = 7.0
    assert a is b and c.tolist() == [0.0, 7.0, 0.0]
    weight = fl.nn.Parameter(fl.ones(2))
    first, second = fl.load(saved(fl, [weight, weight]))
    assert first is second


def test_modules_and_optimizers():
    model = fl.nn.Sequential(fl.nn.Linear(3, 4), fl.nn.ReLU())
    optimizer = fl.optim.Adam(model.parameters(), lr=0.1)
    model(fl.ones(2, 3)).sum().backward()
    optimizer.step()
    file = saved(fl, model)
    with pytest.raises(pickle.UnpicklingError, match=r"torch\.nn\..*Sequential.*safe_globals"):
        fl.load(file)
    file.seek(0)
    assert shown(fl.load(file, weights_only=False).state_dict()) == shown(model.state_dict())
    file.seek(0)
    with fl.serialization.safe_globals([fl.nn.Sequential, fl.nn.Linear, fl.nn.ReLU]):
        again = fl.load(file)
    assert shown(again.state_dict()) == shown(model.state_dict())
    checkpoint = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3}
    theirs = torch.load(saved(fl, checkpoint))
    assert shown(theirs) == shown(checkpoint)
    resumed = torch.optim.Adam(torch.nn.Sequential(torch.nn.Linear(3, 4)).parameters())
    resumed.load_state_dict(theirs["optimizer"])
    assert shown(fl.load(saved(fl, checkpoint))) == shown(checkpoint)


def test_a_module_of_ours_is_a_module_of_pytorchs():
    model = fl.nn.Sequential(fl.nn.Linear(3, 4), fl.nn.ReLU(), fl.nn.BatchNorm1d(4))
    theirs = torch.load(saved(fl, model), weights_only=False)
    assert shown(theirs.state_dict()) == shown(model.state_dict()) and repr(theirs) == repr(model)
    ours = fl.load(saved(torch, theirs), weights_only=False)
    assert shown(ours.state_dict()) == shown(model.state_dict())
    x = np.arange(12, dtype="float32").reshape(4, 3)
    expected = theirs(torch.tensor(x)).detach().numpy()
    np.testing.assert_allclose(model(fl.tensor(x)).detach().numpy(), expected, rtol=1e-4, atol=1e-5)


def test_paths(tmp_path):
    path = tmp_path / "model.pth"
    fl.save({"w": fl.ones(3)}, path)
    assert zipfile.ZipFile(path).namelist()[0] == "model/data.pkl"
    for options in (
        {},
        {"mmap": True},
        {"map_location": "cpu"},
        {"map_location": lambda storage, where: storage},
    ):
        assert fl.load(str(path), **options)["w"].tolist() == [1.0, 1.0, 1.0]
    mapped = fl.load(path, mmap=True)["w"]
    mapped += 1
    assert mapped.tolist() == [2.0] * 3 and fl.load(path)["w"].tolist() == [1.0] * 3
    with pytest.raises(ValueError, match="mmap"):
        fl.load(io.BytesIO(), mmap=True)


def test_a_failed_save_leaves_what_was_there(tmp_path):
    path = tmp_path / "a.pt"
    fl.save(1, path)
    with pytest.raises((AttributeError, pickle.PicklingError)):
        fl.save([fl.ones(10), lambda: 0], path)
    assert fl.load(path) == 1 and os.listdir(tmp_path) == ["a.pt"]
    with pytest.raises(RuntimeError, match="does not exist"):
        fl.save(1, tmp_path / "absent" / "a.pt")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a full device")
def test_a_full_disk_is_an_error():
    with pytest.raises(OSError, match="No space"):
        fl.save(fl.ones(100_000), "/dev/full")


def test_a_link_is_written_through(tmp_path):
    (tmp_path / "real.pt").write_bytes(b"old")
    os.chmod(tmp_path / "real.pt", 0o640)
    (tmp_path / "link.pt").symlink_to(tmp_path / "real.pt")
    fl.save(5, tmp_path / "link.pt")
    assert (tmp_path / "link.pt").is_symlink() and fl.load(tmp_path / "real.pt") == 5
    assert os.stat(tmp_path / "real.pt").st_mode & 0o777 == 0o640


def test_storages_of_absent_devices_say_what_to_do():
    file = saved(torch, torch.ones(2))
    archive = zipfile.ZipFile(file)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as copy:
        for info in archive.infolist():
            copy.writestr(info, archive.read(info).replace(b"\x03\x00\x00\x00cpu", b"\x06\x00\x00\x00cuda:0"))
    out.seek(0)
    with pytest.raises(RuntimeError, match=r"'cuda:0'.*map_location"):
        fl.load(out)
    for where in ("cpu", fl.device("cpu"), {"cuda:0": "cpu"}, lambda storage, location: storage.cpu()):
        out.seek(0)
        assert fl.load(out, map_location=where).tolist() == [1.0, 1.0]


def test_large_archives(monkeypatch):
    """Sizes and places that need 64 bits, with the limit moved down."""
    from flambeau.io import archive

    monkeypatch.setattr(archive, "_BIG", 1000)
    tensor = fl.arange(2000)
    file = saved(fl, [tensor, tensor + 1])
    assert zipfile.ZipFile(file).testzip() is None
    file.seek(0)
    assert [t.tolist()[-1] for t in fl.load(file)] == [1999, 2000]


def test_safetensors():
    package = pytest.importorskip("safetensors.torch")
    from flambeau.io import safetensors

    ours = {name: fl.arange(6).reshape(2, 3).to(getattr(fl, name)) for name in DTYPES}
    ours |= {"turned": fl.arange(6.0).reshape(2, 3).t(), "empty": fl.empty(0, 3), "one": fl.tensor(2.0)}
    values = {name: shown(tensor)[4] for name, tensor in ours.items()}
    data = safetensors.save(ours, {"made": "here"})
    for loaded in (package.load(data), safetensors.load(data)):
        assert {name: shown(tensor)[4] for name, tensor in loaded.items()} == values
        assert all(str(loaded[name].dtype) == f"torch.{name}" for name in DTYPES)
    x = fl.ones(3)
    with pytest.raises(ValueError, match="share memory"):
        safetensors.save({"a": x, "b": x[1:]})
