"""Whole programs of nn on flambeau's own tensors, beside PyTorch: results, gradients, state, files."""

from __future__ import annotations

import copy

import pytest

import flambeau

pytorch = pytest.importorskip("torch")


def values(x):
    """Nested lists of numbers of whatever a program returns."""
    if isinstance(x, (flambeau.Tensor, pytorch.Tensor)):
        return [x.dtype.is_floating_point, list(x.shape), [float(v) for v in x.detach().flatten().tolist()]]
    if isinstance(x, dict):
        return [[k, values(v)] for k, v in x.items()]
    if isinstance(x, (list, tuple)):
        return [values(v) for v in x]
    return x


def close(a, b, where="") -> None:
    if isinstance(a, list):
        assert isinstance(b, list) and len(a) == len(b), where
        for i, (x, y) in enumerate(zip(a, b)):
            close(x, y, f"{where}[{i}]")
    elif isinstance(a, float):
        assert a == pytest.approx(b, rel=2e-4, abs=2e-5, nan_ok=True), where
    else:
        assert a == b, where


def gradients(torch, model, *inputs, loss=lambda out: (out * out).mean()):
    """Output, gradients of inputs and parameters, and the state after one call in training mode."""
    out = model(*inputs)
    first = out[0] if isinstance(out, tuple) else out
    loss(first).backward()
    inner = [x.grad for x in inputs if isinstance(x, torch.Tensor) and x.requires_grad]
    return out, inner, {n: p.grad for n, p in model.named_parameters()}, dict(model.state_dict())


def x(torch, *shape):
    return torch.randn(*shape).requires_grad_()


def cnn(torch):
    nn = torch.nn
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 3, 3, stride=2, padding_mode="reflect", padding=1),
        nn.GroupNorm(3, 3),
        nn.GELU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(3, 2),
    )
    return gradients(torch, model, x(torch, 3, 2, 8, 8))


def trained(torch):
    nn = torch.nn
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Dropout(0.25), nn.Linear(8, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.9)
    inputs, classes = torch.randn(12, 4), torch.randint(0, 3, (12,))
    losses = []
    for _ in range(6):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(inputs), classes, label_smoothing=0.1)
        loss.backward()
        losses.append([nn.utils.clip_grad_norm_(model.parameters(), 0.5), loss])
        optimizer.step()
    model.eval()
    with torch.no_grad():
        return losses, model(inputs), dict(model.state_dict())


def packed_lstm(torch):
    rnn = torch.nn.utils.rnn
    model = torch.nn.LSTM(3, 4, num_layers=2, bidirectional=True, proj_size=2)
    packed = rnn.pack_sequence([torch.randn(n, 3) for n in (2, 4, 1)], enforce_sorted=False)
    out, (h, c) = model(packed)
    padded, lengths = rnn.pad_packed_sequence(out)
    (padded.sum() + (h * h).sum() + c.sum()).backward()
    return padded, lengths, h, c, [p.grad for p in model.parameters()]


def attention(torch):
    model = torch.nn.MultiheadAttention(8, 2, batch_first=True, add_bias_kv=True)
    inputs, mask = x(torch, 2, 3, 8), torch.tensor([[False, False, True], [False, False, False]])
    out, weights = model(inputs, inputs, inputs, key_padding_mask=mask)
    (out * out).sum().backward()
    return out, weights, inputs.grad, [p.grad for p in model.parameters()]


def transformer(torch):
    model = torch.nn.Transformer(8, 2, 1, 2, 16, dropout=0.0, batch_first=True, norm_first=True)
    mask = torch.nn.Transformer.generate_square_subsequent_mask(3)
    out = model(torch.randn(2, 4, 8), torch.randn(2, 3, 8), tgt_mask=mask)
    (out * out).sum().backward()
    return out, [p.grad for p in model.parameters()]


def losses(torch):
    F, a, b = torch.nn.functional, x(torch, 5, 4), torch.randn(5, 4)
    found = [
        F.mse_loss(a, b),
        F.l1_loss(a, b),
        F.smooth_l1_loss(a, b, beta=0.5),
        F.huber_loss(a, b, delta=0.7),
    ]
    found += [F.binary_cross_entropy_with_logits(a, (b > 0).float(), pos_weight=torch.ones(4) * 2)]
    found += [F.kl_div(F.log_softmax(a, 1), F.softmax(b, 1), reduction="batchmean")]
    found += [F.cosine_embedding_loss(a, b, torch.tensor([1, -1, 1, 1, -1])), F.poisson_nll_loss(a, b.abs())]
    found += [F.triplet_margin_loss(a, b, b.flip(0)), F.gaussian_nll_loss(a, b, b * b + 0.1)]
    found += [F.multi_margin_loss(a, torch.tensor([0, 1, 2, 3, 0])), F.hinge_embedding_loss(a, b.sign())]
    found += [F.nll_loss(F.log_softmax(a, 1), torch.tensor([0, 3, -100, 1, 2]), weight=torch.arange(1.0, 5))]
    sum(found).backward()
    return found, a.grad


def images(torch):
    F, image = torch.nn.functional, x(torch, 1, 2, 5, 6)
    grid = torch.rand(1, 3, 4, 2) * 2.2 - 1.1
    found = [
        F.interpolate(image, scale_factor=1.7, mode="bilinear"),
        F.interpolate(image, size=(3, 4), mode="area"),
    ]
    found += [
        F.interpolate(image, size=(7, 9), mode="bicubic", align_corners=True),
        F.interpolate(image, (8, 3)),
    ]
    found += [
        F.grid_sample(image, grid, align_corners=False),
        F.grid_sample(image, grid, "nearest", "border", True),
    ]
    found += [
        F.pad(image, (1, 2, 0, 1), mode="replicate"),
        F.unfold(image, 3, padding=1),
        F.pixel_unshuffle(image[..., :4, :4], 2),
    ]
    found += [
        F.fold(F.unfold(image, 2), (5, 6), 2),
        F.lp_pool2d(image, 2, 2),
        F.avg_pool2d(image, 3, 2, 1, True, False),
    ]
    sum((v * v).sum() for v in found).backward()
    return found, image.grad


def embeddings(torch):
    nn = torch.nn
    table = nn.Embedding(6, 3, padding_idx=1)
    bag = nn.EmbeddingBag(6, 3, mode="mean")
    out = table(torch.tensor([[1, 2], [2, 5]])).sum(1) + bag(torch.tensor([0, 2, 2, 3]), torch.tensor([0, 3]))
    (out * out).sum().backward()
    return out, table.weight.grad, bag.weight.grad


def hooks(torch):
    log, model = [], torch.nn.Linear(2, 2)
    model.register_forward_hook(lambda m, args, out: out * 2)
    model.register_full_backward_hook(lambda m, gi, go: log.append([gi[0], go[0]]))
    inputs = x(torch, 1, 2)
    model(inputs).sum().backward()
    return log, inputs.grad, model.weight.grad


def parametrised(torch):
    nn = torch.nn
    a = nn.utils.parametrizations.weight_norm(nn.Linear(3, 2))
    b = nn.utils.spectral_norm(nn.Linear(3, 2))
    c = nn.utils.prune.l1_unstructured(nn.Linear(3, 2), "weight", 2)
    return [gradients(torch, model, x(torch, 2, 3)) for model in (a, b, c)]


def lazy(torch):
    nn = torch.nn
    model = nn.Sequential(nn.LazyConv2d(3, 2), nn.LazyBatchNorm2d(), nn.Flatten(), nn.LazyLinear(2))
    model(torch.randn(2, 1, 4, 4))
    return repr(model), gradients(torch, model, torch.randn(2, 1, 4, 4))


PROGRAMS = [
    cnn,
    trained,
    packed_lstm,
    attention,
    transformer,
    losses,
    images,
    embeddings,
    hooks,
    parametrised,
    lazy,
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.__name__)
def test_program(program) -> None:
    import torch.nn.utils.prune  # noqa: F401  (not loaded by torch.nn)

    found = []
    for lib in (pytorch, flambeau):
        lib.manual_seed(4)
        found.append(values(program(lib)))
    close(found[1], found[0])


def model(torch):
    nn = torch.nn
    torch.manual_seed(0)
    parts = [
        nn.Conv2d(1, 2, 3),
        nn.BatchNorm2d(2),
        nn.Flatten(),
        nn.Linear(8, 3),
        nn.Dropout(0.2),
        nn.LSTM(3, 2),
    ]
    return nn.Sequential(*parts, nn.TransformerEncoderLayer(4, 2, 8), nn.Upsample(scale_factor=2)).eval()


@pytest.mark.parametrize("names", ["torch to flambeau", "flambeau to torch", "flambeau to flambeau"])
def test_whole_models_go_through_files(tmp_path, names) -> None:
    libs = {"torch": pytorch, "flambeau": flambeau}
    source, target = (libs[n] for n in names.split(" to "))
    made = model(source)
    source.save(made, tmp_path / "model.pt")
    again = target.load(tmp_path / "model.pt", weights_only=False)
    assert repr(again) == repr(made) and not again.training
    assert type(again[0]) is target.nn.Conv2d and isinstance(again[0].weight, target.nn.Parameter)
    close(values(again[5](target.ones(2, 1, 3))[0]), values(made[5](source.ones(2, 1, 3))[0]))
    close(values(dict(again.state_dict())), values(dict(made.state_dict())))


def test_copies_of_models_train_apart() -> None:
    made = flambeau.nn.Linear(2, 1)
    twin = copy.deepcopy(made)
    twin(flambeau.ones(1, 2)).sum().backward()
    with flambeau.no_grad():
        twin.weight += 1
    assert made.weight.grad is None
    assert (twin.weight - made.weight).tolist() == [pytest.approx([1.0, 1.0])]


def test_isinstance_and_types_of_parameters() -> None:
    nn = flambeau.nn
    p = nn.Parameter(flambeau.ones(2))
    assert isinstance(p, nn.Parameter) and isinstance(p, flambeau.Tensor) and p.requires_grad and p.is_leaf
    assert type(p * 2) is flambeau.Tensor and not isinstance(p * 2, nn.Parameter)
    assert type(p.data) is flambeau.Tensor and type(p.detach()) is flambeau.Tensor
    assert repr(p) == "Parameter containing:\ntensor([1., 1.], requires_grad=True)"
    assert isinstance(copy.deepcopy(p), nn.Parameter)
    with pytest.raises(RuntimeError, match="floating point"):
        nn.Parameter(flambeau.tensor([1]))
    b = nn.Buffer(flambeau.ones(2))
    assert isinstance(b, nn.Buffer) and not b.requires_grad
