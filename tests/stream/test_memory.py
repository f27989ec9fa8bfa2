"""The peak of a step that is planned as a whole is not above that of its instructions one by one."""

from __future__ import annotations

import gc
import tracemalloc
from typing import Any

import pytest

import flambeau as torch
from flambeau.device import memory
from flambeau.stream import flush, fragments, nodes, program, schedule
from flambeau.stream.value import LOCAL

nn = torch.nn
ROWS, WIDTH = 2048, 64


def tanh() -> Any:
    return nn.Sequential(*[nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Tanh()) for _ in range(12)])


def relu() -> Any:
    return nn.Sequential(*[nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU()) for _ in range(12)])


def norm() -> Any:
    return nn.Sequential(
        *[nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.LayerNorm(WIDTH), nn.GELU()) for _ in range(6)]
    )


def peak(model: Any, x: Any) -> int:
    torch.synchronize()
    memory.reset_peak()
    before = memory.memory_stats()["counted"]
    model(x).sum().backward()
    torch.synchronize()
    found = memory.memory_stats()["peak"] - before
    model.zero_grad()
    return found


def hardswish() -> Any:
    """Backward asks for two conditions and a value of what the norm gives: kept, they are more than that."""
    return nn.Sequential(
        *[nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.BatchNorm1d(WIDTH), nn.Hardswish()) for _ in range(6)]
    )


class Gate(nn.Module):
    """Two values of which backward wants both, and a function of one."""

    def forward(self, x: Any) -> Any:
        a, b = x.chunk(2, 1)
        return torch.tanh(a) * torch.sigmoid(b)


def gated() -> Any:
    return nn.Sequential(*[nn.Sequential(nn.Linear(WIDTH, 2 * WIDTH), Gate()) for _ in range(6)])


class Factor(nn.Module):
    """An activation whose gradient begins with what the forward pass does not have."""

    def forward(self, x: Any) -> Any:
        return x * torch.special.ndtr(x)


def natural() -> Any:
    return nn.Sequential(*[nn.Sequential(nn.Linear(WIDTH, WIDTH), Factor()) for _ in range(6)])


class Words(nn.Module):
    """A loop over 24 words: the gradient of all is the sum of as many that are zero but for one word."""

    def __init__(self) -> None:
        super().__init__()
        self.rate = nn.Parameter(torch.ones(WIDTH))

    def forward(self, x: Any) -> Any:
        a = torch.exp(-x[:, None] * self.rate).expand(-1, 24, -1) * torch.arange(24.0)[:, None]
        h = torch.zeros(x.shape[0], WIDTH)
        for t in range(24):
            h = torch.tanh(a[:, t] * h + 1)
        return h


@pytest.mark.parametrize(
    ("make", "most"),
    [(tanh, 1.1), (relu, 1.1), (norm, 1.25), (hardswish, 1.02), (Words, 1.7), (gated, 1.02), (natural, 1.02)],
)
def test_planned_peak(make: Any, most: float) -> None:
    torch.manual_seed(0)
    model, x = make(), torch.randn(ROWS, WIDTH)
    flush.CACHE.clear()
    flush.Novelty.level = 0.0
    runs = flush.STATS["units"]
    first = peak(model, x)  # instruction by instruction
    assert flush.STATS["units"] > runs
    planned = [peak(model, x) for _ in range(3)]
    assert max(planned) <= most * first, (first, planned)


@pytest.mark.parametrize("make", [tanh, norm])
def test_peak_of_pieces(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces whose wiring is known before their program run by instruction, and free what dies within them."""
    monkeypatch.setattr(flush.Novelty, "plans", classmethod(lambda *_: False))
    monkeypatch.setattr(fragments, "ROOT", fragments.Node())
    monkeypatch.setattr(fragments, "program_of", lambda *_: None)
    torch.manual_seed(0)
    model, x = make(), torch.randn(ROWS, WIDTH)
    flush.CACHE.clear()
    peaks = [peak(model, x) for _ in range(4)]
    monkeypatch.setattr(LOCAL.s, "eager", True)
    assert max(peaks) <= 1.02 * peak(model, x), peaks


def test_results_have_their_bits_when_memory_comes_and_goes() -> None:
    torch.manual_seed(0)
    model, x = tanh(), torch.randn(ROWS, WIDTH)
    flush.Novelty.level = 0.0  # all is planned that comes again
    found = []
    for _ in range(4):
        out = model(x)
        out.sum().backward()
        found.append((out.detach().numpy().tobytes(), [p.grad.numpy().tobytes() for p in model.parameters()]))
        model.zero_grad()
    assert all(f == found[0] for f in found[1:])
    assert any(p.parts for known in flush.CACHE.values() for p in known.programs)


def stepping(model: Any, optimizer: Any, compiled: bool) -> Any:
    """A step of training on x, captured or not."""

    def step(x: Any) -> Any:
        optimizer.zero_grad()
        loss = model(x).square().mean()
        loss.backward()
        optimizer.step()
        return loss

    return torch.compile(step) if compiled else step


def test_a_captured_step_whose_memory_comes_and_goes() -> None:
    trails = []
    for compiled in (False, True):
        torch.manual_seed(0)
        model, x = tanh(), torch.randn(ROWS, WIDTH)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)

        f = stepping(model, optimizer, compiled)
        trails.append(
            [f(x).item() for _ in range(7)] + [p.grad.numpy().tobytes() for p in model.parameters()]
        )
    assert trails[0] == trails[1] and len(f.captured.replays) == 1 and f.captured.replays[0].program.parts


def test_without_memory_the_error_names_the_largest_tensors() -> None:
    from flambeau import config

    kept = [torch.zeros(3 << 20) + i for i in range(2)]
    torch.synchronize()
    before = config.memory_limit
    config.set("memory_limit", str(memory.memory_stats()["mapped"] + (1 << 20)))
    try:
        with pytest.raises(torch.OutOfMemoryError) as caught:
            torch.empty(1 << 28).fill_(0).sum().item()
    finally:
        config.set("memory_limit", str(before))
    text = str(caught.value)
    assert "the largest tensors:" in text and "(3145728,) float32" in text and "12.00 MiB" in text
    assert "kept[1] at " in text and "test_memory.py:" in text
    assert kept[1][0].item() == 1 and torch.ones(2).sum().item() == 2


def test_memory_stats() -> None:
    gc.collect()  # what earlier tests left
    torch.synchronize()
    before = torch.memory_stats()["counted"]
    torch.reset_peak_memory_stats()
    x = torch.zeros(1 << 20) + 1
    torch.synchronize()
    assert torch.memory_stats()["counted"] - before == 4 << 20
    del x
    stats = torch.memory_stats()
    assert (
        stats["counted"] == before
        and stats["peak"] >= before + (4 << 20)
        and stats["mapped"] >= stats["live"]
    )


def test_what_forward_kept_goes_as_backward_runs() -> None:
    """The loss is read before backward: a naive program holds all activations until the last gradient is made."""
    torch.manual_seed(0)
    model, x = tanh(), torch.randn(ROWS, WIDTH)

    def step() -> tuple[int, list[Any]]:
        loss = model(x).square().sum()
        loss.item()
        memory.reset_peak()
        before = memory.memory_stats()["counted"]
        loss.backward()
        torch.synchronize()
        left = memory.memory_stats()["counted"]
        assert (
            left < before - 10 * 4 * ROWS * WIDTH
        )  # activations, of which one or two are still in use at the peak
        grads = [p.grad.numpy().tobytes() for p in model.parameters()]
        model.zero_grad()
        return memory.memory_stats()["peak"] - before, grads

    found = [step() for _ in range(5)]
    assert all(grads == found[0][1] for _, grads in found)
    assert found[-1][0] < 4 * 4 * ROWS * WIDTH, [peak for peak, _ in found]


def test_a_failed_check_behind_what_was_freed() -> None:
    """What gave its memory back cannot be computed from again: the failure says so once, nothing is read twice."""
    layers = [torch.randn(WIDTH, WIDTH) for _ in range(12)]
    for bad in (0, 0, 0, 1):
        h = torch.randn(ROWS, WIDTH) + 0
        torch.synchronize()
        index = torch.tensor([3]) + 10_000 * bad
        for w in layers:
            h = torch.tanh(h @ w)
        out = h[index] * 1
        if bad:
            with pytest.raises(IndexError):
                out.sum().item()
            with pytest.raises(IndexError):
                out.sum().item()
        else:
            assert torch.isfinite(out).all()


def test_a_captured_step_frees_old_gradients_first() -> None:
    def measure(compiled: bool) -> int:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(512, 1024), nn.Linear(1024, 512))
        optimizer, x = torch.optim.SGD(model.parameters(), lr=0.01), torch.randn(8, 512)

        f = stepping(model, optimizer, compiled)
        for _ in range(5):
            f(x).item()
        gc.collect()
        memory.reset_peak()
        before = memory.memory_stats()["counted"]
        f(x).item()
        return memory.memory_stats()["peak"] - before

    assert measure(True) <= measure(False) + (512 << 10)


def test_a_call_that_goes_on_uncaptured_holds_nothing() -> None:
    """Gradients of the step before are gone when a value has been read."""
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(512, 1024), nn.Linear(1024, 512)), torch.randn(8, 512)

    def step() -> None:
        model.zero_grad()
        loss = model(x).square().mean()
        if loss.item() >= 0:
            loss.backward()
        torch.synchronize()

    step()
    memory.reset_peak()
    before = memory.memory_stats()["counted"]
    with pytest.warns(UserWarning, match="a value is read"):
        torch.compile(step)()
    assert memory.memory_stats()["peak"] <= before + (512 << 10)


def test_without_memory_the_stream_runs_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Temporaries and results of the whole at once do not fit; one after the other they do."""
    from flambeau import config
    from flambeau.device import paging
    from flambeau.stream import placing

    monkeypatch.setattr(paging, "ahead", lambda *_: None)  # each large block is a region, which may go
    monkeypatch.setattr(placing, "MOST_PARTS", 1)
    w = [torch.randn(2048, 2048) / 45 for _ in range(2)]

    def step() -> list[Any]:
        first = [w[0] @ w[0] + i for i in range(6)]
        s = first[0] @ first[1] + first[2] @ first[3] + first[4] @ first[5]
        del first
        made = [s @ w[1] + i for i in range(6)]
        del s
        torch.synchronize()
        return made

    flush.CACHE.clear()
    flush.Novelty.level = 0.0
    want = [t.numpy().tobytes() for t in step()]
    step()
    runs = flush.STATS["units"]
    assert [t.numpy().tobytes() for t in step()] == want and flush.STATS[
        "units"
    ] == runs  # planned as a whole
    torch.synchronize()
    memory.empty_cache()
    before = config.memory_limit
    config.set("memory_limit", str(memory.memory_stats()["mapped"] + (9 * 16 << 20)))
    try:
        got = step()
        assert flush.STATS["units"] > runs
    finally:
        config.set("memory_limit", str(before))
    assert [t.numpy().tobytes() for t in got] == want


def stepped(together: bool) -> list[bytes]:
    """150 parameters of three shapes, the last of which are one, after three steps of Adam."""
    torch.manual_seed(0)
    params = [nn.Parameter(torch.randn(*((3,), (2, 5), ())[i % 3])) for i in range(150)]
    params[149].data = params[146].data
    grads = [torch.randn(*p.shape) for p in params]
    for p, grad in zip(params, grads):
        p.grad = grad
    lists = [params] if together else [[p] for p in params]
    optimizers = [torch.optim.Adam(some, lr=0.1, weight_decay=0.1) for some in lists]
    for _ in range(3):
        for optimizer in optimizers:
            optimizer.step()
    return [p.detach().numpy().tobytes() for p in params]


def test_a_long_list_is_planned_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """The nodes of all its rows would take more than what the rows update. Nothing else changes: neither the bits nor
    the number of launches, and a row that writes what one of another piece has written comes after it."""
    nodes: list[int] = []
    run = schedule.Scheduler.run
    monkeypatch.setattr(
        schedule.Scheduler, "run", lambda self, some: (nodes.append(len(some)), run(self, some))[1]
    )
    found = stepped(True)
    assert nodes and max(nodes) < 16 * 30
    assert found == stepped(False)


def test_what_planned_a_list_goes_at_once() -> None:
    """The launches that became one do not wait for the collector of cycles."""

    def unsettled() -> int:
        return sum(type(x) is program.Launch and x.bound is not None for x in gc.get_objects())

    gc.collect()
    gc.disable()
    try:
        stepped(True)
        torch.synchronize()
        there = unsettled()
        gc.collect()
        assert unsettled() == there
    finally:
        gc.enable()


def test_a_list_that_shares_a_tensor_is_planned_with_the_rest() -> None:
    """What the rows read is computed in the same flush, what they write is read there."""
    torch.manual_seed(0)
    start = [torch.randn(4) for _ in range(80)]
    results = []
    for eager in (False, True):
        params = [nn.Parameter(t.clone()) for t in start]
        optimizer = torch.optim.SGD(params, lr=0.5, momentum=0.9)
        torch.synchronize()
        for _ in range(4):
            for p in params:
                p.grad = p.detach() * 2 + 1
            if eager:
                torch.synchronize()
            optimizer.step()
        results.append([p.detach().numpy().tobytes() for p in params])
    assert results[0] == results[1]


def test_the_gradient_of_a_weight_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the first steps, too, the input of a layer is gone before its gradient is there."""
    monkeypatch.setattr(flush.Novelty, "plans", classmethod(lambda *_: False))
    monkeypatch.setattr(fragments, "ROOT", fragments.Node())
    rows, width = 4096, 256
    line = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))
    conv = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.GELU(), nn.Conv2d(16, 16, 3, padding=1))
    for model, x in ((line, torch.randn(rows, width)), (conv, torch.randn(64, 16, 32, 32))):
        flush.CACHE.clear()
        found = peak(model, x) / (4 * x.numel())
        assert found < 3.7, found  # before the activation, both gradients, a workspace


def step_peak(step: Any) -> int:
    """The peak of a step that is planned as a whole, above what was there before it."""
    flush.CACHE.clear()
    flush.Novelty.level = 0.0
    for _ in range(5):
        torch.synchronize()
        memory.reset_peak()
        before = memory.memory_stats()["counted"]
        step()
        torch.synchronize()
        found = memory.memory_stats()["peak"] - before
    return found


def test_a_product_is_written_as_what_is_read() -> None:
    """With its bias, where a lookup reads that; and not as itself besides, for the sums of the same kernel."""
    torch.manual_seed(0)
    model, x = nn.Conv1d(16, 256, 1), torch.randn(4, 16, 1024)
    y = torch.randint(0, 256, (4, 1024))

    def step() -> None:
        nn.functional.cross_entropy(model(x), y).backward()
        torch.synchronize()
        model.zero_grad()

    found = step_peak(step) / (4 * 4 * 256 * 1024)
    assert found < 2.2, found  # logits, their gradient, a workspace


def test_workspaces_give_way_where_they_would_decide_the_peak() -> None:
    """Of many products only those that are at the peak take less; one alone keeps its workspace."""
    from flambeau.stream import program, relief

    torch.manual_seed(0)
    model, x = nn.Sequential(*[nn.Linear(1024, 1024, bias=False) for _ in range(6)]), torch.randn(512, 1024)
    usual: dict[str, list[Any]] = {"step": [], "one": []}
    relieve = relief.relieve

    def noted(launches: Any, homes: Any) -> None:
        before = [sum(x.scratch) for x in launches]
        held = relief.tensors(launches, homes)
        relieve(launches, homes)
        after = [sum(x.scratch) for x in launches]
        totals = [max(map(sum, zip(held, work))) for work in (before, after)]
        usual["one" if len(launches) < 3 else "step"].append((before, after, totals))

    patch = pytest.MonkeyPatch()
    patch.setattr(program, "relieve", noted)
    try:
        flush.Novelty.level = 0.0
        flush.CACHE.clear()
        for _ in range(3):
            model(x).square().sum().backward()
            torch.synchronize()
            model.zero_grad()
        y = x @ x.T
        y = x.T @ x
        assert y[0, 0].item() > 0
    finally:
        patch.undo()
    before, after, totals = usual["step"][-1]
    assert totals[1] < totals[0] and any(a == b > relief.LARGE for a, b in zip(after, before))
    assert all(before == after for before, after, _ in usual["one"])


def test_a_long_list_is_planned_in_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """The launches of its tensors become one as they come: at most a few of them wait."""
    found = []
    laid_out = program.laid_out

    def watched(*given: Any) -> Any:
        tracemalloc.start(1)
        made = laid_out(*given)
        kept, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        found.append(peak - kept)
        return made

    parameters = [torch.nn.Parameter(torch.ones(5, 7)) for _ in range(300)]
    for p in parameters:
        p.grad = torch.ones(5, 7)
    torch.synchronize()
    monkeypatch.setattr(program, "laid_out", watched)
    torch.optim.Adam(parameters, lr=0.1).step()
    assert max(found) < 1 << 20, found


def test_planning_a_long_list_looks_at_each_operand_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is planned bit by bit: what each bit did for the whole list would grow with the square of its length."""
    looked: list[int] = []
    external = nodes.Builder.external

    def counted(self: Any, sid: int, *given: Any) -> Any:
        looked.append(sid)
        return external(self, sid, *given)

    parameters = [torch.nn.Parameter(torch.ones(3, 11)) for _ in range(100)]
    for p in parameters:
        p.grad = torch.ones(3, 11)
    torch.synchronize()
    monkeypatch.setattr(nodes.Builder, "external", counted)
    torch.optim.SGD(parameters, lr=0.1, momentum=0.5).step()
    assert 200 <= len(looked) <= 2 * len(set(looked)), (len(looked), len(set(looked)))


def test_gradients_of_a_shared_weight_are_added_as_they_come() -> None:
    """Each is added to the sum of those before, in its place."""
    torch.manual_seed(0)
    cell, x = nn.Linear(512, 512, bias=False), torch.randn(4, 512)

    def step() -> None:
        h = x
        for _ in range(10):
            h = torch.tanh(cell(h))
        h.sum().backward()
        torch.synchronize()
        cell.zero_grad()

    found = step_peak(step) / (4 * cell.weight.numel())
    assert found < 3, found


def test_rules_behind_a_check_keep_nothing_for_it() -> None:
    """What a rule writes comes after the lookup in backward that may fail, and so does what it computes for that."""
    torch.manual_seed(0)
    words, layer = nn.Embedding(8, 1024), nn.Linear(1024, 1024, bias=False)
    optimizer = torch.optim.Adam([*words.parameters(), *layer.parameters()])
    index = torch.tensor([[1, 2, 3], [4, 1, 0]])

    def step() -> None:
        optimizer.zero_grad()
        layer(torch.tanh(layer(words(index[:, :-1])))).square().sum().backward()
        optimizer.step()

    found = step_peak(step) / (4 * layer.weight.numel())
    assert found < 1.5, found


def test_few_bits_are_not_stored_as_float32_for_a_second_kernel() -> None:
    """Backward of a layer norm sums along rows and along columns, and both cast the gradient."""
    x, g = (torch.randn(1024, 512).bfloat16() for _ in range(2))
    weight, bias = (torch.randn(512).bfloat16().requires_grad_() for _ in range(2))
    x.requires_grad_()
    torch.synchronize()
    memory.reset_peak()
    before = memory.memory_stats()["counted"]
    found = torch.autograd.grad(nn.functional.layer_norm(x, (512,), weight, bias), (x, weight, bias), g)
    torch.synchronize()
    peak = memory.memory_stats()["peak"] - before
    assert peak < found[0].numel() * 8  # the gradient, and the products that columns sum: 2 + 4 for each


@pytest.mark.parametrize("shape", [(512, 1000), (3, 100_000), (2, 5, 7, 300)])
def test_kept_values_of_rows_take_a_row_for_each_part(shape: tuple[int, ...]) -> None:
    """exp(x - max) of few bits is kept in float32 until it is divided: of one row, not of all."""
    x = torch.randn(*shape).to(torch.bfloat16)
    wanted = torch.softmax(x.float(), -1).to(torch.bfloat16)
    for _ in range(3):
        torch.synchronize()
        memory.reset_peak()
        before = memory.memory_stats()["counted"]
        found = torch.softmax(x, -1)
        torch.synchronize()
        taken = memory.memory_stats()["peak"] - before
        rows = min(x.numel() // shape[-1], 64)
        assert taken <= 2 * x.numel() + 4 * rows * shape[-1] + 65536, taken
        assert found.tolist() == wanted.tolist()


def test_a_table_is_filled_once_for_all_native_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    weights = [torch.randn(600, 600).requires_grad_() for _ in range(4)]
    x, right, filled = torch.randn(600, 600), program.interpreted, []
    monkeypatch.setattr(program, "interpreted", lambda *given: filled.append(given[2]) or right(*given))
    monkeypatch.setattr(flush.Novelty, "level", 0.0)
    for _ in range(3):
        LOCAL.s.flush()
        filled.clear()
        y = x
        for w in weights:
            w.grad, y = None, (y @ w).relu()
        y.sum().backward()
        LOCAL.s.flush()
    (whole,) = [p for p in filled if len(p.parts) > 2]
    assert all(part.places is not None for part in whole.parts)
