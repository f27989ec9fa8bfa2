"""autocast on the CPU with PyTorch's lists, and the scaler of losses."""

from __future__ import annotations

import threading
from typing import Any

import pytest

import flambeau as torch

F, nn = torch.nn.functional, torch.nn
LOW, HIGH = torch.bfloat16, torch.float32


def dtype_of(result: Any) -> Any:
    first = result[0] if isinstance(result, tuple) else result
    return first.data.dtype if isinstance(first, nn.utils.rnn.PackedSequence) else first.dtype


CALLS = {
    "matmul": (lambda x, im: x @ x.t(), LOW),
    "matmul of a vector": (lambda x, im: x @ x[0], LOW),
    "bmm": (lambda x, im: torch.bmm(x[None], x.t()[None]), LOW),
    "einsum": (lambda x, im: torch.einsum("ij,kj->ik", x, x), LOW),
    "linear": (lambda x, im: nn.Linear(4, 3)(x), LOW),
    "conv": (lambda x, im: nn.Conv2d(3, 4, 3)(im), LOW),
    "conv_transpose": (lambda x, im: nn.ConvTranspose2d(3, 4, 3)(im), LOW),
    "conv of a result": (lambda x, im: nn.Conv2d(3, 4, 3)(im.bfloat16()), LOW),
    "conv_transpose of a result": (lambda x, im: nn.ConvTranspose2d(3, 4, 3)(im.bfloat16()), LOW),
    "conv_tbc": (lambda x, im: torch.conv_tbc(im[0], torch.ones(2, 8, 3), torch.ones(3)), LOW),
    "vecdot": (lambda x, im: torch.linalg.vecdot(x, x), LOW),
    "attention": (lambda x, im: F.scaled_dot_product_attention(im, im, im), LOW),
    "prelu": (lambda x, im: nn.PReLU()(x), LOW),
    "norms": (lambda x, im: nn.LayerNorm(3)(nn.Linear(4, 3)(x)), LOW),
    "batch norm": (lambda x, im: nn.BatchNorm2d(4)(nn.Conv2d(3, 4, 3)(im)), LOW),
    "mha": (lambda x, im: nn.MultiheadAttention(4, 2)(x[None], x[None], x[None]), LOW),
    "cross entropy": (lambda x, im: F.cross_entropy(x.bfloat16(), torch.tensor([0, 1, 2])), HIGH),
    "mse": (lambda x, im: F.mse_loss(x.bfloat16(), x), HIGH),
    "a composite loss": (lambda x, im: F.margin_ranking_loss(*[x.bfloat16()] * 3), HIGH),
    "prod": (lambda x, im: x.bfloat16().prod(), HIGH),
    "pad": (lambda x, im: F.pad(im.bfloat16(), (1, 1, 1, 1), mode="reflect"), HIGH),
    "inverse": (lambda x, im: torch.linalg.inv((x @ x.t()) + torch.eye(3)), HIGH),
    "lstm": (lambda x, im: nn.LSTM(4, 3)(x[None]), LOW),
    "c of an lstm": (lambda x, im: nn.LSTM(4, 3, 2)(x[None])[1][1], LOW),
    "lstm with projections": (lambda x, im: nn.LSTM(4, 3, 2, proj_size=2)(x[None]), LOW),
    "c of an lstm with projections": (lambda x, im: nn.LSTM(4, 3, 2, proj_size=2)(x[None])[1][1], HIGH),
    "lstm of a packed sequence": (lambda x, im: nn.LSTM(4, 3)(nn.utils.rnn.pack_sequence([x])), HIGH),
    "rnn": (lambda x, im: nn.RNN(4, 3)(x[None]), LOW),
    "rnn of a packed sequence": (lambda x, im: nn.RNN(4, 3)(nn.utils.rnn.pack_sequence([x])), LOW),
    "rnn cell": (lambda x, im: nn.RNNCell(4, 3)(x), LOW),
    "gru": (lambda x, im: nn.GRU(4, 3)(x[None]), HIGH),
    "lstm of a result": (lambda x, im: nn.LSTM(4, 3)(x[None].bfloat16()), LOW),
    "gru of a result": (lambda x, im: nn.GRU(4, 3)(x[None].bfloat16()), LOW),
    "lstm cell": (lambda x, im: nn.LSTMCell(4, 3)(x), HIGH),
    "lstm cell of a result": (lambda x, im: nn.LSTMCell(4, 3)(x.bfloat16()), LOW),
    "gru cell of a result": (lambda x, im: nn.GRUCell(4, 3)(x.bfloat16()), LOW),
    "cat": (lambda x, im: torch.cat([x, x.bfloat16()]), HIGH),
    "stack": (lambda x, im: torch.stack([x.bfloat16(), x]), HIGH),
    "cat of one precision": (lambda x, im: torch.cat([x.bfloat16()] * 2), LOW),
    "add": (lambda x, im: x + x.bfloat16(), HIGH),
    "float64": (lambda x, im: x.double() @ x.double().t(), torch.float64),
}


@pytest.mark.parametrize("name", CALLS)
def test_the_precision_of_an_operation(name: str) -> None:
    call, wanted = CALLS[name]
    torch.manual_seed(0)
    x, im = torch.randn(3, 4), torch.randn(2, 3, 8, 8)
    with torch.autocast("cpu", dtype=LOW):
        assert dtype_of(call(x, im)) is wanted


def model() -> Any:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))


def test_training_keeps_weights_and_gradients_in_float32() -> None:
    net, x, y = model(), torch.randn(4, 3, 8, 8), torch.tensor([0, 1, 2, 0])
    net.insert(1, nn.Conv2d(4, 4, 3, padding="same"))
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    losses = []
    for _ in range(15):
        optimizer.zero_grad()
        with torch.autocast("cpu"):
            out = net(x)
            loss = F.cross_entropy(out, y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert out.dtype is LOW and loss.dtype is HIGH and losses[-1] < 0.1 * losses[0]
    assert all(p.dtype is HIGH and p.grad.dtype is HIGH for p in net.parameters())


def test_gradients_are_near_those_of_float32() -> None:
    torch.manual_seed(1)
    x, y, grads = torch.randn(4, 3, 8, 8), torch.tensor([0, 1, 2, 0]), []
    for on in (False, True):
        net = model()
        with torch.autocast("cpu", enabled=on):
            loss = F.cross_entropy(net(x), y)
            if on:
                loss.backward()  # also inside
        if not on:
            loss.backward()
        grads.append([p.grad for p in net.parameters()])
    for a, b in zip(*grads):
        assert (a - b).abs().max() <= 0.05 * a.abs().max() + 1e-3 and not torch.equal(a, b)


def test_nesting_and_what_is_set() -> None:
    x = torch.ones(2, 2)
    assert not torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") is LOW
    with torch.autocast("cpu"):
        assert torch.is_autocast_enabled("cpu") and not torch.is_autocast_enabled()
        with torch.autocast("cpu", enabled=False):
            assert (x @ x).dtype is HIGH and not torch.is_autocast_cpu_enabled()
        with torch.autocast("cpu", dtype=torch.float16):
            assert (x @ x).dtype is torch.float16 and torch.get_autocast_cpu_dtype() is torch.float16
        assert (x @ x).dtype is LOW and torch.mm(x, x, out=torch.ones(2, 2)).dtype is HIGH
        seen: list[Any] = []
        thread = threading.Thread(target=lambda: seen.append((x @ x).dtype))
        thread.start()
        thread.join()
        assert seen == [HIGH]
    assert (x @ x).dtype is HIGH and torch.get_autocast_dtype("cpu") is LOW
    with pytest.raises(ZeroDivisionError), torch.autocast("cpu"):
        raise ZeroDivisionError
    assert (x @ x).dtype is HIGH
    assert torch.autocast("cpu")(lambda a: a @ a)(x).dtype is LOW
    with pytest.warns(UserWarning, match="not supported"), torch.autocast("cpu", dtype=torch.float64):
        assert (x @ x).dtype is HIGH
    with pytest.raises(RuntimeError, match="unknown device type"):
        torch.autocast("tpu")


def test_modes_of_the_user_see_calls_before_the_cast() -> None:
    seen: list[Any] = []

    class Mode(torch.overrides.TorchFunctionMode):  # type: ignore[misc, name-defined]
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            seen.extend(a.dtype for a in args)
            return func(*args, **(kwargs or {}))

    x = torch.ones(2, 2)
    with Mode(), torch.autocast("cpu"):
        assert torch.mm(x, x).dtype is LOW
    assert seen == [HIGH, HIGH]


def test_a_weight_is_cast_once_and_again_after_a_write() -> None:
    w, x = torch.ones(2, 2, requires_grad=True), torch.ones(2, 2)
    with torch.autocast("cpu"):
        a, b = x @ w, x @ w
        assert a.grad_fn.next_functions[1][0] is b.grad_fn.next_functions[1][0]
        with torch.no_grad():
            w.mul_(2)
        assert (x @ w).tolist() == [[4, 4], [4, 4]]
        torch.clear_autocast_cache()
    (a + b).sum().backward()
    assert w.grad.tolist() == [[4, 4], [4, 4]]


def test_the_scaler_adapts_its_factor() -> None:
    p = torch.ones(3, requires_grad=True)
    optimizer = torch.optim.SGD([p], lr=0.5)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=2)
    for factor in (8.0, 16.0):
        optimizer.zero_grad()
        scaler.scale((p * 2).sum()).backward()
        scaler.unscale_(optimizer)
        assert p.grad.tolist() == [2.0] * 3
        with pytest.raises(RuntimeError, match="already been called"):
            scaler.unscale_(optimizer)
        scaler.step(optimizer)
        scaler.update()
        assert scaler.get_scale() == factor
    assert p.tolist() == [-1.0] * 3
    p.grad = torch.tensor([1.0, float("inf"), 1.0])
    assert scaler.step(optimizer) is None
    with pytest.raises(RuntimeError, match="already been called"):
        scaler.step(optimizer)
    scaler.update()
    assert p.tolist() == [-1.0] * 3 and scaler.get_scale() == 8.0
    other = torch.amp.GradScaler("cpu")
    other.load_state_dict(scaler.state_dict())
    assert other.state_dict() == scaler.state_dict() and other.scale(torch.ones(1)).item() == 8.0
    with pytest.raises(AssertionError, match="No inf checks"):
        scaler.update()
    with pytest.raises(RuntimeError, match="Closure"):
        scaler.step(optimizer, closure=lambda: None)


def test_custom_functions_keep_their_precision() -> None:
    class Product(torch.autograd.Function):
        @staticmethod
        @torch.amp.custom_fwd(device_type="cpu", cast_inputs=torch.float32)
        def forward(ctx: Any, a: Any, b: Any) -> Any:
            ctx.save_for_backward(a, b)
            return a @ b

        @staticmethod
        @torch.amp.custom_bwd(device_type="cpu")
        def backward(ctx: Any, g: Any) -> Any:
            a, b = ctx.saved_tensors
            return g @ b.t(), a.t() @ g

    w = torch.ones(2, 2, requires_grad=True)
    with torch.autocast("cpu"):
        y = Product.apply(torch.ones(2, 2).bfloat16(), w)
    y.sum().backward()
    assert y.dtype is HIGH and w.grad.tolist() == [[2, 2], [2, 2]]


def test_a_mode_of_the_user_may_have_any_attributes() -> None:
    class Mode(torch.overrides.TorchFunctionMode):
        def lower(self, t: Any) -> Any:
            raise AssertionError("not autocast")

        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            return func(*args, **(kwargs or {}))

    im = torch.randn(1, 3, 4, 4)
    with Mode():
        assert nn.Conv2d(3, 2, 3)(im).dtype is HIGH
        with torch.autocast("cpu", dtype=LOW):
            assert nn.Conv2d(3, 2, 3)(im.bfloat16()).dtype is LOW
