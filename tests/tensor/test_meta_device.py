"""The device meta: results have the shapes, strides and dtypes of the CPU's, and there are never bytes."""

import copy
import io
import pickle

import pytest

import flambeau as torch
from flambeau import nn
from flambeau.nn import functional as F


def meta(*shape, **options):
    return torch.ones(*shape, device="meta", **options)


CALLS = {
    "sum": lambda x: x.sum(0),
    "product": lambda x: x @ x.t(),
    "views": lambda x: x.view(2, 2, 3).transpose(0, 2)[1:, :, None],
    "strided": lambda x: x.t()[1:].expand(5, 2, 4),
    "sort": lambda x: torch.sort(x, 1),
    "topk": lambda x: torch.topk(x, 2),
    "index": lambda x: x[torch.tensor([0, 2, 2])],
    "cat": lambda x: torch.cat([x, x[:1]]),
    "softmax": lambda x: torch.softmax(x, 1),
    "conv": lambda x: F.conv2d(x.view(1, 1, 4, 3), x[:2, :2].reshape(1, 1, 2, 2)),
    "interpolate": lambda x: F.interpolate(x.view(1, 1, 4, 3), scale_factor=2, mode="bilinear"),
    "casts": lambda x: (x.half(), x.long(), x > 0),
    "likes": lambda x: (torch.zeros_like(x), torch.rand_like(x), x.new_full((2,), 1.0), x.new_tensor([1])),
    "svd": lambda x: torch.linalg.svd(x),
    "fft": lambda x: torch.fft.rfft(x, n=9),
    "padded": lambda x: F.pad(x, (1, 2)),
    "dropped": lambda x: F.dropout(x),
    "attention": lambda x: F.scaled_dot_product_attention(x[None], x[None], x[None]),
    "in place": lambda x: x.clone().add_(1).uniform_().zero_(),
    "quantile": lambda x: torch.quantile(x, 0.5, 1),
}


def described(result):
    parts = result if isinstance(result, tuple) else (result,)
    return [(tuple(t.shape), t.stride(), t.dtype, t.storage_offset()) for t in parts]


@pytest.mark.parametrize("call", CALLS.values(), ids=list(CALLS))
def test_results_are_described_as_on_the_cpu(call):
    found = call(meta(4, 3))
    assert described(found) == described(call(torch.ones(4, 3)))
    assert all(t.is_meta for t in (found if isinstance(found, tuple) else (found,)))


def test_a_model_and_its_step_without_memory():
    with torch.device("meta"):
        model = nn.Sequential(nn.Embedding(50_000_000, 4096), nn.LSTM(4096, 4096, batch_first=True))
        words = torch.randint(50_000, (8, 128))
    before = torch.memory_stats()["live"]
    out, _ = model(words)
    out.sum().backward()
    optimizer = torch.optim.Adam(model.parameters())
    optimizer.step()
    assert out.shape == (8, 128, 4096) and model[0].weight.grad.is_meta
    assert torch.memory_stats()["live"] - before < 1 << 20


def test_constructors_take_the_device_and_draw_nothing():
    torch.manual_seed(0)
    made = [
        *(
            torch.rand(3, device="meta"),
            torch.randperm(3, device="meta"),
            torch.randint(9, (3,), device="meta"),
        ),
        *(torch.arange(3, device="meta"), torch.tensor([1, 2], device="meta"), torch.eye(3, device="meta")),
        *(torch.as_tensor([1.0], device="meta"), torch.empty_strided((2, 2), (1, 2), device="meta")),
        *(torch.hann_window(3, device="meta"), torch.linspace(0, 1, 3, device="meta")),
        *(nn.Linear(2, 2, device="meta").weight, torch.normal(0.0, 1.0, (2,), device="meta")),
    ]
    assert all(t.is_meta for t in made)
    drawn = torch.rand(1)
    torch.manual_seed(0)
    assert torch.equal(drawn, torch.rand(1))


def test_a_default_device():
    with torch.device("meta") as where:
        assert torch.get_default_device() == where and nn.Linear(2, 2).weight.is_meta
        assert (
            not torch.zeros(2, device="cpu").is_meta
            and not torch.zeros_like(torch.ones(2, device="cpu")).is_meta
        )
        with torch.device("cpu"):
            assert not torch.zeros(2).is_meta
    torch.set_default_device("meta")
    assert torch.zeros(2).is_meta
    torch.set_default_device(None)
    assert not torch.zeros(2).is_meta and torch.get_default_device() == torch.device("cpu")


@pytest.mark.parametrize("antialias", [False, True])
def test_what_is_kept_between_calls_is_not_made_on_a_default_device(antialias):
    x, how = torch.ones(1, 1, 40, 40), {"size": 3, "mode": "bilinear", "antialias": antialias}
    with torch.device("meta"):
        first = F.interpolate(x, **how)
    assert torch.allclose(first, torch.ones(3)) and torch.allclose(F.interpolate(x, **how), torch.ones(3))
    assert F.interpolate(x.to("meta"), **how).is_meta


@pytest.mark.parametrize(
    ("error", "text", "call"),
    [
        (NotImplementedError, "no data", lambda x: x.cpu()),
        (NotImplementedError, "no data", lambda x: x.tolist()),
        (NotImplementedError, "no data", lambda x: torch.zeros(3).copy_(x)),
        (NotImplementedError, "no data", lambda x: torch.zeros(3).add_(x)),
        (NotImplementedError, "no data", lambda x: x[x > 0]),
        (NotImplementedError, "to_empty", lambda x: nn.Linear(2, 2, device="meta").to("cpu")),
        (RuntimeError, "cannot be called on meta", lambda x: x.sum().item()),
        (RuntimeError, "cannot be called on meta", lambda x: bool(x[0])),
        (RuntimeError, "not on the expected device meta", lambda x: x + torch.ones(3)),
        (TypeError, "meta device type tensor to numpy", lambda x: x.numpy()),
    ],
)
def test_what_needs_bytes_is_refused(error, text, call):
    with pytest.raises(error, match=text):
        call(meta(3))


def test_copies_into_it_and_numbers_are_taken():
    x = meta(3)
    assert x.copy_(torch.ones(3)) is x and (x + torch.tensor(1.0)).is_meta and (x + 1).is_meta
    assert torch.ones(3).to("meta").is_meta and x.data_ptr() == 0


def test_files_and_copies(tmp_path):
    x = meta(4, 3).t()
    for y in (copy.deepcopy(x), pickle.loads(pickle.dumps(x))):
        assert described(y) == described(x) and y.is_meta
    file = io.BytesIO()
    torch.save({"x": x}, file)
    assert len(file.getvalue()) < 2000
    file.seek(0)
    assert described(torch.load(file)["x"]) == described(x)
    torch.save(torch.ones(1000), tmp_path / "x.pt")
    assert torch.load(tmp_path / "x.pt", map_location="meta").is_meta


def test_a_model_gets_its_weights_from_a_file():
    source, model = nn.Linear(3, 2), nn.Linear(3, 2, device="meta")
    model.load_state_dict(source.state_dict(), assign=True)
    assert torch.equal(model(torch.ones(3)), source(torch.ones(3)))
    empty = nn.Linear(3, 2, device="meta").to_empty(device="cpu")
    empty.load_state_dict(source.state_dict())
    assert torch.equal(empty.weight, source.weight)


def test_an_ensemble_is_called_through_a_skeleton():
    models = [nn.Linear(3, 2) for _ in range(4)]
    params, buffers = torch.func.stack_module_state(models)
    base, x = copy.deepcopy(models[0]).to("meta"), torch.randn(5, 3)
    out = torch.vmap(lambda p, b: torch.func.functional_call(base, (p, b), (x,)))(params, buffers)
    assert torch.allclose(out[1], models[1](x), atol=1e-6)


def test_a_captured_call_runs_uncaptured():
    f = torch.compile(lambda x: x * 2)
    with pytest.warns(UserWarning, match="on the device meta"):
        assert f(meta(3)).is_meta
    assert torch.equal(f(torch.ones(3)), 2 * torch.ones(3))


def test_modes_see_constructors():
    seen = []

    class Watch(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            seen.append(func)
            return func(*args, **(kwargs or {}))

    with Watch():
        torch.zeros(2), torch.empty(2), torch.rand(2), torch.tensor(1.0), torch.zeros_like(torch.ones(2))
    assert seen == [torch.zeros, torch.empty, torch.rand, torch.tensor, torch.ones, torch.zeros_like]
