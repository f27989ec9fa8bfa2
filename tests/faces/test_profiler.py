"""torch.profiler: what a profile sees, its table, its trace and its cycles; results are those without it."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

import flambeau as torch
from flambeau import nn
from flambeau.profiler import ProfilerActivity, profile, record_function, schedule, tensorboard_trace_handler


def losses(steps: int) -> tuple[Any, ...]:
    """A model, its optimiser and the losses of a few steps."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    x, y = torch.randn(4, 8), torch.tensor([0, 1, 2, 0])
    found = []
    for _ in range(steps):
        with record_function("a step"):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
        found.append(loss.item())
    return found, [p.detach().clone() for p in model.parameters()]


def test_a_training_step() -> None:
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True, profile_memory=True) as prof:
        seen = losses(3)
    plain = losses(3)
    assert seen[0] == plain[0] and all(torch.equal(a, b) for a, b in zip(seen[1], plain[1]))
    sums = {e.key: e for e in prof.key_averages()}
    assert sums["a step"].count == sums["Optimizer.step#SGD.step"].count == 3
    assert sums["aten::linear"].count == sums["AddmmBackward0"].count == 6
    assert sums["autograd::engine::evaluate_function: ReluBackward0"].count == 3
    assert sums["a step"].cpu_time_total > sums["aten::linear"].cpu_time_total > 0
    shaped = prof.key_averages(group_by_input_shape=True)
    shapes = [e.input_shapes for e in shaped if e.key == "aten::linear"]
    assert shapes == [[[4, 8], [16, 8], [16]], [[4, 16], [3, 16], [3]]]
    assert not torch.autograd.is_anomaly_enabled()


def test_events_lie_within_each_other() -> None:
    with profile() as prof:
        with record_function("outer"):
            torch.ones(3).exp()
        torch.ones(2)
    names = [(e.name, e.cpu_parent.name if e.cpu_parent else None) for e in prof.events()]
    assert names == [("outer", None), ("aten::ones", "outer"), ("aten::exp", "outer"), ("aten::ones", None)]
    outer, ones = prof.events()[:2]
    assert outer.time_range.start <= ones.time_range.start <= ones.time_range.end <= outer.time_range.end
    total = prof.key_averages().total_average()
    whole = outer.cpu_time_total + prof.events()[3].cpu_time_total
    assert total.count == 4 and total.self_cpu_time_total == pytest.approx(whole)


def test_memory_of_a_call_that_fails_and_of_one_that_does_not() -> None:
    with profile(profile_memory=True) as prof:
        kept = torch.zeros(1 << 20) + 1
        with pytest.raises(RuntimeError):
            torch.ones(2) @ torch.ones(3)
        torch.ones(2).exp()
    sums = {e.key: e for e in prof.key_averages()}
    assert sums["aten::add"].cpu_memory_usage >= kept.nbytes // 2
    assert prof.events()[-1].cpu_parent is None  # the call that failed is closed


def test_the_table_is_sorted_and_cut() -> None:
    with profile(record_shapes=True) as prof:
        for _ in range(3):
            torch.ones(4).exp()
        torch.ones(4).log()
    lines = prof.key_averages().table(sort_by="count", row_limit=2).splitlines()
    assert [part.strip() for part in lines[1].split("  ") if part.strip()][:2] == ["Name", "Self CPU %"]
    assert [line.split()[0] for line in lines[3:5]] == ["aten::ones", "aten::exp"]
    assert lines[-1].startswith("Self CPU time total: ") and len(lines) == 7
    with pytest.raises(AttributeError, match="cannot sort by"):
        prof.key_averages().table(sort_by="colour")


def test_traces(tmp_path: Path) -> None:
    ready = tensorboard_trace_handler(str(tmp_path), "worker")
    with profile(on_trace_ready=ready) as prof:
        torch.ones(4).exp()
    (written,) = tmp_path.glob("worker.*.pt.trace.json")
    prof.add_metadata("run", "7")
    prof.export_chrome_trace(str(tmp_path / "trace.json.gz"))
    for text in (written.read_text(), gzip.decompress((tmp_path / "trace.json.gz").read_bytes())):
        assert [e["name"] for e in json.loads(text)["traceEvents"]] == ["aten::ones", "aten::exp"]
    assert json.loads(text)["run"] == "7"


def test_cycles_of_a_schedule() -> None:
    ready = []

    def note(prof: Any) -> None:
        ready.append((prof.step_num, [e.name for e in prof.events() if e.name.startswith("ProfilerStep")]))

    with profile(schedule=schedule(wait=1, warmup=1, active=2, repeat=2), on_trace_ready=note) as prof:
        for _ in range(10):
            torch.ones(2).exp()
            prof.step()
    assert ready == [(4, ["ProfilerStep#2", "ProfilerStep#3"]), (8, ["ProfilerStep#6", "ProfilerStep#7"])]


def test_one_at_a_time_and_none_after_it() -> None:
    with profile() as prof:
        with pytest.raises(RuntimeError, match="one at a time"), profile():
            pass
        torch.ones(2)
    torch.ones(2).exp()
    assert [e.name for e in prof.events()] == ["aten::ones"]
    with pytest.raises(AssertionError, match="nothing was recorded"):
        profile().events()


def test_anomaly_detection_goes_on() -> None:
    x = torch.tensor([-1.0], requires_grad=True)
    nan, warned = pytest.raises(RuntimeError, match="returned nan"), pytest.warns(UserWarning)
    with torch.autograd.detect_anomaly(), torch.autograd.profiler.profile(), nan, warned:
        x.sqrt().sum().backward()
    with profile() as prof:
        with torch.autograd.detect_anomaly():
            x.exp()
        x.log()
    assert not torch.autograd.is_anomaly_enabled()
    assert [e.name for e in prof.events()] == ["aten::exp", "aten::log"]
