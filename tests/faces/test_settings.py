"""Settings of the process, and what explain says."""

from __future__ import annotations

import math
import os
import subprocess
import sys

import pytest

import flambeau as torch


def test_eager_runs_each_operation_at_once() -> None:
    from flambeau.stream import program

    def runs() -> int:
        before = program.STATS["runs"]
        kept = torch.ones(3) * 2 + 1
        return program.STATS["runs"] - before + 0 * kept.numel()

    torch.synchronize()
    try:
        torch.set_eager(True)
        assert runs() >= 2
    finally:
        torch.set_eager(False)
    assert runs() == 0


def test_threads() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        assert torch.get_num_threads() == 1
        with pytest.raises(RuntimeError, match="positive"):
            torch.set_num_threads(0)
    finally:
        torch.set_num_threads(before)


def test_constants_and_switches() -> None:
    assert torch.pi == math.pi and torch.inf == math.inf and torch.isnan(torch.tensor(torch.nan)).item()
    torch.set_float32_matmul_precision("high")
    assert torch.get_float32_matmul_precision() == "high"
    torch.set_float32_matmul_precision("highest")
    with pytest.raises(RuntimeError, match="precision"):
        torch.set_float32_matmul_precision("low")
    torch.set_default_device("cpu")
    with pytest.raises(AssertionError, match="not compiled with CUDA"):
        torch.set_default_device("cuda")
    assert torch.memory_stats()["live"] >= 0


def test_explain_prints_instructions_kernels_and_bytes(capsys) -> None:
    x = torch.ones(64, 128)
    found = torch.explain(lambda: torch.softmax(x * 2 + 1, -1))
    out = capsys.readouterr().out
    assert len(found.kernels) == 1 and "softmax" in out.lower() and "mul" in out.lower()
    assert found.kernels[0].nbytes == 2 * 64 * 128 * 4 and f"{found.kernels[0].nbytes:,}" in out
    assert torch.equal(found.result, torch.softmax(x * 2 + 1, -1))


def test_explain_sees_every_flush(capsys) -> None:
    def step() -> float:
        x = torch.ones(8)
        first = (x + 1).sum().item()
        return first + (x * 3).sum().item()

    found = torch.explain(step)
    assert found.result == 40.0 and len(found.flushes) == 2
    assert repr(found).startswith("Explanation(")
    assert str(torch.explain(lambda: None)) == "nothing was recorded"


def test_debug_prints_what_runs_and_what_is_planned() -> None:
    code = "import flambeau as torch; print((torch.ones(4) * 2 + 1).sum().item())"
    for level, words in (("1", ["run "]), ("2", ["run ", "plan ", "bytes"])):
        settings = {**os.environ, "FLAMBEAU_DEBUG": level}
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=settings
        )
        assert done.stdout == "12.0\n" and all(word in done.stderr for word in words)


def test_small_names_of_the_package():
    assert torch.newaxis is None and torch.zeros(2)[torch.newaxis].shape == (1, 2)
    assert torch.is_storage(torch.zeros(2).untyped_storage()) and not torch.is_storage(torch.zeros(2))
    assert torch.embedding(torch.eye(3), torch.tensor([2])).tolist() == [[0, 0, 1]]
    assert (
        torch.tensor(3).is_nonzero() and not torch.zeros(1).is_nonzero() and not torch.is_conj(torch.zeros(1))
    )
    assert torch.set_flush_denormal(False) and not torch.set_flush_denormal(True)
    torch.set_deterministic_debug_mode("warn")
    assert torch.get_deterministic_debug_mode() == 1 and torch.is_deterministic_algorithms_warn_only_enabled()
    torch.set_deterministic_debug_mode(0)
    assert not torch.are_deterministic_algorithms_enabled()
    torch.cpu.synchronize()
    with torch.cpu.stream(torch.cpu.current_stream()):
        assert torch.cpu.is_available() and torch.cpu.device_count() == 1
    assert torch.GradScaler is torch.amp.GradScaler and torch.asarray([1], device="meta").is_meta
