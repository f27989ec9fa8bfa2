"""The backend that interprets the loop IR gives the same bits; the one that runs nothing compiles for other CPUs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import flambeau as torch
from flambeau import config
from flambeau.loop.recipes import planning
from flambeau.ops.recurrent import _recurrent_steps
from flambeau.stream import fragments, program
from flambeau.stream.access import synchronize
from flambeau.tensor.create import as_numpy

F = torch.nn.functional


def r(*shape: int, seed: int = 0) -> Any:
    return torch.tensor(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


def ints(*values: int) -> Any:
    return torch.tensor(list(values))


def trained() -> list[Any]:
    w, b = r(4, 3).requires_grad_(), r(3).requires_grad_()
    loss = F.cross_entropy(torch.relu(r(6, 4) @ w + b), ints(0, 1, 2, 2, 1, 0))
    loss.backward()
    return [loss, w.grad, b.grad]


def convolved() -> list[Any]:
    x, w, b = r(2, 3, 6, 6).requires_grad_(), r(4, 3, 3, 3).requires_grad_(), r(4).requires_grad_()
    y = F.conv2d(x, w, b, padding=1)
    y.square().sum().backward()
    return [y, x.grad, w.grad, b.grad]


def columns() -> list[Any]:
    x, y = r(2, 21, 19), r(40, 18, seed=1)
    some = [x.sum(1), x.amax(1), x.var(1), x.double().prod(1), (x > 0).any(1), x.bfloat16().amin(1)]
    return [*some, (y * 9).long().sum(0), y - y.mean(0), y.aminmax(dim=0)[0], r(70, 21).log_softmax(1)]


def attended() -> list[Any]:
    q, k = r(1, 2, 7, 5).requires_grad_(), r(1, 2, 9, 5, seed=1).requires_grad_()
    y = F.scaled_dot_product_attention(q, k, k, is_causal=True)
    y.square().sum().backward()
    x = r(1, 1, 20, 3).requires_grad_()  # by tiles
    z = F.scaled_dot_product_attention(x, x, x, attn_mask=r(20, 20, seed=2))
    z.square().sum().backward()
    return [y, q.grad, k.grad, z, x.grad]


def recurrent() -> list[Any]:
    x, h, w = (
        r(3, 2, 20).requires_grad_(),
        r(2, 5, seed=1).requires_grad_(),
        r(20, 5, seed=2).requires_grad_(),
    )
    y, _, c = _recurrent_steps(x, h, h, w, None, None, None, "lstm", True, True)[:3]
    (y.square().sum() + c.sum()).backward()
    packed, bias, sizes = r(7, 15).requires_grad_(), r(15, seed=3).requires_grad_(), ints(3, 2, 1, 1)
    g, v = r(3, 5, seed=4).requires_grad_(), r(15, 5, seed=5).requires_grad_()
    z, last = _recurrent_steps(packed, g, None, v, bias, None, sizes, "gru", False, True)[:2]
    (z.square().sum() + last.sum()).backward()
    a, b, u = r(3, 2, 24).bfloat16().requires_grad_(), r(2, 6, seed=1).bfloat16(), r(24, 6, seed=2).bfloat16()
    s = _recurrent_steps(a, b, b, u.requires_grad_(), None, None, None, "lstm", False, True)[0]
    s.float().square().sum().backward()
    return [y, x.grad, h.grad, w.grad, z, packed.grad, g.grad, v.grad, bias.grad, s, a.grad, u.grad]


def pooled() -> list[Any]:
    x = r(2, 3, 6, 6).requires_grad_()
    y = F.max_pool2d(x, 2)
    (y * y).sum().backward()
    return [y, x.grad, F.avg_pool2d(x, 3, stride=2), F.adaptive_avg_pool2d(r(2, 3, 8, 9), (4, 1))]


def sampled() -> list[Any]:
    found = []
    for mode, padding, sizes in (
        ("bilinear", "zeros", (5, 6)),
        ("bilinear", "reflection", (3, 4, 5)),
        ("nearest", "border", (5, 6)),
        ("bicubic", "reflection", (5, 6)),
    ):
        x, g = (
            r(2, 3, *sizes).requires_grad_(),
            r(2, 19, *(1,) * (len(sizes) - 1), len(sizes)).requires_grad_(),
        )
        y = F.grid_sample(x, g, mode, padding, align_corners=mode == "nearest")
        y.square().sum().backward()
        found += [y, x.grad, g.grad]
    return found


def eliminated() -> list[Any]:
    x, y = r(2, 11, 11), r(2, 11, 19, seed=1)
    s = (x @ x.mT + 11 * torch.eye(11)).requires_grad_()
    made = [
        torch.linalg.solve(s, y),
        torch.linalg.cholesky(s),
        torch.linalg.solve_triangular(s, y, upper=True),
    ]
    (grad,) = torch.autograd.grad(sum(t.square().sum() for t in made), s)
    return [*made, grad, *torch.linalg.lu_factor_ex(x[:, :9]), torch.linalg.det(x)]


def aligned() -> list[Any]:
    x = r(7, 2, 5).requires_grad_()
    loss = F.ctc_loss(
        x.log_softmax(-1), torch.tensor([[1, 1, 4], [2, 3, 3]]), [7, 5], [3, 2], reduction="none"
    )
    return [loss, *torch.autograd.grad(loss.sum(), x)]


def paired() -> list[Any]:
    x = r(21, 5).requires_grad_()
    y = F.pdist(x)
    return [y, *torch.autograd.grad(y.square().sum(), x)]


def written() -> list[Any]:
    x = r(6, 4)
    x[1:3].mul_(2)
    x[:, 1] = 7
    x.add_(1)
    x[ints(0, 5)] = r(2, 4, seed=3)
    return [x]


def bags() -> list[Any]:
    w = r(7, 19).requires_grad_()
    y = F.embedding_bag(ints(0, 6, 2, 2, 5), w, ints(0, 2, 2), padding_idx=5)
    y.square().sum().backward()
    return [y, w.grad]


def random_numbers() -> list[Any]:
    torch.manual_seed(3)
    drawn = [torch.rand(20), torch.randn(20), torch.randint(0, 9, (8,)), torch.randperm(10)]
    return [
        *drawn,
        F.dropout(torch.ones(30), 0.5),
        torch.bernoulli(torch.full((9,), 0.3)),
        torch.get_rng_state(),
    ]


PROGRAMS: dict[str, Callable[[], list[Any]]] = {
    "elementwise": lambda: [
        r(5, 7).exp(),
        r(5, 7).abs().log(),
        r(9).sin(),
        r(9).tanh(),
        r(7).sigmoid(),
        r(8).erf(),
    ],
    "gelu": lambda: [F.gelu(r(5, 7)), F.gelu(r(5, 7), approximate="tanh"), F.silu(r(4)), F.softplus(r(4))],
    "broadcast": lambda: [r(4, 1, 3) + r(5, 1), r(3, 4).T * r(4, 3), r(4) / 3, 2 - r(3), r(2, 3) ** 2],
    "float64": lambda: [r(5, 7).double().exp(), r(40).double().sum(), r(3, 4).double() @ r(4, 2).double()],
    "integers": lambda: [
        ints(5, -7, 9) // 2,
        ints(5, -7, 9) % 4,
        ints(1, 2) + 1.5,
        ints(3, 1).sum(),
        ints(4, 2) > 3,
    ],
    "half": lambda: [r(5, 7).half() + 1, r(33).bfloat16() * 3, r(33).bfloat16().sum(), r(5).half().exp()],
    "sums": lambda: [r(40, 50).sum(), r(40, 50).sum(0), r(40, 50).mean(1), r(3, 4, 5).sum((0, 2))],
    "extrema": lambda: [*r(4, 9).max(1), r(4, 9).amin(0), r(30).argmax(), r(4, 9).argmin(1)],
    "extrema of zeros": lambda: [(r(3, 40).clamp(max=0) * 0).amax(1), (r(3, 40) * 0).amin(1), (-r(9)).max()],
    "scans": lambda: [
        *r(150).cummax(0),
        *(r(3, 70) * 2).round().cummin(1),
        *r(20, 5).cummax(0),
        r(9, 5).cumsum(0),
        r(40).topk(9)[1],
        *(r(150) * 20).to(torch.int8).sort(descending=True),
    ],
    "var": lambda: [r(4, 9).var(1), r(4, 9).std(), r(8).logsumexp(0)],
    "softmax": lambda: [r(5, 33).softmax(-1), r(5, 33).softmax(0), r(3, 4).log_softmax(1)],
    "matmul": lambda: [r(9, 17) @ r(17, 11), r(2, 3, 4) @ r(2, 4, 5), r(4, 3).T @ r(4, 2), r(7) @ r(7)],
    "linear": lambda: [F.linear(r(5, 8), r(3, 8), r(3))],
    "convolution": convolved,
    "convolution of few bits": lambda: [
        F.conv2d(r(2, 16, 5, 5).bfloat16(), r(20, 16, 1, 1).bfloat16()),
        F.conv2d(r(1, 16, 7, 7).bfloat16(), r(64, 16, 3, 3).bfloat16(), r(64).bfloat16(), 2, 1),
    ],
    "attention": attended,
    "columns": columns,
    "recurrence": recurrent,
    "pooling": pooled,
    "bags": bags,
    "pairs": paired,
    "alignment": aligned,
    "elimination": eliminated,
    "sampled": sampled,
    "cross entropy": lambda: [F.cross_entropy(r(6, 10), ints(1, 2, 3, 4, 5, 9), label_smoothing=0.1)],
    "training step": trained,
    "random": random_numbers,
    "index": lambda: [
        r(6, 4)[ints(1, 5, -2)],
        r(6, 4).gather(1, torch.tensor([[0, 1], [2, 3]])),
        r(9)[2:8:2] * 2,
    ],
    "backwards": lambda: [
        r(5, 7).flip(0) * 2,
        r(40).flip(0).exp(),
        r(3, 4, 5).flip(0, 2),
        F.pad(r(1, 2, 5, 6), (2, 3, 1, 2), mode="reflect"),
        r(6, 4).roll(2, 0),
    ],
    "scatter": lambda: [torch.zeros(5).scatter_add(0, ints(0, 1, 1), r(3)), F.embedding(ints(1, 0), r(4, 3))],
    "in place": written,
    "where": lambda: [
        torch.where(r(5) > 0, r(5), 0.0),
        r(4).clamp(-0.5, 0.5),
        r(3, 4).masked_fill(r(3, 4) > 0, -1),
    ],
    "joins": lambda: [torch.cat([r(2, 3), r(1, 3)]), torch.stack([r(3), r(3)], 1), F.pad(r(2, 2), (1, 1))],
}


@pytest.fixture(autouse=True)
def cpu_again() -> Iterator[None]:
    yield
    config.set("backend", "cpu")


def bits(name: str, backend: str) -> list[tuple[Any, ...]]:
    config.set("backend", backend)
    return [(tuple(t.shape), t.dtype, as_numpy(t.detach()).tobytes()) for t in PROGRAMS[name]()]


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_interpreter_gives_the_same_bits(name: str) -> None:
    native = bits(name, "cpu")
    before = set(program.KERNELS)
    assert bits(name, "python") == native
    made = {key[0] for key in set(program.KERNELS) - before}
    assert made <= {"python"}


def test_the_interpreter_did_run() -> None:
    config.set("backend", "python")
    (torch.arange(3.0).cosh() * 1.25).tolist()
    assert any(key[0] == "python" for key in program.KERNELS)


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_kernel_compiles_for_another_cpu(name: str) -> None:
    config.set("backend", "null")
    before = set(program.KERNELS)
    config.set("no_cache", True)
    try:
        PROGRAMS[name]()
        synchronize()
    finally:
        config.set("no_cache", False)
    for key in set(program.KERNELS) - before:
        assert key[0] == "null" and all(size > 0 for size in program.KERNELS[key][0])


def test_fragments_are_planned_anew_for_another_backend() -> None:
    def loop(length: int) -> list[float]:
        x = torch.arange(3.0)
        for _ in range(length):
            x = torch.tanh(x * 1.25) + 0.5
        return x.tolist()

    lengths = list(range(30, 60))
    expected = [loop(n) for n in lengths]
    assert fragments._count["programs"]
    config.set("backend", "python")
    assert not fragments._count["programs"]
    assert [loop(n) for n in lengths[:3]] == expected[:3]


def test_products_are_planned_anew_for_another_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plan divides its work by the number of threads: one made for a single thread left the others idle for good."""
    planned: list[int] = []
    plan = planning.plan

    def noted(*args: Any, **options: Any) -> planning.Plan:
        p = plan(*args, **options)
        planned.append(p.parts)
        return p

    monkeypatch.setattr(planning, "plan", noted)
    before = torch.get_num_threads()
    a = torch.randn(96, 80)
    try:
        torch.set_num_threads(1)
        one = (a @ a.t()).tolist()
        torch.set_num_threads(2)
        assert (a @ a.t()).tolist() == one
    finally:
        torch.set_num_threads(before)
    assert planned == [1, 2]
