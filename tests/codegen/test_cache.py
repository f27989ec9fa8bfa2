"""The disk cache: damage, truncation, races, folders that cannot be trusted, the bound on its size."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import codegen_native as native
import numpy as np
import pytest

from flambeau import config
from flambeau.codegen import cache, engine, image, target
from flambeau.loop import ir
from flambeau.loop.build import Builder

posix = pytest.mark.skipif(os.name != "posix", reason="owner and mode are POSIX")


@pytest.fixture
def store(tmp_path: Path) -> cache.Cache:
    return cache.Cache(str(tmp_path / "objects"), 1 << 20)


def test_what_is_put_is_got(store: cache.Cache) -> None:
    store.put("a", b"content")
    store.put("b", b"")
    assert store.get("a") == b"content" and store.get("b") == b"" and store.get("c") is None
    store.put("a", b"other")
    assert store.get("a") == b"other"
    assert sorted(os.listdir(store.folder)) == ["a.object", "b.object", "sizes"]


@posix
def test_the_folder_and_its_files_are_closed_to_others(store: cache.Cache) -> None:
    before = os.umask(0)
    try:
        store.put("a", b"content")
    finally:
        os.umask(before)
    assert os.stat(store.folder).st_mode & 0o777 == 0o700
    assert os.stat(Path(store.folder, "a.object")).st_mode & 0o777 == 0o600


@pytest.mark.parametrize("cut", [0, 5, 30, 55, -1])
def test_a_truncated_entry_is_discarded(store: cache.Cache, cut: int) -> None:
    store.put("a", b"content" * 100)
    path = Path(store.folder, "a.object")
    path.write_bytes(path.read_bytes()[:cut])
    assert store.get("a") is None and not path.exists()


@pytest.mark.parametrize("at", [0, 20, 60, -1])
def test_a_damaged_entry_is_discarded(store: cache.Cache, at: int) -> None:
    store.put("a", b"content" * 100)
    path = Path(store.folder, "a.object")
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)
    assert store.get("a") is None and not path.exists()
    store.put("a", b"again")
    assert store.get("a") == b"again"


@posix
def test_an_entry_that_is_a_link_is_not_followed(store: cache.Cache, tmp_path: Path) -> None:
    store.put("a", b"content")
    os.rename(Path(store.folder, "a.object"), tmp_path / "elsewhere")
    os.symlink(tmp_path / "elsewhere", Path(store.folder, "a.object"))
    assert store.get("a") is None


def unusable(folder: Path, reason: str) -> None:
    with pytest.warns(UserWarning, match=reason) as caught:
        store = cache.Cache(str(folder), 1 << 20)
    assert len(caught) == 1
    store.put("a", b"content")
    assert store.get("a") is None and not store.usable
    store.close()


@posix
@pytest.mark.parametrize("mode", [0o755, 0o770, 0o707, 0o777])
def test_a_folder_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    (tmp_path / "objects").mkdir()
    (tmp_path / "objects").chmod(mode)
    unusable(tmp_path / "objects", "open to others")
    assert not os.listdir(tmp_path / "objects")


@posix
def test_a_folder_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "objects").mkdir(mode=0o700)
    mine = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: mine + 1)
    unusable(tmp_path / "objects", "another user")


@posix
def test_a_folder_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    os.symlink(tmp_path / "real", tmp_path / "objects")
    unusable(tmp_path / "objects", "objects")
    assert not os.listdir(tmp_path / "real")


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "objects").write_bytes(b"")
    unusable(tmp_path / "objects", "objects")


def test_a_folder_that_is_not_writable_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "objects").mkdir(mode=0o700)
    monkeypatch.setattr(os, "access", lambda *args, **kwargs: False)  # mode bits do not stop the superuser
    unusable(tmp_path / "objects", "not writable")


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "mkdir", refuse)
    unusable(tmp_path / "objects", "Permission denied")


def test_a_full_disk_is_no_error(store: cache.Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        store.put("a", b"content")
    assert store.get("a") is None and not os.listdir(store.folder)


def test_the_oldest_entries_go_first(tmp_path: Path) -> None:
    store = cache.Cache(str(tmp_path / "objects"), 20_000)
    for k in range(15):
        store.put(f"k{k}", bytes(1000))
        os.utime(Path(store.folder, f"k{k}.object"), (1000 + k, 1000 + k))
    assert store.get("k0") is not None  # used now: no longer the oldest
    abandoned = Path(store.folder, "1-1-1.tmp")
    abandoned.write_bytes(bytes(10))
    os.utime(abandoned, (1000, 1000))
    for k in range(15, 22):
        store.put(f"k{k}", bytes(1000))
        os.utime(Path(store.folder, f"k{k}.object"), (1000 + k, 1000 + k))
    left = {name.removesuffix(".object") for name in os.listdir(store.folder)}
    assert "k0" in left and "k21" in left and "k1" not in left and "1-1-1.tmp" not in left
    assert sum(p.stat().st_size for p in Path(store.folder).iterdir()) <= 20_000


WRITER = """
import sys
from flambeau.codegen import cache
store = cache.Cache(sys.argv[1], 1 << 20)
for n in range(300):
    store.put("same", (b"%d " % n) * 2000)
    content = store.get("same")
    assert content is not None and len(set(content.split())) == 1, "a torn entry"
"""


def test_processes_may_write_at_once(tmp_path: Path) -> None:
    folder = str(tmp_path / "objects")
    command = [sys.executable, "-W", "error", "-c", WRITER, folder]
    running = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(3)]
    errors = [process.communicate(timeout=60)[1].decode() for process in running]
    assert not any(errors), errors
    assert sorted(os.listdir(folder)) == ["same.object", "sizes"]


def test_a_process_looks_at_no_entry_that_it_does_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first entry that a process writes takes as many calls, however many there are."""
    folder = tmp_path / "objects"
    first = cache.Cache(str(folder), 1 << 20)
    for k in range(200):
        first.put(f"k{k}", bytes(100))
    later = cache.Cache(str(folder), 1 << 20)
    looks: list[object] = []
    for name in ("stat", "listdir", "scandir"):
        right = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *a, _f=right, **k: looks.append(a) or _f(*a, **k))
    later.put("more", bytes(100))
    assert not looks
    assert later.size == first.size + 132 + len(cache._MAGIC)
    assert later.size == sum(p.stat().st_size for p in folder.iterdir() if p.suffix == ".object")


@pytest.mark.parametrize("content", [b"", b"\xff" * 16, b"short", None])
def test_where_sizes_are_not_known_they_are_counted(tmp_path: Path, content: bytes | None) -> None:
    folder = tmp_path / "objects"
    for k in range(20):
        cache.Cache(str(folder), 20_000).put(f"k{k}", bytes(900))
    ledger = folder / "sizes"
    ledger.unlink()
    if content is not None:
        ledger.write_bytes(content)
    store = cache.Cache(str(folder), 20_000)
    store.put("more", bytes(2000))
    left = sum(p.stat().st_size for p in folder.iterdir() if p.suffix == ".object")
    assert left <= 20_000 and left == store.size == cache.Cache(str(folder), 20_000).counted()


def test_many_sizes_are_put_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "objects"
    monkeypatch.setattr(cache, "_RECORDS", 8)
    for k in range(40):
        cache.Cache(str(folder), 1 << 20).put(f"k{k}", bytes(100))
    assert (folder / "sizes").stat().st_size <= 8 * 10
    assert cache.Cache(str(folder), 1 << 20).counted() == 40 * (132 + len(cache._MAGIC))


def kernel(name: str, factor: float) -> ir.Kernel:
    b = Builder(name)
    x = b.buf("x", "f32", "rw")
    with b.vfor("i", 0, 16, 16, full=True) as i:
        x[i] = x[i] * factor
    return b.kernel()


COMPILER = """
import ctypes, sys
import numpy as np
from flambeau import config
from flambeau.codegen import engine
sys.path.insert(0, sys.argv[1])
import codegen_native as native
import test_cache
config.set("cache_dir", sys.argv[2])
kernels = [test_cache.kernel("scale", float(f)) for f in sys.argv[3].split(",")]
engine.compile_kernels(kernels)
for k, f in zip(kernels, sys.argv[3].split(",")):
    x = np.ones(16, np.float32)
    native.run(k, x)
    assert (x == float(f)).all()
stats = engine.stats()
print(stats["compiled"], stats["from_disk"])
"""


def compile_in_a_process(folder: Path, factors: str) -> subprocess.Popen:
    here = str(Path(__file__).parent)
    command = [sys.executable, "-W", "error", "-c", COMPILER, here, str(folder), factors]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen) -> str:
    out, error = process.communicate(timeout=60)
    assert process.returncode == 0, error
    return out.strip()


def test_objects_are_found_by_later_processes_and_rebuilt_when_damaged(tmp_path: Path) -> None:
    folder = tmp_path / "objects"
    together = [compile_in_a_process(folder, "2,3"), compile_in_a_process(folder, "2,3,4")]
    for process in together:
        finish(process)
    assert finish(compile_in_a_process(folder, "3,4,2")) == "0 3"
    for path in folder.iterdir():
        path.write_bytes(path.read_bytes()[:-1])
    assert finish(compile_in_a_process(folder, "3")) == "1 0"
    assert finish(compile_in_a_process(folder, "3,4")) == "1 1"


def test_a_reference_to_an_object_that_is_gone_is_a_miss(tmp_path: Path) -> None:
    target.host()  # whose facts would be an entry too
    before = config.cache_dir
    config.set("cache_dir", str(tmp_path / "objects"))
    try:
        made = [kernel("gone", 5.0), kernel("gone", 6.0)]
        engine.compile_kernels(made)
        folder = tmp_path / "objects"
        largest = max(folder.iterdir(), key=lambda p: p.stat().st_size)
        largest.unlink()
        store = cache.current()
        assert store is not None
        for k in made:
            key = engine.kernel_key(k, engine.target.host())
            engine._addresses.pop(key)
            assert store.get(key) is not None
        counted = engine.stats()["compiled"]
        engine.compile_kernels(made[:1])
        assert engine.stats()["compiled"] == counted + 1
        x = np.ones(16, np.float32)
        native.run(made[0], x)
        assert (x == 5).all()
    finally:
        config.set("cache_dir", before)


def test_no_cache_means_no_file(tmp_path: Path) -> None:
    before = config.cache_dir
    config.set("cache_dir", str(tmp_path / "objects"))
    config.set("no_cache", True)
    try:
        engine.compile_kernels([kernel("unkept", time.time())])
        assert not (tmp_path / "objects").exists()
    finally:
        config.set("no_cache", False)
        config.set("cache_dir", before)


SECOND = """
import sys
import flambeau as torch
from flambeau.codegen import engine
from flambeau.ops import builtins
x = torch.arange(12.0).reshape(3, 4).requires_grad_()
y = (x @ x.t()).softmax(-1).sum() + x.exp().mean()
y.backward()
print(y.item(), x.grad.sum().item())
builtins.install()  # they are made in the background, which a process that ends does not wait for
stats = engine.stats()
print(int(stats["compiled"]), int(stats["from_disk"]), stats["emit_ms"], "llvmlite.binding" in sys.modules)
print("flambeau.ops.builtins.walking" in sys.modules)  # which writes some of their text
"""


def test_a_second_process_makes_no_kernel_and_opens_no_llvm(tmp_path: Path) -> None:
    environment = {**os.environ, "FLAMBEAU_CACHE_DIR": str(tmp_path / "objects"), "FLAMBEAU_NUM_THREADS": "1"}

    def run() -> list[str]:
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", SECOND], capture_output=True, text=True, env=environment
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    (values, first, wrote), (again, second, wrote_again) = run(), run()
    assert values == again and int(first.split()[0]) > 5 and first.split()[3] == wrote == "True"
    words = second.split()
    if image.STATE["usable"]:
        assert words[0] == "0" and int(words[1]) > 5 and float(words[2]) == 0 and words[3] == "False"
        assert wrote_again == "False"
    for path in (
        tmp_path / "objects"
    ).iterdir():  # references, images, facts about the processor: all damaged
        path.write_bytes(path.read_bytes()[:-1])
    damaged = run()
    assert damaged[0] == values and damaged[2] == "True"


TEXT = """
define i64 @twice(i64 %x) nounwind {
  %y = add i64 %x, %x
  ret i64 %y
}
"""


def test_what_a_text_was_made_of_is_found_with_its_functions(kept: cache.Cache) -> None:
    parts = ("loop/ir.py",)
    assert engine.recall_ir("facts", parts, ["twice"]) is None
    engine.remember_ir("facts", parts, TEXT, ["twice"], ["", "two words"])
    assert engine.recall_ir("facts", parts, ["twice"]) is None  # nobody has compiled it
    made = engine.compile_ir(TEXT, ["twice"])
    assert engine.recall_ir("facts", parts, ["twice"]) == (["", "two words"], made)
    assert engine.recall_ir("others", parts, ["twice"]) is None
    assert engine.recall_ir("facts", ("loop/text.py",), ["twice"]) is None
    assert engine.recall_ir("facts", parts, ["thrice"]) is None  # it has no such function


@pytest.mark.parametrize("content", [b"", b"machine code", b"see ", b"see \xff\n", b"see " + b"0" * 64])
def test_what_is_no_note_is_refused(kept: cache.Cache, content: bytes) -> None:
    engine.compile_ir(TEXT, ["twice"])
    kept.put(engine._facts_key("facts", ()), content)
    assert engine.recall_ir("facts", (), ["twice"]) is None
    engine.remember_ir("facts", (), TEXT, ["twice"], [])
    assert engine.recall_ir("facts", (), ["twice"]) is not None


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[cache.Cache]:
    before = config.cache_dir
    config.set("cache_dir", str(tmp_path / "objects"))
    try:
        found = cache.current()
        assert found is not None
        yield found
    finally:
        config.set("cache_dir", before)


def test_what_a_launch_became_is_found_by_its_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = config.cache_dir
    config.set("cache_dir", str(tmp_path / "objects"))
    try:
        made = [kernel("noted", 8.0), kernel("noted", 9.0)]
        addresses = engine.compile_kernels(made, texts=["launch of 8", "launch with <f at 0x7f>"])
        eight, nine, other = engine.recall(["launch of 8", "launch with <f at 0x7f>", "launch of 9"])
        assert eight is not None and nine is None and other is None
        assert eight.names == tuple(p.name for p in made[0].params) and not eight.epilogue
        assert eight.address and addresses[0] != addresses[1]
        on = engine.target.host()
        for change in (("caches", (1, 2, 3)), ("features", on.features + ",+another")):
            with monkeypatch.context() as patch:
                patch.setattr(on, *change)
                assert engine.recall(["launch of 8"]) == [None]
        monkeypatch.setattr(engine.keys, "version", lambda parts: "another source")
        assert engine.recall(["launch of 8"]) == [None]
    finally:
        config.set("cache_dir", before)


def test_what_was_made_of_facts_is_found_by_them(kept: cache.Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    engine.keep(b"facts", b"a plan")
    assert engine.kept(b"facts") == b"a plan" and engine.kept(b"other facts") is None
    on = engine.target.host()
    with monkeypatch.context() as patch:
        patch.setattr(on, "caches", (1, 2, 3))
        assert engine.kept(b"facts") is None
    monkeypatch.setattr(engine.keys, "version", lambda parts: "another source")
    assert engine.kept(b"facts") is None


def test_facts_about_the_processor_change_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = tmp_path / "cpuinfo"
    facts.write_text("processor: 0\nflags: sse avx2\ncpu MHz: 2000\n\nprocessor: 1\nflags: sse avx2\n")
    key = target._machine_key(str(facts))
    facts.write_text("processor: 0\nflags: sse avx2\ncpu MHz: 1800\n\nprocessor: 1\nflags: sse\n")
    assert key and target._machine_key(str(facts)) == key
    facts.write_text("processor: 0\nflags: sse avx2 avx512f\ncpu MHz: 2000\n")
    assert target._machine_key(str(facts)) not in ("", key)
    assert target._machine_key(str(tmp_path / "none")) == ""
    before = config.cache_dir
    config.set("cache_dir", str(tmp_path / "objects"))
    try:
        found = target._detected()
        assert target._remembered() == (found if target._machine_key() else None)
    finally:
        config.set("cache_dir", before)
