"""Memory that others see: their writes are seen neither too early nor too late, and ours at once."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np
import pytest

import flambeau as torch
from flambeau.stream.program import STATS


def test_an_outside_write_after_the_recording_is_not_seen() -> None:
    a = np.ones(4, np.float32)
    y = torch.from_numpy(a) * 2
    a[:] = 7
    assert y.tolist() == [2, 2, 2, 2]


def test_an_outside_write_before_the_recording_is_seen() -> None:
    a = np.ones(4, np.float32)
    t = torch.from_numpy(a)
    first = t * 2
    a[:] = 7
    second = t * 2
    assert first.tolist() == [2] * 4 and second.tolist() == [14] * 4


def test_a_large_read_happens_at_once() -> None:
    a = np.ones(3 << 20, np.float32)
    y = torch.from_numpy(a).sum()
    a[:] = 7
    assert y.item() == 3 << 20


def test_our_writes_are_seen_at_once() -> None:
    a = np.ones(4, np.float32)
    t = torch.from_numpy(a)
    t.add_(1)
    assert a.tolist() == [2] * 4
    t[1:3].mul_(5)
    assert a.tolist() == [2, 10, 10, 2]
    t[0] = 9
    assert a[0] == 9


def test_numpy_of_a_tensor_is_its_memory() -> None:
    x = torch.zeros(4)
    a = x.numpy()
    x.add_(1)
    assert a.tolist() == [1] * 4
    a[2] = 5
    y = x * 2
    a[2] = 6
    assert y.tolist() == [2, 2, 10, 2] and x.tolist() == [1, 1, 6, 1]


def test_numpy_of_a_view_makes_the_whole_storage_foreign() -> None:
    x = torch.zeros(4)
    a = x[1:3].numpy()
    y = x + 1
    a[:] = 5
    assert y.tolist() == [1] * 4 and (x + 1).tolist() == [1, 6, 6, 1]


def test_foreign_status_ends_with_the_last_exported_array() -> None:
    x = torch.zeros(4)
    a = x.numpy()
    b = a[1:]
    del a
    gc.collect()
    assert x._st.info.exported == 1
    del b
    gc.collect()
    assert x._st.info.exported == 0


def test_two_tensors_over_one_array_are_related_by_their_memory() -> None:
    a = np.zeros(6, np.float32)
    left, right = torch.from_numpy(a[:4]), torch.from_numpy(a[2:])
    left.add_(1)
    y = right * 2
    left.add_(1)
    assert y.tolist() == [2, 2, 0, 0]


def test_a_saved_foreign_tensor_keeps_what_it_was() -> None:
    a = np.full(3, 2.0, np.float32)
    w = torch.ones(3, requires_grad=True)
    loss = (w * torch.from_numpy(a)).sum()
    a[:] = 50
    loss.backward()
    assert w.grad.tolist() == [2, 2, 2]


def test_a_training_loop_over_numpy_batches_is_not_cut() -> None:
    w = torch.zeros(4, 2, requires_grad=True)
    optimizer = torch.optim.SGD([w], lr=0.1)
    rng = np.random.default_rng(0)
    buffer = np.empty((8, 4), np.float32)

    def step() -> None:
        buffer[:] = rng.standard_normal((8, 4))
        x = torch.from_numpy(buffer)
        y = torch.from_numpy(rng.integers(0, 2, 8))
        loss = torch.nn.functional.cross_entropy(torch.relu(x @ w), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    for _ in range(5):
        step()
    before = STATS["runs"], STATS["kernels"]
    for _ in range(10):
        step()
    assert STATS["runs"] - before[0] <= 10
    assert STATS["kernels"] == before[1]


def test_read_only_memory_refuses_every_write() -> None:
    a = np.ones(3, np.float32)
    a.flags.writeable = False
    t = torch.from_numpy(a)
    writes = (
        lambda: t.add_(1),
        lambda: t.zero_(),
        lambda: t[1:].mul_(2),
        lambda: t.__setitem__(0, 5.0),
        lambda: t.copy_(torch.zeros(3)),
        lambda: t.fill_(2),
        lambda: torch.add(t, 1, out=t),
        lambda: t.uniform_(),
        lambda: t.detach().view(3, 1).squeeze().exp_(),
    )
    for write in writes:
        with pytest.raises(RuntimeError, match="read-only"):
            write()
    assert a.tolist() == [1, 1, 1] and (t + 1).tolist() == [2, 2, 2] and t._version == 0


def test_readonly_protects_a_tensor() -> None:
    x = torch.arange(3.0)
    assert x.readonly() is x
    with pytest.raises(RuntimeError, match=r"add_: .*read-only.*; got x=\(3,\) float32; .*clone"):
        x.add_(1)
    with pytest.raises(RuntimeError, match="read-only"):
        x[:2].zero_()
    assert not x.numpy().flags.writeable
    assert x.clone().add_(1).tolist() == [1, 2, 3]


def test_resize_gives_a_tensor_another_size() -> None:
    x = torch.arange(6.0)
    y = x + 1
    x.resize_(2, 2)
    assert x.tolist() == [[0, 1], [2, 3]] and y.tolist() == [1, 2, 3, 4, 5, 6]
    x.resize_(10)
    assert x.shape == (10,) and x[:6].tolist() == [0, 1, 2, 3, 4, 5]
    with pytest.raises(RuntimeError, match="not resizable"):
        torch.from_numpy(np.ones(2, np.float32)).resize_(5)


def test_data_ptr_is_stable_and_pins() -> None:
    x = torch.ones(8) + 1
    ptr = x.data_ptr()
    x.add_(1)
    y = x * 2
    assert x.data_ptr() == ptr and x[2:].data_ptr() == ptr + 8 and y[0].item() == 6


def test_foreign_memory_in_eager_mode() -> None:
    torch.set_eager(True)
    try:
        test_a_saved_foreign_tensor_keeps_what_it_was()
        test_our_writes_are_seen_at_once()
    finally:
        torch.set_eager(False)


@pytest.mark.parametrize("make", [torch.from_numpy, torch.as_tensor])
def test_an_array_that_nobody_keeps_is_ours(make: Any) -> None:
    """Nothing can write to it, so nothing is copied; whoever can keeps it foreign."""
    a = np.arange(6, dtype=np.float32)
    x = make(a.copy())
    assert x._st.info is None and (x * 2).tolist() == [0, 2, 4, 6, 8, 10]
    del x
    kept, shown, view = a.copy(), [a.copy()], a.copy()[1:]
    window = memoryview(b := a.copy())
    followed = weakref.ref(c := a.copy())
    for x in (make(kept), make(shown[0]), make(view), make(b), make(c), *map(make, [a])):
        assert x._st.info.owner is not None
    assert window[0] == 0 and followed() is c
    y = make(a.copy().T)
    gc.collect()
    assert (y + 1).tolist() == [1, 2, 3, 4, 5, 6]


def test_an_array_that_became_ours_can_be_exported_and_freed() -> None:
    gone = []

    class Watched(np.ndarray):
        def __del__(self) -> None:
            gone.append(1)

    x = torch.from_numpy(np.zeros(4, np.float32).view(Watched))
    assert x._st.info is not None  # of a class of its own: as it was
    del x
    x = torch.from_numpy(np.zeros(1 << 16, np.float32))
    shown = x.numpy()
    x.add_(1)
    assert shown[-1] == 1 and gone
    y = x * 2
    shown[:] = 5
    assert y[0] == 2 and (x * 2)[0] == 10
    del shown
    with pytest.raises(RuntimeError, match="not resizable"):
        x.resize_(1 << 17)
