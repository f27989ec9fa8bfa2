"""The builtin functions record what the definitions in Python record, and keep no reference too many or too few."""

from __future__ import annotations

import ast
import gc
import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import flambeau as torch
from flambeau.autograd import engine
from flambeau.codegen import engine as engines
from flambeau.codegen import keys
from flambeau.device import cpython
from flambeau.ops import builtins, kin, record
from flambeau.ops.builtins import recording, retiring
from flambeau.ops.registry import ENTRIES
from flambeau.stream import flush, fragments, products
from flambeau.stream.value import LOCAL, Storage, new_object

pytestmark = pytest.mark.skipif(not cpython.supported(), reason="no builtins for this interpreter")


@pytest.fixture(autouse=True)
def installed() -> Iterator[None]:
    torch.ones(1).sum().item()
    builtins.install()
    assert record.commit is not builtins.COMMIT
    yield
    builtins.install()


def tensors() -> list[torch.Tensor]:
    torch.manual_seed(0)
    return [torch.randn(3, 4), torch.randn(3, 4, requires_grad=True), torch.randn(4, requires_grad=True)]


def plain(a: Any, p: Any, q: Any) -> Any:
    return [a + a, a * 2, a - 0.5, torch.relu(a), (a * 3).sum(1), a.softmax(-1), torch.cat([a, a]), a.max(1)]


def graph(a: Any, p: Any, q: Any) -> Any:
    loss = (torch.relu(p * q + a) * 0.5).sum() + p.exp().softmax(0)[1:].mean() + torch.cat([p, a], 1).sum()
    loss.backward()
    return [loss, p.grad, q.grad]


def shared(a: Any, p: Any, q: Any) -> Any:
    y = p * p
    z = (y + y.t().t()).sum() + (y.view(-1)[2:] * 2).sum() + p.max(0)[0].sum()
    z.backward(retain_graph=True)
    z.backward()
    return [z, p.grad]


def in_place(a: Any, p: Any, q: Any) -> Any:
    y = p * 2
    y.add_(a)
    y[1:].mul_(q)
    y.exp().sum().backward()
    a.add_(1)
    return [y, p.grad, q.grad, a * 1]


def second_order(a: Any, p: Any, q: Any) -> Any:
    (g,) = torch.autograd.grad((p**3 * q).sum(), p, create_graph=True)
    return [*torch.autograd.grad((g * g).sum(), [p, q]), g]


def without(a: Any, p: Any, q: Any) -> Any:
    with torch.no_grad():
        y = p * q
    h = p.unbind(0)
    return [y, y.detach() + p, h[0] * h[1], torch.where(a > 0, a, p), a.std(), torch.stack([a, a])]


def hooked(a: Any, p: Any, q: Any) -> Any:
    y = p * q
    y.register_hook(lambda g: g * 2)
    q.register_hook(lambda g: g + 1)
    (y + a).sum().backward()
    return [p.grad, q.grad]


def asked(a: Any, p: Any, q: Any) -> Any:
    """Gradients of all leaves, of some, of what is between, of the output, with what is not reached."""
    y = p * q
    y.register_hook(lambda g: g * 2)
    z = (y.exp() + a).sum(0)
    far = torch.ones(3, requires_grad=True)
    grad, ones = torch.autograd.grad, torch.ones(4)
    found = [*grad(z, [p, q], ones, retain_graph=True), *grad(z, [q], ones, retain_graph=True)]
    found += [*grad(z, [y, q, z], ones, retain_graph=True)]
    found += [g for g in grad(z, [far, p, p], ones, retain_graph=True, allow_unused=True) if g is not None]
    found += [*grad(q.sum() * 2, [q]), *grad(q, [q], ones)]
    torch.autograd.backward(z, ones, inputs=[q])
    assert p.grad is None
    return [*found, q.grad]


def numbers(a: Any, p: Any, q: Any) -> Any:
    f, value = torch.nn.functional, 2.5
    slopes = [f.leaky_relu(a, float("0.01")), f.leaky_relu(p, 0.3), f.elu(a), f.elu(a, 2)]
    sums = [torch.add(a, p, alpha=1), torch.add(a, p, alpha=1.0), torch.add(a, p, alpha=value)]
    bounds = [a.clamp(-1, 1), p.clamp(a, 2.0), p.clamp(max=a), a.clamp(min=0), a.clamp(max=0.5)]
    return [*slopes, *sums, *bounds, torch.addcmul(a, p, q, value=value)]


def indexed(a: Any, p: Any, q: Any) -> Any:
    i = torch.tensor([2, 0, 1, 1])
    rows = torch.nn.functional.embedding(i, p)
    return [a[i], p[i], a.index_select(0, i), q.gather(0, i), rows, a[-i], a[i, i], torch.take(a, i)]


def written(a: Any, p: Any, q: Any) -> Any:
    c, d = a.clone(), a.detach()
    seen = [c._version, d._version, d._ver is a._ver]
    c.add_(a, alpha=2).mul_(c[0]).clamp_(-1, 1)
    row, column = c[1], c.t()[2]
    row[1:].fill_(3)
    d.copy_(c)
    with torch.no_grad():
        q.mul_(2)
        view = p[0]
        view.zero_()
    for x in (c, row, column, d, a, q, p, view):
        seen += [x._version, x._vw is None or (x._vw[0]._version, *x._vw[1:])]
    sum_of = (p * c).sum() + q.sum()
    sum_of.backward()
    return [c, row, column, a, q, p, p.grad, torch.tensor([float(hash(str(s)) % 1000) for s in seen])]


PROGRAMS = [written, plain, graph, shared, in_place, second_order, without, hooked, asked, numbers, indexed]


def recorded(program: Callable[..., Any], native: bool) -> tuple[list[Any], list[Any], list[Any]]:
    """The code that a program records, the table of names, the values of its results."""
    (builtins.install if native else builtins.remove)()
    given = tensors()
    LOCAL.s.flush()
    results = program(*given)
    S = LOCAL.s
    code, slots = list(S.code), [type(x) if type(x) is Storage else x for x in S.slots]
    pending = S.pending_bytes
    values = [r.tolist() for r in results if isinstance(r, torch.Tensor)]
    return [*code, pending], slots, values


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.__name__)
def test_what_is_recorded_is_the_same(program: Callable[..., Any]) -> None:
    recorded(program, False)  # forms are traced
    want = recorded(program, False)
    assert recorded(program, True) == want
    assert len(want[0]) > 10 and want[2]


def test_asked_gradients_are_walked_natively(monkeypatch: pytest.MonkeyPatch) -> None:
    a, p, q = tensors()
    visited: list[Any] = []
    visit = engine._Walk.visit
    monkeypatch.setattr(engine._Walk, "visit", lambda self, node: visited.append(node) or visit(self, node))
    for _ in range(2):
        y = p
        for _ in range(50):
            y = y * q + a
        del visited[:]
        torch.autograd.grad(y.sum(), [p, q])
    assert len(visited) == 2


@pytest.mark.parametrize("native", [False, True])
@pytest.mark.parametrize("place", [3, -1, 2**62, -(2**63)])
def test_indices_out_of_range_are_refused_in_the_call(native: bool, place: int) -> None:
    (builtins.install if native else builtins.remove)()
    table = torch.ones(3, 2)
    for at in (0, 15, 16, 20):
        rows = [1] * 21
        rows[at] = place
        i = torch.tensor(rows)
        with pytest.raises(IndexError, match=rf"index {place} is out of bounds.* at position {at};"):
            torch.nn.functional.embedding(i, table)
    assert table.index_select(0, torch.tensor([0, 2] * 20)).sum().item() == 80


def test_the_graph_is_the_same() -> None:
    def shape(node: Any) -> Any:
        below = tuple([None if n is None else shape(n) for n, _ in node.next_functions])
        own = (node.needs, len(node.saved), node.versions, node.result_version, node.out) if node.form else ()
        return type(node).__name__, own, below

    found = []
    for change in (builtins.remove, builtins.install):
        change()
        a, p, q = tensors()
        y = (p * q + a).relu().max(1)
        found.append((shape(y[0].grad_fn), y[0].requires_grad, y[1].requires_grad, y[0].grad_fn.out))
    assert found[0] == found[1]


def counts(objects: list[Any]) -> list[int]:
    """Their references; objects that wait to be used again would count."""
    retiring.STORAGES.clear()
    retiring.BLOCKS.clear()
    return [sys.getrefcount(x) for x in objects]


def work(n: int, x: Any, p: Any) -> None:
    for _ in range(n):
        y = x
        for _ in range(20):
            y = torch.relu(y * x + 0.5) - 1
        z = (torch.cat([y * p, p], 0) + p.sum()).max(0)[0].sum()
        z.backward()
        p.grad = None
        z.item()


def test_references_do_not_drift() -> None:
    x, p = torch.ones(4), torch.ones(4, requires_grad=True)
    work(300, x, p)  # whatever is planned is planned now
    S = LOCAL.s
    forms = [form for entry in ENTRIES.values() for form in entry.cache.values()]
    watched = [None, True, False, x, x._st, p, p._st, x._meta, S, S.thread, torch.Tensor, Storage, *forms]
    watched += [record.Form, type((p * 2).grad_fn), 0, 1, -1]
    S.flush()
    gc.collect()
    before, alive = counts(watched), len(gc.get_objects())
    work(300, x, p)
    S.flush()
    gc.collect()
    after, then = counts(watched), len(gc.get_objects())
    assert then - alive < 50  # a leak would be one object a round at least
    assert all(abs(b - a) < 60 for a, b in zip(before, after)), list(zip(watched, before, after))


def test_errors_are_the_callers() -> None:
    a, b = torch.ones(3), torch.ones(4)
    for _ in range(3):
        with pytest.raises(RuntimeError):
            a + b
        with pytest.raises(TypeError):
            torch.relu("x")
        with pytest.raises(TypeError):
            torch.relu(a, a, a)
    y = torch.ones(3, requires_grad=True) * 2
    y.sum().backward()
    with pytest.raises(RuntimeError, match="second time"):
        (y * y).sum().backward()
        y.sum().backward()


def test_garbage_collected_while_an_op_is_recorded_may_record() -> None:
    """A finalizer that flushes, run by the collection that an allocation of ours starts."""
    x = torch.ones(4)
    ran = []

    class Cycle:
        def __init__(self) -> None:
            self.me = self

        def __del__(self) -> None:
            ran.append((x + 1).sum().item())

    before = gc.get_threshold()
    gc.set_threshold(1, 1, 1)
    try:
        for k in range(200):
            Cycle()
            y = x * float(k) + x
            assert k % 50 or y.tolist() == [k + 1.0] * 4
    finally:
        gc.set_threshold(*before)
    assert ran and set(ran) == {8.0}


def test_offsets_are_checked() -> None:
    t = torch.ones(2)
    for cls, x in ((type(t), t), (Storage, t._st), (type(LOCAL.s), LOCAL.s)):
        for slot in recording.SLOTS[cls].split():
            cpython.check_offset(x, slot, cpython.offset_of(cls, slot))
    assert new_object(Storage) is not None


def chains(n: int) -> torch.Tensor:
    """A body that comes n times, between others; with views that have offsets, and a write."""
    x, w = torch.arange(6.0), torch.arange(1.0, 7.0)
    h = x[1:4]
    for i in range(n):
        h = torch.tanh(torch.relu(h * w[:3] + 0.5 * i) - w[3:])
    h[1:].mul_(2)
    return torch.cat([h, h.exp()])


def test_pieces_are_those_that_python_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("fragments", "idle"):  # a process that learned much learns little
        monkeypatch.setitem(fragments._count, name, 0)
    for _ in range(8):  # learns the body
        chains(5).sum().item()
        chains(7).sum().item()
    kept = chains(6)
    S = LOCAL.s
    code, slots = tuple(S.code), S.slots
    lines = flush.split(code)
    promised, count, words, _ = fragments.BUILTINS["survey"](code, slots)
    assert (promised, count) == (flush.promised(lines), len(lines))
    starts = [0]
    for _, line in lines:
        starts.append(starts[-1] + 1 + len(line))
    last = list(memoryview(words).cast("q")[::2])[: len(slots)]
    assert last == [starts[at] for _, at in sorted(fragments.last_uses(lines).items())]
    at, names = 0, {}
    for first, stop, node in fragments.parse(lines):
        end, length, found, name, local = fragments.BUILTINS["piece"](code, at, slots, words, fragments.ROOT)
        assert (at, end, length, found) == (starts[first], starts[stop], stop - first, node)
        flat = [flush.real(sid) for _, line in lines[first:stop] for sid in line]
        if node is not None:
            assert [id(x) for x in local] == [id(slots[sid]) for sid in dict.fromkeys(flat)]
            names[name] = length
        elif local is not None:
            assert [id(x) for x in local] == [id(slots[sid]) for sid in flat] and not lines[first][0].writes
        else:
            plain = len(set(flat)) == len(flat) and not lines[first][0].writes
            assert not plain or min(lines[first][1]) < 0
        at = end
    assert at == len(code) and max(names.values()) > 1
    assert kept.isfinite().all()


def test_a_piece_by_its_name_has_the_same_bits() -> None:
    results = []
    for change in (builtins.remove, builtins.install):
        change()
        for _ in range(8):
            found = [chains(n).tolist() for n in (5, 9, 6, 11, 7)]
        results.append(found)
    assert results[0] == results[1]


def test_new_storages_and_tensors() -> None:
    """Blocks leave the free list and come back to it; nothing drifts; without cached memory Python finds some."""
    from flambeau.device.memory import free_list
    from flambeau.stream import storages

    torch.ones(3).sum().item()
    made = storages.makers()
    assert not storages.BUILTINS or made["fresh"] is not storages.fresh
    home, meta = free_list(4096), torch.ones(8)._meta
    assert home is not None and free_list(4096) is home and free_list(1 << 20) is None
    for fresh in (made["fresh"], storages.fresh):
        home.clear()
        first = fresh(home, 4096, 4000)
        ptr = first.ptr
        assert (first.nbytes, first.block.nbytes, first.block.ptr, first.sid) == (4000, 4096, ptr, -1)
        assert first.pend is first.home is first.info is None and not home
        del first
        assert home == [ptr]
        again = fresh(home, 4096, 4000)
        assert again.ptr == ptr and not home
        del again

    def rounds(n: int) -> None:
        for _ in range(n):
            st = made["fresh"](home, 4096, 4000)
            t = made["plain"](made["holder"](4000, st.block, st.ptr), meta, 0)
            t.fill_(1)
            assert t.sum().item() == 8
        del st, t
        gc.collect()

    rounds(20)
    watched = [None, home, meta, Storage, torch.Tensor, -1, 0, False]
    before, alive = counts(watched), len(gc.get_objects())
    rounds(2000)
    assert len(set(home)) == len(home) == 2 and len(gc.get_objects()) - alive < 100
    assert all(abs(b - a) < 60 for a, b in zip(before, counts(watched)))


def repeated(f: Callable[[], Any]) -> Any:
    """The last result of calls that are run at once, until their sequence has a program that is ready."""
    for _ in range(1000):
        result = f()
        known = flush.CACHE.get(tuple(LOCAL.s.code))
        torch.synchronize()
        if known is not None and any(p.ready for p in known.programs):
            return result
    raise AssertionError("it was never planned")


def test_a_sequence_that_comes_again_is_flushed_natively() -> None:
    S, x = LOCAL.s, torch.ones(5)

    def step() -> Any:
        y = x * 2
        return y, (y + 1).exp()

    repeated(step)
    y, z = step()
    known, hits, runs = flush.CACHE[tuple(S.code)], flush.STATS["hits"], flush.STATS["runs"]
    seen, slots = known.seen, S.slots
    S.flush()
    assert known.seen == seen and (flush.STATS["hits"], flush.STATS["runs"]) == (hits + 1, runs + 1)
    assert not slots and S.slots is not slots and not S.code and not S.ids and S.running is None
    assert S.pending_bytes == 0 and y._st.pend is None and z._st.pend is None
    assert y.tolist() == [2] * 5 and z.tolist() == torch.full((5,), 3.0).exp().tolist()


def test_a_result_that_nobody_kept_before_is_not_lost() -> None:
    x = torch.ones(5)
    repeated(lambda: (x * 2 + 1).cosh())
    y = x * 2
    z = (y + 1).cosh()
    torch.synchronize()  # the program that is ready gives y no bytes
    assert y.tolist() == [2] * 5 and torch.equal(z, torch.full((5,), 3.0).cosh())


def test_a_failed_check_in_a_native_flush() -> None:
    table, i = torch.arange(6.0), torch.tensor([1, 2])

    def step() -> Any:
        return table[i + 1] * 2

    assert repeated(step).tolist() == [4, 6]
    i.copy_(torch.tensor([1, 8]))
    torch.synchronize()
    y = step()
    for _ in range(2):
        with pytest.raises(IndexError, match="9 is out of bounds"):
            y.tolist()
        assert LOCAL.s.running is None
    i.copy_(torch.tensor([0, 4]))
    assert step().tolist() == [2, 10]


def test_a_native_flush_keeps_no_reference() -> None:
    S, x = LOCAL.s, torch.ones(5)
    repeated(lambda: x.exp() + x)
    y = x.exp() + x
    known = flush.CACHE[tuple(S.code)]
    S.flush()
    watched = [x._st, known, known.programs[0], S.progress, S.lock, known._promised]
    before = [sys.getrefcount(w) for w in watched]
    for _ in range(500):
        y = x.exp() + x
        S.flush()
    after, own = [sys.getrefcount(w) for w in watched], sys.getrefcount(y._st)
    assert after == before and own == 2


def test_sequences_that_come_natively_are_not_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flush.config, "program_cache", len(flush.CACHE) + 2)
    x = torch.ones(7)
    repeated(lambda: x.exp() * 5)
    y = x.exp() * 5
    code = tuple(LOCAL.s.code)
    for n in range(1, 40):
        torch.synchronize()
        repeated(lambda n=n: torch.ones(n).cos() * 7)  # type: ignore[misc]
        y = x.exp() * 5
    assert code in flush.CACHE and torch.isfinite(y).all()


def test_an_interrupt_while_a_form_is_made_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    x, derive, calls = torch.ones(3, 7, 2), kin.derive, []

    def interrupted(entry: Any, key: Any, *into: Any) -> Any:
        calls.append(key)
        if len(calls) == 1:
            raise KeyboardInterrupt
        return derive(entry, key, *into)

    monkeypatch.setattr(kin, "derive", interrupted)
    with pytest.raises(KeyboardInterrupt):
        torch.cat([x] * 11, 1)
    assert torch.cat([x] * 11, 1).sum().item() == 3 * 77 * 2
    with pytest.raises(TypeError):
        torch.sum(x, [[0]])  # a key that cannot be hashed is left to Python


def test_little_work_is_flushed_within_the_interpreters_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    S, x, asked = LOCAL.s, torch.ones(5), []
    repeated(lambda: x.exp() * 3)
    monkeypatch.setitem(flush.BUILTINS, "flush", lambda s: asked.append(s))
    y, lists = x.exp() * 3, (S.slots, S.code, S.sites)
    gc.enable()
    S.flush()
    assert not asked and gc.isenabled() and y._st.pend is None and y.tolist() == (x.exp() * 3).tolist()
    assert not any(lists) and S.slots is not lists[0] and S.code is not lists[1]
    asked.clear()
    y, S.busy = x.exp() * 3, True  # the definition was interrupted by what calls now
    try:
        S.flush()
    finally:
        S.busy = False
    assert asked == [S] and y._st.pend is None


def test_much_work_is_flushed_outside_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    x, native = torch.ones(300, 300), flush.BUILTINS["flush"]
    repeated(lambda: x @ x)
    monkeypatch.setitem(flush.BUILTINS, "flush", lambda s: asked.append(s) or native(s))
    y = x @ x
    LOCAL.s.flush()
    assert asked == [LOCAL.s] and y[0, 0].item() == 300


def test_another_thread_flushes_under_the_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    S, x, asked = LOCAL.s, torch.ones(5), []
    repeated(lambda: x.sin() * 3)
    native = flush.BUILTINS["flush"]
    monkeypatch.setitem(flush.BUILTINS, "flush", lambda s: asked.append(s) or native(s))
    y = x.sin() * 3
    other = threading.Thread(target=S.flush)
    other.start()
    other.join()
    assert asked == [S] and y._st.pend is None and y.tolist() == (x.sin() * 3).tolist()


def test_a_check_that_fails_within_the_lock_leaves_the_stream_usable() -> None:
    S, table, i = LOCAL.s, torch.arange(6.0), torch.tensor([1, 2])

    def step() -> Any:
        return table[i + 1] * 2

    repeated(step)
    known = [k for k in flush.CACHE.values() if any(p.quick for p in k.programs)]
    assert known
    i.copy_(torch.tensor([1, 8]))
    torch.synchronize()
    y = step()
    with pytest.raises(IndexError, match=r"9 is out of bounds.*recorded at"):
        S.flush()
    assert S.running is None and not S.code and not S.busy
    with pytest.raises(IndexError, match="9 is out of bounds"):
        y.tolist()
    i.copy_(torch.tensor([0, 4]))
    assert step().tolist() == [2, 10]


def test_writes_without_history_are_recorded_natively(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = torch.ones(3, 4), torch.ones(4)
    for _ in range(3):
        x.add_(y)
        x[1].mul_(2)
    asked: list[Any] = []
    add = torch.Tensor.add_
    monkeypatch.setitem(add.__globals__, "finish_inplace", lambda *given: asked.append(given))
    before = x._version
    x.add_(y)
    assert not asked and x._version == before + 1
    q = torch.ones(3, 4, requires_grad=True)
    with torch.no_grad():
        q.add_(y)
    assert not asked and q._version == 1
    (q * 2).add_(y)
    assert len(asked) == 1


def test_what_may_not_be_written_is_refused_with_builtins_too() -> None:
    leaf, number = torch.ones(3, requires_grad=True), torch.ones(3)
    with pytest.raises(RuntimeError, match="a leaf Variable that requires grad"):
        leaf.add_(1)
    with pytest.raises(RuntimeError, match="a view of a leaf Variable"):
        leaf[1:].add_(1)
    with torch.no_grad():
        view = leaf[1:]
    with pytest.raises(RuntimeError, match="was created in no_grad mode"):
        view.add_(1)
    with torch.inference_mode():
        frozen = torch.ones(3)
        assert frozen.add_(1).tolist() == [2, 2, 2] and frozen[1:].mul_(2).tolist() == [4, 4]
    for _ in range(2):
        with pytest.raises(RuntimeError, match="Inplace update to inference tensor"):
            frozen.add_(1)
        with pytest.raises(RuntimeError, match="doesn't match the broadcast shape"):
            number.add_(torch.ones(2, 3))
    assert number._version == 0 and leaf._version == 0 and number.add_(1).tolist() == [2, 2, 2]


def test_views_and_detached_tensors_keep_no_reference() -> None:
    x = torch.ones(3, 4)
    view = x[1]
    watched = [x, x._st, x._meta, view._meta, x._ver, view._vw]
    torch.synchronize()
    before = [sys.getrefcount(w) for w in watched]
    for _ in range(500):
        y, z = x.detach(), x[1][2:]
        y.add_(1)
    assert z._vw[0] is x and y._ver is x._ver and y._version == x._version
    del y, z
    torch.synchronize()
    after = [sys.getrefcount(w) for w in watched]
    assert max(abs(a - b) for a, b in zip(after, before)) < 20


def test_temporaries_and_results_of_one_size_have_memory_of_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(products, "SEEN", {})  # a kernel for all sizes would have a workspace
    x = torch.arange(64.0).reshape(8, 8) / 64
    others = [torch.arange(80.0).reshape(8, 10) / n for n in (80, 90, 100)]

    def step() -> Any:
        inner = x @ x
        return [inner @ other for other in others]

    inner = x.double() @ x.double()
    want = [inner @ other.double() for other in others]
    repeated(step)
    got = step()
    (program,) = flush.CACHE[tuple(LOCAL.s.code)].programs
    assert program.quick and program.ready[5] is program.ready[3][0][2]  # one free list
    for _ in range(20):
        torch.synchronize()
        assert all(torch.allclose(a.double(), b, rtol=1e-5) for a, b in zip(got, want))
        got.clear()
        got += step()


def test_the_text_follows_from_files_whose_content_is_part_of_its_key() -> None:
    sources = {*builtins.SOURCES, *keys.OF_KERNELS}
    for path in set(Path(builtins.__file__).parent.glob("*.py")) - {Path(builtins.__file__)}:
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.ImportFrom) or not node.level:
                continue
            base = importlib.util.resolve_name("." * node.level + (node.module or ""), builtins.__name__)
            for found in [base] if node.module else [f"{base}.{alias.name}" for alias in node.names]:
                folders = found.split(".")[1:]
                some = {"/".join(folders[:n]) for n in range(1, len(folders) + 1)}
                assert ({"/".join(folders) + ".py"} | some) & sources, (path.name, found)


def test_names_of_objects_that_there_are_not_have_the_text_written_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = builtins.written()[1]
    for words, whole in (([*made[:-1], "no such object"], False), (made, True)):
        monkeypatch.setattr(engines, "recall_ir", lambda *_, words=words: (words, compiled()))
        assert builtins.recalled() is whole


def compiled() -> list[int]:
    return engines.compile_ir(builtins.module().text(), builtins.NAMES)
