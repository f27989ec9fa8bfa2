"""Modules whose subject is not there yet say so; what of them can work does."""

from __future__ import annotations

from pathlib import Path

import pytest

import flambeau as torch


@pytest.mark.parametrize(
    "call",
    [
        lambda: torch.onnx.export(None, (), "f"),
        lambda: torch.export.export(None, ()),
        lambda: torch.library.opcheck(None, ()),
        lambda: torch.hub.load("owner/repository", "model"),
    ],
)
def test_says_that_it_is_not_there_yet(call) -> None:
    with pytest.raises(NotImplementedError, match="is not there yet"):
        call()


def test_schedule_and_regions() -> None:
    steps = torch.profiler.schedule(wait=1, warmup=1, active=2, repeat=1)
    assert [steps(i).value for i in range(6)] == [0, 1, 2, 3, 0, 0]
    with torch.profiler.record_function("a region"):
        pass


def test_weights_from_a_url(tmp_path: Path) -> None:
    torch.save({"w": torch.arange(3)}, tmp_path / "weights.pt")
    url = (tmp_path / "weights.pt").as_uri()
    torch.hub.set_dir(str(tmp_path / "kept"))
    state = torch.hub.load_state_dict_from_url(url)
    assert state["w"].tolist() == [0, 1, 2] and (tmp_path / "kept" / "checkpoints" / "weights.pt").exists()
    with pytest.raises(RuntimeError, match="invalid hash value"):
        torch.hub.load_state_dict_from_url(url, check_hash=True, file_name="weights-0123abcd.pt")


def test_names_of_torchscript_mean_what_eager_code_wants() -> None:
    """Annotations, tests of types and calls that run at once; nothing is a scripted module."""
    jit = torch.jit

    class Net(torch.nn.Module):
        sizes: jit.Final[list[int]]

    assert not isinstance(Net(), jit.ScriptModule) and jit.annotate(list[int], [1]) == [1]
    assert jit.isinstance([1, 2], list[int]) and not jit.isinstance([1, "a"], list[int])
    assert jit.isinstance({"a": 1}, dict[str, int]) and jit.isinstance((1, "a"), tuple[int, str])
    assert not jit.isinstance((1, 2), tuple[int, str]) and jit.isinstance(None, int | None) is True
    assert jit.wait(jit.fork(lambda a, b=1: a + b, 2, b=3)) == 5 and jit.fork(int).done()
    assert jit.script_if_tracing(len)([1]) == 1 and jit.Attribute(3, int).value == 3
    with pytest.raises(NotImplementedError, match="TorchScript"):
        jit.CompilationUnit("def f(): pass")
