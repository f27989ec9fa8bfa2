"""Loaders: PyTorch's order, seeds and random numbers; workers that fail, die, or are left behind."""

from __future__ import annotations

import gc
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import flambeau as fl
from flambeau.device.threads import set_num_threads

torch = pytest.importorskip("torch")

from .test_collate import plain  # noqa: E402  (that file too wants PyTorch)

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")


def datasets(lib, n=11):
    data = lib.utils.data

    class Rows(data.Dataset):
        def __len__(self):
            return n

        def __getitem__(self, i):
            return lib.full((3,), float(i)), i, {"array": np.full(4, i), "text": str(i)}

    class Chance(data.Dataset):
        def __len__(self):
            return n

        def __getitem__(self, i):
            worker = data.get_worker_info()
            return lib.rand(2), random.random(), np.random.rand(), -1 if worker is None else worker.id

    class Stream(data.IterableDataset):
        def __iter__(self):
            worker = data.get_worker_info()
            first, step = (0, 1) if worker is None else (worker.id, worker.num_workers)
            return iter(range(first, n, step))

    return {"rows": Rows(), "chance": Chance(), "stream": Stream()}


def passes(lib, which, times=2, **options):
    lib.manual_seed(5)
    random.seed(1)
    np.random.seed(1)
    loader = lib.utils.data.DataLoader(datasets(lib)[which], **options)
    return [plain(batch) for _ in range(times) for batch in loader], plain(lib.rand(1))


@pytest.mark.parametrize(
    ("which", "options"),
    [
        ("rows", {}),
        ("rows", {"batch_size": 4, "shuffle": True}),
        ("rows", {"batch_size": 4, "shuffle": True, "drop_last": True}),
        ("rows", {"batch_size": None}),
        ("rows", {"batch_size": 4, "num_workers": 2}),
        ("rows", {"batch_size": 2, "shuffle": True, "num_workers": 3, "persistent_workers": True}),
        ("rows", {"batch_size": 2, "num_workers": 2, "prefetch_factor": 1, "collate_fn": list}),
        ("chance", {"batch_size": 3, "shuffle": True}),
        ("chance", {"batch_size": 3, "num_workers": 2}),
        ("chance", {"batch_size": 3, "num_workers": 2, "persistent_workers": True}),
        ("stream", {"batch_size": 4}),
        ("stream", {"batch_size": 2, "num_workers": 2}),
        ("stream", {"batch_size": 2, "num_workers": 3, "persistent_workers": True, "drop_last": True}),
        ("stream", {"batch_size": None, "num_workers": 2}),
    ],
)
def test_passes_are_pytorchs(which, options):
    assert passes(fl, which, **options) == passes(torch, which, **options)


def test_a_generator_gives_the_order():
    for lib in (torch, fl):
        generator = lib.Generator().manual_seed(3)
        loader = lib.utils.data.DataLoader(range(9), shuffle=True, generator=generator, batch_size=9)
        orders = [next(iter(loader)).tolist() for _ in range(2)]
        if lib is torch:
            expected = orders
    assert orders == expected


def test_samplers_are_pytorchs():
    found = []
    for lib in (torch, fl):
        lib.manual_seed(1)
        d = lib.utils.data
        samplers = [
            d.RandomSampler(range(17)),
            d.RandomSampler(range(17), num_samples=40),
            d.RandomSampler(range(17), replacement=True, num_samples=70),
            d.SubsetRandomSampler([5, 3, 8, 1]),
            d.WeightedRandomSampler([0.1, 0.5, 0.4], 10),
            d.BatchSampler(range(7), 3, drop_last=True),
            d.BatchSampler(range(7), 3, drop_last=False),
            *[
                d.DistributedSampler(range(n), 4, r, drop_last=x)
                for n in (5, 10)
                for r in (0, 3)
                for x in (0, 1)
            ],
            *d.random_split(range(13), [0.3, 0.3, 0.4]),
        ]
        found.append([(list(getattr(s, "indices", s)), len(s)) for s in samplers])
    assert found[0] == found[1]


def test_held_batches_stay_what_they_were():
    """The shared memory of a batch is used again; the tensors given out are not over it."""
    data = fl.utils.data.TensorDataset(fl.arange(64.0).reshape(64, 1).repeat(1, 2000))
    held = list(fl.utils.data.DataLoader(data, batch_size=4, num_workers=2))
    assert [batch[0][:, 1999].tolist() for batch in held] == [
        [4.0 * i + j for j in range(4)] for i in range(16)
    ]


def test_index_lists_longer_than_a_pipe():
    loader = fl.utils.data.DataLoader(range(60_000), batch_size=30_000, num_workers=2, shuffle=True)
    batches = [batch.tolist() for batch in loader]
    assert [len(batch) for batch in batches] == [30_000] * 2
    assert sorted(batches[0] + batches[1]) == list(range(60_000))


class Failing(fl.utils.data.Dataset):
    """Fails at sample 5 as `how` says."""

    def __init__(self, how):
        self.how = how

    def __len__(self):
        return 8

    def __getitem__(self, i):
        return getattr(self, self.how)() if i == 5 else i

    def value(self):
        raise ValueError("no sample 5")

    def key(self):
        return {}["absent"]

    def killed(self):
        os.kill(os.getpid(), signal.SIGKILL)

    def exits(self):
        os._exit(3)

    def slow(self):
        time.sleep(20)

    def unsendable(self):
        return lambda: 0

    def local_error(self):
        class Odd(Exception):
            pass

        raise Odd("odd")


@pytest.mark.parametrize(
    ("how", "kind", "text"),
    [
        ("value", ValueError, r"Caught ValueError in DataLoader worker process 1(.|\n)*no sample 5"),
        ("key", KeyError, r"Caught KeyError in DataLoader worker process 1(.|\n)*absent"),
        ("killed", RuntimeError, r"DataLoader worker \(pid\(s\) \d+\) exited unexpectedly.*SIGKILL"),
        ("exits", RuntimeError, r"exited unexpectedly.*exit code 3"),
        ("slow", RuntimeError, "timed out after 2.5 seconds"),
        ("unsendable", (AttributeError, RuntimeError), "worker process 1"),
        ("local_error", RuntimeError, r"Caught RuntimeError in DataLoader worker(.|\n)*Odd: odd"),
    ],
)
def test_a_worker_that_fails(how, kind, text):
    timeout = 2.5 if how == "slow" else 0
    loader = fl.utils.data.DataLoader(Failing(how), num_workers=2, timeout=timeout, collate_fn=list)
    seen = []
    with pytest.raises(kind, match=text):
        for batch in loader:
            seen.append(batch[0])
    # what a dying worker had sent may be lost with it; nothing comes twice or out of order
    assert (
        seen == list(range(len(seen))) and len(seen) <= 5
        if how in ("killed", "exits")
        else seen == [0, 1, 2, 3, 4]
    )


def test_a_pass_goes_on_after_an_error():
    iterator = iter(fl.utils.data.DataLoader(Failing("value"), num_workers=2, collate_fn=list))
    seen = []
    for _ in range(8):
        try:
            seen.append(next(iterator)[0])
        except ValueError:
            seen.append("error")
    assert seen == [0, 1, 2, 3, 4, "error", 6, 7]


def test_nothing_is_left_of_a_pass_that_was_broken_off():
    files = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else None
    loader = fl.utils.data.DataLoader(range(50), num_workers=2)
    for _ in range(3):
        for _ in loader:
            break
    gc.collect()
    assert multiprocessing.active_children() == []
    if files is not None:
        assert len(os.listdir("/proc/self/fd")) <= files + 2


def test_worker_init_and_in_order():
    ids = multiprocessing.get_context("fork").Queue() if sys.platform != "win32" else None
    if ids is None:
        pytest.skip("no fork")
    loader = fl.utils.data.DataLoader(range(6), num_workers=2, worker_init_fn=ids.put, in_order=False)
    assert sorted(int(batch) for batch in loader) == list(range(6))
    assert sorted(ids.get(timeout=5) for _ in range(2)) == [0, 1]


SCRIPT = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background begins with it ignored
import flambeau as torch
class D(torch.utils.data.Dataset):
    def __len__(self): return 10000
    def __getitem__(self, i): time.sleep(0.02); return i
for batch in torch.utils.data.DataLoader(D(), num_workers=2):
    print(int(batch), flush=True)
"""


def children_of(pid):
    done = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True)
    return [int(line) for line in done.stdout.split()]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="processes are looked up as on Linux")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_interrupted_or_killed_it_leaves_no_process(how):
    command = [sys.executable, "-c", SCRIPT]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout.readline() == "0\n"
    workers = children_of(process.pid)
    assert len(workers) == 2
    if how == signal.SIGINT:
        os.killpg(process.pid, how)
    else:
        process.kill()
    _, err = process.communicate(timeout=20)
    if how == signal.SIGINT:
        assert err.count("Traceback") == 1 and err.rstrip().endswith("KeyboardInterrupt")
    deadline = time.monotonic() + 5
    while any(os.path.exists(f"/proc/{pid}") for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(os.path.exists(f"/proc/{pid}") for pid in workers)


WRONG = [
    ("num_workers", lambda d: d.DataLoader([], num_workers=-1)),
    ("timeout", lambda d: d.DataLoader([1], timeout=-1)),
    ("prefetch_factor", lambda d: d.DataLoader([1], prefetch_factor=2)),
    ("persistent_workers", lambda d: d.DataLoader([1], persistent_workers=True)),
    ("sampler", lambda d: d.DataLoader([1], shuffle=True, sampler=[0])),
    ("batch_sampler", lambda d: d.DataLoader([1], batch_size=2, batch_sampler=[[0]])),
    ("batch_size=None", lambda d: d.DataLoader([1], batch_size=None, drop_last=True)),
    ("multiprocessing_context", lambda d: d.DataLoader([1], multiprocessing_context="fork")),
    ("start method", lambda d: d.DataLoader([1], num_workers=1, multiprocessing_context="thread")),
    ("batch_size should be", lambda d: d.DataLoader([1], batch_size=0)),
    ("num_samples", lambda d: d.DataLoader([], shuffle=True)),
]


@pytest.mark.parametrize(("text", "make"), WRONG, ids=[text for text, _ in WRONG])
def test_wrong_arguments_are_refused(text, make):
    for lib in (torch, fl):
        with pytest.raises(ValueError, match=text):
            make(lib.utils.data)


def test_settled_attributes_cannot_be_set():
    loader = fl.utils.data.DataLoader([1])
    with pytest.raises(ValueError, match="should not be set"):
        loader.batch_size = 3


def test_lengths():
    for lib in (torch, fl):
        d = lib.utils.data
        loaders = [d.DataLoader(range(10), batch_size=b, drop_last=x) for b in (3, 5) for x in (False, True)]
        assert [len(loader) for loader in loaders] == [4, 3, 2, 2]


class Working(fl.utils.data.Dataset):
    """Uses the engine in the worker, with threads of its own."""

    def __len__(self):
        return 4

    def __getitem__(self, i):
        set_num_threads(2)
        x = fl.full((400, 400), float(i))
        return (x @ x).sum() + fl.arange(500_000.0).mul(2).sum() * 0


def test_workers_use_the_engine_after_this_process_has_used_its_threads():
    x = fl.ones(600, 600)
    pending = x @ x  # recorded, not run, when the workers are forked
    for _ in range(3):
        batches = [
            batch.tolist() for batch in fl.utils.data.DataLoader(Working(), num_workers=2, batch_size=2)
        ]
        assert batches == [[400.0**3 * i * i for i in pair] for pair in ((0, 1), (2, 3))]
    assert float(pending[0, 0]) == 600.0
