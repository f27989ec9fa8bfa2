"""Compilation in other processes: the same bytes, whatever becomes of the processes, and none left behind."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from flambeau import config
from flambeau.codegen import engine, image, objects, pipeline, target, workers
from flambeau.codegen.objects import Order
from flambeau.loop import ir
from flambeau.loop.build import Builder

HERE = Path(__file__).parent
prototype = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)
posix = pytest.mark.skipif(os.name != "posix", reason="signals and /proc")


def scaled(name: str, factor: float) -> ir.Kernel:
    b = Builder(name)
    n, x = b.integer("n"), b.buf("x", "f32", "rw")
    with b.vfor("i", 0, n, 16) as i:
        x[i] = x[i] * factor
    return b.kernel()


def order(factor: float) -> Order:
    on = target.host()
    unit = pipeline.run(
        pipeline.Unit([scaled("job", factor)], [f"job_{factor}"], on, None), pipeline.PASSES[:-2]
    )
    return Order(*on.code, unit.text)


@pytest.fixture
def crew():  # type: ignore[no-untyped-def]
    made = workers.Crew()
    yield made
    made.dismiss()
    assert not made.workers


def never(order: Order) -> bytes:
    raise AssertionError("compiled in place")


def answered(crew: workers.Crew, given: Order) -> bytes | None:
    """What a worker, and nobody else, makes of an order."""
    done = threading.Event()
    job = workers.Job(given, lambda _: done.set())
    crew.give([job], False)
    assert done.wait(30)
    return job.result


def test_a_worker_makes_the_bytes_that_this_process_makes(crew: workers.Crew) -> None:
    assert crew.hire(2) and len(crew.workers) == 2 and crew.hire(1) and len(crew.workers) == 2
    for factor in (2.0, 3.0, 4.0):
        assert answered(crew, order(factor)) == objects.compiled(order(factor))
    both = crew.compiled((order(float(f)) for f in range(5, 11)), objects.compiled)
    assert both == [objects.compiled(order(float(f))) for f in range(5, 11)]


def test_what_a_worker_cannot_compile_is_compiled_in_place_and_fails_there(crew: workers.Crew) -> None:
    crew.hire(1)
    broken = order(2.0)._replace(text="define nonsense")
    assert answered(crew, broken) is None
    with pytest.raises(RuntimeError, match="expected"):
        crew.compiled([broken], objects.compiled)
    assert answered(crew, order(2.0)) == objects.compiled(order(2.0))  # it goes on


def test_killed_workers_only_cost_time(crew: workers.Crew) -> None:
    crew.hire(1)
    assert answered(crew, order(2.0)) is not None
    (worker,) = crew.workers
    worker.process.kill()
    expected = [objects.compiled(order(float(f))) for f in range(3, 6)]
    assert crew.compiled([order(float(f)) for f in range(3, 6)], objects.compiled) == expected
    assert answered_after_leaving(crew, order(2.0)) is None
    assert crew.hire(1) and answered(crew, order(6.0)) is not None


def answered_after_leaving(crew: workers.Crew, given: Order) -> bytes | None:
    """What becomes of a job that comes when the last worker has found its process dead."""
    job = workers.Job(given)
    crew.give([job], False)
    until = time.monotonic() + 30
    while not job.done or crew.workers:
        assert time.monotonic() < until
        time.sleep(0.01)
    return job.result


def test_without_processes_everything_is_compiled_in_place(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], crew: workers.Crew
) -> None:
    def refuse(nice: int) -> None:
        raise OSError("no more processes")

    monkeypatch.setattr(workers, "start_process", refuse)
    config.set("debug", 1)
    try:
        crew.hire(1)
        assert crew.compiled([order(2.0)], objects.compiled) == [objects.compiled(order(2.0))]
        until = time.monotonic() + 30
        while crew.workers and time.monotonic() < until:
            time.sleep(0.01)
    finally:
        config.set("debug", 0)
    assert "no more processes; kernels are compiled in place" in capfd.readouterr().err
    monkeypatch.setattr(sys, "executable", "/usr/sbin/some-server")
    assert not workers.may_start() and not workers.Crew().hire(1)


def test_code_does_not_depend_on_what_was_compiled_before() -> None:
    kernel, text = (order(2.0)._replace(kernel=kind) for kind in ("kernel", ""))
    first = objects.compiled(kernel), objects.compiled(text)
    assert objects.compiled(text) == first[1] and objects.compiled(kernel) == first[0]
    objects.prepare(False)


@posix
def test_what_may_take_its_time_stands_back() -> None:
    crew = workers.Crew(workers.BACK)
    try:
        crew.hire(1)
        assert answered(crew, order(2.0)) == objects.compiled(order(2.0))
        own = os.getpriority(os.PRIO_PROCESS, 0)
        assert os.getpriority(os.PRIO_PROCESS, crew.workers[0].process.pid) == min(own + workers.BACK, 19)
    finally:
        crew.dismiss()


def test_a_text_that_was_begun_ahead_is_not_compiled_again(
    monkeypatch: pytest.MonkeyPatch, crew: workers.Crew
) -> None:
    text = "define i64 @early(i64 %x) {\n  %y = mul i64 %x, FACTOR\n  ret i64 %y\n}\n"
    monkeypatch.setattr(workers, "CREW", crew)
    monkeypatch.setattr(engine, "_in_place", never)
    number = time.time_ns() % 10**9
    first, other = (text.replace("FACTOR", str(number + k)) for k in range(2))
    engine.compile_ir_ahead(first, ["early"], 1)
    assert not crew.workers  # there is one processor
    for _ in range(2):
        engine.compile_ir_ahead(first, ["early"], 2)
    assert len(engine._ahead) == 1 and len(crew.workers) == 1
    until = time.monotonic() + 30
    while crew.jobs and time.monotonic() < until:
        time.sleep(0.01)
    (address,) = engine.compile_ir(first, ["early"], keep=False)
    assert not engine._ahead and prototype(address)(3) == 3 * number
    engine.compile_ir_ahead(first, ["early"], 2)
    assert not engine._ahead  # it is there
    monkeypatch.setattr(crew, "next", lambda: None)
    monkeypatch.setattr(engine, "_in_place", objects.compiled)
    engine.compile_ir_ahead(other, ["early"], 2)
    (address,) = engine.compile_ir(other, ["early"], keep=False)  # nobody had begun
    assert prototype(address)(3) == 3 * (number + 1)


def test_processes_start_when_kernels_are_not_found(
    monkeypatch: pytest.MonkeyPatch, crew: workers.Crew
) -> None:
    monkeypatch.setattr(workers, "CREW", crew)
    assert engine.recall(["one", "two", "three"], 1) == [None] * 3 and not crew.workers
    assert engine.recall(["one"], 4) == [None] and not crew.workers
    assert engine.recall(["one", "two", "three"], 8) == [None] * 3 and len(crew.workers) == 2


def test_workers_without_work_leave(monkeypatch: pytest.MonkeyPatch, crew: workers.Crew) -> None:
    monkeypatch.setattr(objects, "IDLE", 0.2)
    crew.hire(1)
    process = crew.workers[0]
    process.join(30)
    assert not crew.workers and process.process is None


def test_an_interrupt_leaves_the_crew_usable(crew: workers.Crew) -> None:
    def interrupted(order: Order) -> bytes:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        crew.compiled([order(2.0), order(3.0)], interrupted)
    assert not crew.jobs
    assert crew.compiled([order(2.0)], objects.compiled) == [objects.compiled(order(2.0))]


def test_kernels_compiled_by_several_work_and_are_one_entry(tmp_path: Path) -> None:
    before = config.cache_dir
    config.set("cache_dir", str(tmp_path / "objects"))
    try:
        made = [scaled("several", float(f)) for f in range(2, 8)]
        addresses = engine.compile_kernels(made, cores=3)
        assert len(set(addresses)) == 6
        import codegen_native as native

        for f, kernel in enumerate(made, 2):
            x = np.ones(20, np.float32)
            native.run(kernel, 20, x)
            assert (x == f).all()
        sizes = [p.stat().st_size for p in (tmp_path / "objects").iterdir()]
        assert sum(size > 200 for size in sizes) == (1 if image.STATE["usable"] else 6)
    finally:
        config.set("cache_dir", before)


PROGRAM = """
import os, sys, time
import flambeau as torch
from flambeau.codegen import workers
x = torch.randn(5, requires_grad=True)
y = (x.exp().sum() + x.softmax(0)[0] + x.tanh().prod() + (x * x).mean())
y.backward()
print(y.item() == y.item(), x.grad.sum().item() < 1e9)
pids = [w.process.pid for c in (workers.CREW, workers.LATER) for w in c.workers if w.process is not None]
print(*pids)
sys.stdout.flush()
"""


def run_program(tmp_path: Path, text: str) -> list[str]:
    environment = {**os.environ, "FLAMBEAU_CACHE_DIR": str(tmp_path / "kernels")}
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, env=environment)
    assert done.returncode == 0 and not done.stderr, done.stderr
    return done.stdout.splitlines()


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


@posix
def test_a_program_without_a_main_guard_leaves_nothing_behind(tmp_path: Path) -> None:
    said, pids = run_program(tmp_path, PROGRAM)
    assert said == "True True"
    assert all(gone(int(pid)) for pid in pids.split())


def test_builtins_are_made_when_something_comes_twice(tmp_path: Path) -> None:
    lines = run_program(
        tmp_path,
        """
import sys
import flambeau as torch
x = torch.randn(5)
print((x * 2).sum().item() < 1e9, "flambeau.ops.builtins.flushing" in sys.modules)
print((x * 3).sum().item() < 1e9, "flambeau.ops.builtins.flushing" in sys.modules)
""",
    )
    assert lines == ["True False", "True True"]


@posix
def test_a_forked_child_has_workers_of_its_own(tmp_path: Path) -> None:
    child = """
if not os.fork():
    assert not workers.CREW.workers and not workers.LATER.workers
    print((x.detach().cumsum(0).sort().values + 1).sum().item() < 1e9, flush=True)
    os._exit(0)
print(os.wait()[1])
print((x.detach().cumsum(0).sin() + 1).sum().item() < 1e9)
"""
    lines = run_program(tmp_path, PROGRAM + child)
    assert lines[0] == "True True" and lines[2:] == ["True", "0", "True"]


@posix
def test_ctrl_c_does_not_reach_the_workers() -> None:
    process = workers.start_process()
    try:
        objects.send(process.stdin, order(2.0))
        assert objects.receive(process.stdout)[0] is not None
        process.send_signal(signal.SIGINT)
        objects.send(process.stdin, order(3.0))
        assert objects.receive(process.stdout)[0] == objects.compiled(order(3.0))
        assert os.getpgid(process.pid) != os.getpgid(0)
        process.stdin.close()  # whoever started it is gone
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
