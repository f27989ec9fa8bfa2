"""The steps of recurrent layers as one op: beside PyTorch, of second order, on any number of threads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import flambeau
from flambeau.autograd import gradcheck, gradgradcheck
from flambeau.stream import program


def mine(x: Any) -> Any:
    made = flambeau.from_numpy(x.detach().numpy().copy())
    return made.requires_grad_() if x.requires_grad else made


# kind, given, size, layers, steps, batch, options
CASES: list[tuple[str, int, int, int, int, int, dict[str, Any]]] = [
    ("LSTM", 5, 6, 1, 7, 3, {}),
    ("LSTM", 5, 6, 2, 7, 20, {"bidirectional": True, "batch_first": True}),
    ("LSTM", 8, 16, 2, 1, 1, {"bias": False}),
    ("LSTM", 20, 40, 2, 9, 13, {"bidirectional": True, "proj_size": 7}),
    ("LSTM", 4, 9, 1, 5, 4, {"proj_size": 3, "bias": False}),
    ("GRU", 5, 6, 2, 7, 3, {"bidirectional": True}),
    ("GRU", 4, 19, 1, 6, 9, {"bias": False, "batch_first": True}),
    ("RNN", 5, 21, 2, 7, 5, {"bidirectional": True}),
    ("RNN", 5, 6, 2, 7, 3, {"nonlinearity": "relu"}),
]


def both(torch: Any, case: tuple[Any, ...]) -> tuple[Any, Any]:
    """PyTorch's module and ours, with the same weights."""
    kind, given, size, layers, _, _, options = case
    torch.manual_seed(0)
    theirs = getattr(torch.nn, kind)(given, size, layers, **options)
    ours = getattr(flambeau.nn, kind)(given, size, layers, **options)
    ours.load_state_dict({k: mine(v.detach()) for k, v in theirs.state_dict().items()})
    return theirs, ours


@pytest.mark.filterwarnings("ignore:LSTM with projections")
@pytest.mark.parametrize(("lengths", "states"), [("all", True), ("sorted", False), ("mixed", True)])
@pytest.mark.parametrize("case", CASES)
def test_values_and_gradients(case: tuple[Any, ...], states: bool, lengths: str) -> None:
    torch = pytest.importorskip("torch")
    theirs, ours = both(torch, case)
    kind, given, size, layers, steps, batch, options = case
    rows = layers * (2 if options.get("bidirectional") else 1)
    first = bool(options.get("batch_first"))
    x = torch.randn((batch, steps, given) if first else (steps, batch, given), requires_grad=True)
    state = [torch.randn(rows, batch, options.get("proj_size", size), requires_grad=True)]
    if kind == "LSTM":
        state.append(torch.randn(rows, batch, size, requires_grad=True))
    counts = [1 + (7 * i + steps - 1) % steps for i in range(batch)]
    if lengths == "sorted":
        counts.sort(reverse=True)
    pairs: list[list[Any]] = []
    for T, module, inputs, hidden in (
        (torch, theirs, x, state),
        (flambeau, ours, mine(x), [mine(s) for s in state]),
    ):
        packing, z = T.nn.utils.rnn, inputs
        if lengths != "all":
            z = packing.pack_padded_sequence(z, T.tensor(counts), first, lengths == "sorted")
        given_state = None if not states else tuple(hidden) if kind == "LSTM" else hidden[0]
        out, last = module(z, given_state)
        out = out if lengths == "all" else packing.pad_packed_sequence(out, first)[0]
        last = last if kind == "LSTM" else (last,)
        ((out * out).sum() + sum((h * h * h).sum() for h in last)).backward()
        found = [inputs, *hidden] if states else [inputs]
        pairs.append([out, *last, *(t.grad for t in (*found, *module.parameters()))])
    for want, got in zip(*pairs):
        np.testing.assert_allclose(got.detach().numpy(), want.detach().numpy(), rtol=1e-4, atol=1e-4)


@pytest.mark.filterwarnings("ignore:LSTM with projections")
@pytest.mark.parametrize("case", CASES[:1] + CASES[4:])
def test_gradient_of_the_last_state_alone(case: tuple[Any, ...]) -> None:
    torch = pytest.importorskip("torch")
    theirs, ours = both(torch, case)
    kind, given, _, _, steps, batch, options = case
    x = torch.randn((batch, steps, given) if options.get("batch_first") else (steps, batch, given))
    found = []
    for module, inputs in ((theirs, x), (ours, mine(x))):
        last = module(inputs)[1]
        (last[1] if kind == "LSTM" else last).square().sum().backward()
        found.append([p.grad for p in module.parameters()])
    for want, got in zip(*found):
        want = torch.zeros(tuple(got.shape)) if want is None else want
        np.testing.assert_allclose(got.numpy(), want.numpy(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("kind", "options"),
    [("LSTM", {"proj_size": 2}), ("LSTM", {}), ("GRU", {}), ("RNN", {}), ("RNN", {"nonlinearity": "relu"})],
)
def test_second_order(kind: str, options: dict[str, Any], packed: bool) -> None:
    flambeau.manual_seed(0)
    module = getattr(flambeau.nn, kind)(2, 3, bidirectional=packed, dtype=flambeau.float64, **options)
    weights = [p for name, p in module.named_parameters() if "hh" in name or "hr" in name]

    def call(x: Any, *weights: Any) -> Any:
        del weights  # the module's own, changed in place
        z = flambeau.nn.utils.rnn.pack_padded_sequence(x, [3, 1]) if packed else x
        out, last = module(z)
        return (out.data if packed else out), *(last if kind == "LSTM" else (last,))

    x = flambeau.randn(3, 2, 2, dtype=flambeau.float64, requires_grad=True)
    assert gradcheck(call, (x, *weights))
    assert gradgradcheck(call, (x, *weights))


def test_without_grad_mode_the_same_bits_and_nothing_is_kept() -> None:
    for kind in ("LSTM", "GRU"):
        module = getattr(flambeau.nn, kind)(4, 9, 2)
        x = flambeau.randn(5, 3, 4)
        with flambeau.no_grad():
            quiet = module(x)[0]
        assert flambeau.equal(quiet, module(x)[0])


@pytest.mark.parametrize("case", CASES)
def test_bfloat16_beside_float64(case: tuple[Any, ...]) -> None:
    kind, given, size, layers, steps, batch, options = case
    flambeau.manual_seed(0)
    short = getattr(flambeau.nn, kind)(given, size, layers, **options).bfloat16()
    fine = getattr(flambeau.nn, kind)(given, size, layers, **options).double()
    fine.load_state_dict({k: v.double() for k, v in short.state_dict().items()})
    first = bool(options.get("batch_first"))
    x = flambeau.randn((batch, steps, given) if first else (steps, batch, given)).bfloat16()
    found: list[list[Any]] = []
    for module, at in ((short, x.requires_grad_()), (fine, x.detach().double().requires_grad_())):
        out, last = module(at)
        last = last if isinstance(last, tuple) else (last,)
        loss = sum(
            (r * flambeau.linspace(-1, 1, r.numel()).view(r.shape).to(r.dtype)).sum() for r in (out, *last)
        )
        loss.backward()
        found.append([out, *last, at.grad, *[p.grad for p in module.parameters()]])
    for of_short, of_fine in zip(*found):
        assert of_short.dtype == flambeau.bfloat16
        assert (of_short - of_fine).abs().max() <= 0.03 * of_fine.abs().max()


@pytest.mark.parametrize("size", [7, 20])
@pytest.mark.parametrize("kind", ["GRU", "RNN"])
def test_states_of_bfloat16_are_rounded_after_each_step(kind: str, size: int) -> None:
    flambeau.manual_seed(0)
    layer, x = getattr(flambeau.nn, kind)(5, size).bfloat16(), flambeau.randn(6, 3, 5).bfloat16()
    h = flambeau.randn(1, 3, size).bfloat16()
    whole = layer(x, h)[0]
    for given, want in zip(x, whole):
        out, h = layer(given[None], h)
        assert flambeau.equal(out[0], want)


@pytest.mark.parametrize("dtype", [flambeau.float16])
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_float16_is_rounded_where_a_layer_gives_it(kind: str, dtype: Any) -> None:
    flambeau.manual_seed(0)
    short = getattr(flambeau.nn, kind)(5, 7, bidirectional=True).to(dtype)
    x = flambeau.randn(6, 2, 5).to(dtype)
    out, last = short(x)
    hidden = last[0] if kind == "LSTM" else last
    assert out.dtype == hidden.dtype == dtype
    steps, gates = flambeau._recurrent_steps, flambeau.nn.functional.linear
    mode = {"LSTM": "lstm", "GRU": "gru", "RNN": "tanh"}[kind]
    w, u, b, c = (p for name, p in short.named_parameters() if "reverse" not in name)
    given = gates(x, w, b if kind == "GRU" else b + c).float()
    h = flambeau.zeros(2, 7)
    wide = steps(
        given, h, h if kind == "LSTM" else None, u.float(), c.float() if kind == "GRU" else None, None, None, mode,
        False, False,
    )  # fmt: skip
    assert flambeau.equal(out[..., :7], wide[0].to(dtype))
    assert flambeau.equal(hidden[0], wide[1].to(dtype))
    out.sum().backward()
    assert all(p.grad.dtype == dtype for p in short.parameters())


def test_no_gradients_through_results_that_are_not_there() -> None:
    steps = flambeau._recurrent_steps
    x, h, w = (flambeau.randn(*s) for s in ((3, 2, 15), (2, 5), (15, 5)))
    assert [r.numel() for r in steps(x, h, None, w, None, None, None, "gru", False, False)] == [
        30,
        10,
        0,
        0,
        0,
    ]


def trained(kind: str, threads: int, units: int, **options: Any) -> list[Any]:
    flambeau.manual_seed(1)
    module = getattr(flambeau.nn, kind)(20, units, **options)
    x = flambeau.randn(12, 11, 20, requires_grad=True)
    z = flambeau.nn.utils.rnn.pack_padded_sequence(x, [12, 12, 11, 9, 9, 8, 5, 3, 2, 1, 1])
    before = flambeau.get_num_threads()
    flambeau.set_num_threads(threads)
    try:
        out, _ = module(x)
        (out.square().sum() + module(z)[0].data.square().sum()).backward()
        flambeau.synchronize()
    finally:
        flambeau.set_num_threads(before)
    return [out, x.grad, *(p.grad for p in module.parameters())]


@pytest.mark.parametrize("threads", [2, 3, 5])
@pytest.mark.parametrize("units", [80, 131])
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN", "projected"])
def test_same_bits_on_any_number_of_threads(kind: str, units: int, threads: int) -> None:
    options = {"proj_size": units // 2} if kind == "projected" else {}
    kind = "LSTM" if options else kind
    for a, b in zip(trained(kind, 1, units, **options), trained(kind, threads, units, **options)):
        assert flambeau.equal(a, b)


def test_the_steps_of_few_rows_are_shared_by_their_units() -> None:
    module, x = flambeau.nn.LSTM(16, 128), flambeau.randn(9, 1, 16)
    text = flambeau.explain(lambda: module(x)[0].sum())
    assert "lstm_forward" in str(text)
    forward = [
        key[1] for key in program.KERNELS if getattr(key[1], "mode", "") == "lstm" and key[1].size == 128
    ]
    assert forward
    assert all(spec.rows == 1 and spec.groups == 1 for spec in forward)


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_the_length_is_an_argument_of_the_kernels(kind: str) -> None:
    def titles() -> int:
        return sum("recurrence" in type(key[1]).__module__ for key in program.KERNELS)

    module = getattr(flambeau.nn, kind)(7, 9)
    before = titles()
    for steps in range(1, 12):
        out, _ = module(flambeau.randn(steps, 2, 7))
        out.sum().backward()
        flambeau.synchronize()
    assert titles() - before == 2  # forward and backward


@pytest.mark.parametrize("sizes", [[2, 4], [2, 3], [2, 0, 3], [5, -1, 1], [2, 2]])
def test_sizes_of_steps_that_do_not_fit(sizes: list[int]) -> None:
    torch = pytest.importorskip("torch")
    found = []
    for T in (torch, flambeau):
        packed = T.nn.utils.rnn.PackedSequence(T.zeros(5, 3), T.tensor(sizes))
        try:
            found.append(list(T.nn.GRU(3, 4)(packed)[0].data.shape))
        except RuntimeError as e:
            found.append(str(e).splitlines()[0])
    assert found[0] == found[1]


def test_no_steps() -> None:
    for kind in ("LSTM", "GRU", "RNN"):
        with pytest.raises(RuntimeError, match="Expected sequence length to be larger than 0 in RNN"):
            getattr(flambeau.nn, kind)(3, 4)(flambeau.zeros(0, 2, 3))
        with pytest.raises(RuntimeError, match="dtype"):
            states = [flambeau.zeros(1, 2, 4).double() for _ in range(2 if kind == "LSTM" else 1)]
            getattr(flambeau.nn, kind)(3, 4)(
                flambeau.zeros(1, 2, 3), tuple(states) if kind == "LSTM" else states[0]
            )
