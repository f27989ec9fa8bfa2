"""nn.utils beside torch.nn.utils: clipping, vectors, sequences, normalisations, parametrisations, pruning, fusion."""

from __future__ import annotations

import copy

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("torch.nn.utils.prune")


def linear(nn, *grads):
    torch.manual_seed(3)
    m = nn.Linear(3, 2)
    m.weight.grad = torch.arange(6.0).view(2, 3)
    m.bias.grad = torch.tensor([-3.0, 4.0])
    return m


def grads(m):
    return [p.grad for p in m.parameters()]


def sequences():
    return [torch.arange(n * 2.0).view(n, 2) + 10 * n for n in (4, 3, 3, 1)]


def steps(m, x, count=3):
    """Outputs of a few calls, then the gradients of the last."""
    outputs = [m(x) for _ in range(count)]
    outputs[-1].sum().backward()
    return outputs, [(n, p.grad) for n, p in m.named_parameters()], m.state_dict(), repr(m)


class Symmetric:
    """A parametrisation in either side's Module."""

    def __new__(cls, nn, inverse=True):
        class Symmetric(nn.Module):
            def forward(self, w):
                return w.triu() + w.triu(1).mT

        if inverse:
            Symmetric.right_inverse = lambda self, w: w.triu()
        return Symmetric()


def bad(nn, result):
    class Bad(nn.Module):
        def forward(self, w):
            return result(w)

    return Bad()


PROGRAMS = {
    "clip norm": lambda nn: (m := linear(nn), nn.utils.clip_grad_norm_(m.parameters(), 2.0), grads(m))[1:],
    "clip norm, infinite": lambda nn: (
        m := linear(nn),
        nn.utils.clip_grad_norm_(m.parameters(), 2.0, float("inf")),
        grads(m),
    )[1:],
    "clip norm, 1, one tensor": lambda nn: (
        m := linear(nn),
        nn.utils.clip_grad_norm_(m.weight, 2.0, 1),
        grads(m),
    )[1:],
    "clip norm, below": lambda nn: (
        m := linear(nn),
        nn.utils.clip_grad_norm_(m.parameters(), 200.0),
        grads(m),
    )[1:],
    "clip norm, nothing": lambda nn: nn.utils.clip_grad_norm_([], 2.0),
    "clip norm, not finite": lambda nn: (
        m := linear(nn),
        m.bias.grad.fill_(float("nan")),
        nn.utils.clip_grad_norm_(m.parameters(), 1.0, error_if_nonfinite=True),
    ),
    "clip norm, old name": lambda nn: nn.utils.clip_grad_norm(linear(nn).parameters(), 2.0),
    "clip value": lambda nn: (m := linear(nn), nn.utils.clip_grad_value_(m.parameters(), 2.0), grads(m))[1:],
    "total norm": lambda nn: nn.utils.get_total_norm(grads(linear(nn))),
    "vector": lambda nn: nn.utils.parameters_to_vector(linear(nn).parameters()),
    "vector back": lambda nn: (
        m := linear(nn),
        nn.utils.vector_to_parameters(torch.arange(8.0), m.parameters()),
        m.state_dict(),
    )[-1],
    "vector not a tensor": lambda nn: nn.utils.vector_to_parameters([1, 2], linear(nn).parameters()),
    "pad": lambda nn: nn.utils.rnn.pad_sequence(sequences(), padding_value=-1.0),
    "pad batch first": lambda nn: nn.utils.rnn.pad_sequence(sequences(), True),
    "pad left": lambda nn: nn.utils.rnn.pad_sequence(sequences(), True, padding_side="left"),
    "pad nowhere": lambda nn: nn.utils.rnn.pad_sequence(sequences(), padding_side="up"),
    "pad a number": lambda nn: nn.utils.rnn.pad_sequence(3),
    "pack": lambda nn: list(nn.utils.rnn.pack_sequence(sequences())),
    "pack unsorted": lambda nn: list(nn.utils.rnn.pack_sequence(sequences()[::-1], enforce_sorted=False)),
    "pack unsorted refused": lambda nn: nn.utils.rnn.pack_sequence(sequences()[::-1]),
    "pack padded": lambda nn: list(
        nn.utils.rnn.pack_padded_sequence(torch.arange(24.0).view(2, 4, 3), [4, 2], True)
    ),
    "pack zero length": lambda nn: nn.utils.rnn.pack_padded_sequence(torch.ones(4, 2, 3), [4, 0]),
    "pack wrong count": lambda nn: nn.utils.rnn.pack_padded_sequence(torch.ones(4, 2, 3), [4, 3, 1]),
    "unpack": lambda nn: nn.utils.rnn.pad_packed_sequence(
        nn.utils.rnn.pack_sequence(sequences()[::-1], enforce_sorted=False), True, -1.0, 6
    ),
    "unpack too short": lambda nn: nn.utils.rnn.pad_packed_sequence(
        nn.utils.rnn.pack_sequence(sequences()), total_length=2
    ),
    "unpack to a list": lambda nn: nn.utils.rnn.unpack_sequence(nn.utils.rnn.pack_sequence(sequences())),
    "packed converted": lambda nn: [
        str(p.data.dtype)
        for s in [nn.utils.rnn.pack_sequence(sequences())]
        for p in (s.double(), s.int(), s.cpu())
    ],
    "weight norm": lambda nn: steps(nn.utils.weight_norm(linear(nn)), torch.ones(1, 3)),
    "weight norm, no dim": lambda nn: steps(nn.utils.weight_norm(linear(nn), dim=None), torch.ones(1, 3)),
    "weight norm removed": lambda nn: steps(
        nn.utils.remove_weight_norm(nn.utils.weight_norm(linear(nn))), torch.ones(1, 3)
    ),
    "weight norm not there": lambda nn: nn.utils.remove_weight_norm(linear(nn)),
    "spectral norm": lambda nn: steps(nn.utils.spectral_norm(linear(nn)), torch.ones(1, 3)),
    "spectral norm removed": lambda nn: steps(
        nn.utils.remove_spectral_norm(nn.utils.spectral_norm(linear(nn))), torch.ones(1, 3)
    ),
    "new weight norm": lambda nn: steps(nn.utils.parametrizations.weight_norm(linear(nn)), torch.ones(1, 3)),
    "new weight norm loads the old": lambda nn: (
        m := nn.utils.parametrizations.weight_norm(nn.Linear(3, 2)),
        m.load_state_dict(nn.utils.weight_norm(linear(nn)).state_dict()),
        m.state_dict(),
    )[1:],
    "new spectral norm": lambda nn: steps(
        nn.utils.parametrizations.spectral_norm(linear(nn)), torch.ones(1, 3)
    ),
    "new spectral norm of a convolution": lambda nn: steps(
        nn.utils.parametrizations.spectral_norm(nn.ConvTranspose2d(2, 3, 2)), torch.ones(1, 2, 3, 3)
    ),
    "orthogonal": lambda nn: (
        m := nn.utils.parametrizations.orthogonal(nn.Linear(4, 4)),
        torch.allclose(m.weight @ m.weight.T, torch.eye(4), atol=1e-5),
        repr(m),
    )[1:],
    "orthogonal, tall": lambda nn: (
        m := nn.utils.parametrizations.orthogonal(nn.Linear(2, 5)),
        torch.allclose(m.weight.T @ m.weight, torch.eye(2), atol=1e-5),
    )[1:],
    "orthogonal of a vector": lambda nn: nn.utils.parametrizations.orthogonal(nn.Linear(4, 4), "bias"),
    "parametrised": lambda nn: steps(
        nn.utils.parametrize.register_parametrization(nn.Linear(3, 3), "weight", Symmetric(nn)),
        torch.ones(1, 3),
    ),
    "parametrised twice": lambda nn: (
        m := nn.Linear(3, 3),
        nn.utils.parametrize.register_parametrization(m, "weight", Symmetric(nn)),
        nn.utils.parametrize.register_parametrization(m, "weight", Symmetric(nn)),
        m.weight,
        repr(m),
    )[-2:],
    "parametrised, assigned": lambda nn: (
        m := nn.utils.parametrize.register_parametrization(nn.Linear(3, 3), "weight", Symmetric(nn)),
        setattr(m, "weight", torch.arange(9.0).view(3, 3)),
        m.weight,
    )[-1],
    "parametrised, not assignable": lambda nn: (
        m := nn.utils.parametrize.register_parametrization(nn.Linear(3, 3), "weight", Symmetric(nn, False)),
        setattr(m, "weight", torch.ones(3, 3)),
    ),
    "parametrised, removed": lambda nn: (
        m := nn.utils.parametrize.register_parametrization(nn.Linear(3, 3), "weight", Symmetric(nn)),
        nn.utils.parametrize.is_parametrized(m),
        nn.utils.parametrize.remove_parametrizations(m, "weight"),
        m.state_dict(),
        nn.utils.parametrize.is_parametrized(m),
        type(m).__name__,
    )[1:],
    "parametrised, removed to the original": lambda nn: (
        m := nn.utils.parametrize.register_parametrization(nn.Linear(3, 3), "weight", Symmetric(nn)),
        nn.utils.parametrize.remove_parametrizations(m, "weight", leave_parametrized=False),
        m.state_dict(),
    )[1:],
    "parametrised, copied": lambda nn: (
        m := nn.utils.parametrize.register_parametrization(nn.Linear(3, 3), "weight", Symmetric(nn)),
        copy.deepcopy(m).weight,
        repr(copy.deepcopy(m)),
    )[1:],
    "parametrised, other shape": lambda nn: nn.utils.parametrize.register_parametrization(
        nn.Linear(3, 3), "weight", bad(nn, lambda w: w[:2])
    ),
    "parametrised, other dtype": lambda nn: nn.utils.parametrize.register_parametrization(
        nn.Linear(3, 3), "weight", bad(nn, lambda w: w.double())
    ),
    "parametrised, no such name": lambda nn: nn.utils.parametrize.register_parametrization(
        nn.Linear(3, 3), "w", nn.Identity()
    ),
    "parametrised, cached": lambda nn: (
        m := nn.utils.parametrize.register_parametrization(nn.Linear(3, 3), "weight", Symmetric(nn)),
        [nn.utils.parametrize.cached().__enter__() is None, m.weight is m.weight],
    )[1],
    "fused": lambda nn: (
        c := nn.Conv2d(2, 3, 1).eval(),
        b := nn.BatchNorm2d(3).eval(),
        torch.allclose(
            nn.utils.fuse_conv_bn_eval(c, b)(torch.ones(1, 2, 2, 2)), b(c(torch.ones(1, 2, 2, 2))), atol=1e-6
        ),
    )[-1],
    "fused in training": lambda nn: nn.utils.fuse_conv_bn_eval(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3)),
    "skip_init": lambda nn: (nn.utils.skip_init(nn.Linear, 3, 4).weight.shape, torch.rand(1)),
    "pruned, l1": lambda nn: steps(nn.utils.prune.l1_unstructured(linear(nn), "weight", 2), torch.ones(1, 3)),
    "pruned, random": lambda nn: steps(
        nn.utils.prune.random_unstructured(linear(nn), "weight", 0.5), torch.ones(1, 3)
    ),
    "pruned, ln": lambda nn: steps(
        nn.utils.prune.ln_structured(linear(nn), "weight", 1, 2, 0), torch.ones(1, 3)
    ),
    "pruned, random channels": lambda nn: steps(
        nn.utils.prune.random_structured(linear(nn), "weight", 1, 1), torch.ones(1, 3)
    ),
    "pruned twice": lambda nn: (
        m := linear(nn),
        nn.utils.prune.l1_unstructured(m, "weight", 1),
        nn.utils.prune.ln_structured(m, "weight", 1, 2, 0),
        nn.utils.prune.is_pruned(m),
        m.state_dict(),
        nn.utils.prune.remove(m, "weight"),
        m.state_dict(),
    )[3:],
    "pruned globally": lambda nn: (
        m := nn.Sequential(linear(nn), nn.Linear(2, 2)),
        nn.utils.prune.global_unstructured(
            [(m[0], "weight"), (m[1], "weight")], nn.utils.prune.L1Unstructured, amount=4
        ),
        m.state_dict(),
    )[1:],
    "pruned with a mask": lambda nn: nn.utils.prune.custom_from_mask(
        linear(nn), "bias", torch.tensor([0, 1])
    ).state_dict(),
    "pruned too much": lambda nn: nn.utils.prune.l1_unstructured(linear(nn), "weight", 20),
    "pruned by a string": lambda nn: nn.utils.prune.l1_unstructured(linear(nn), "weight", "x"),
    "not pruned": lambda nn: nn.utils.prune.remove(linear(nn), "weight"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", PROGRAMS)
def test_utils(same, name) -> None:
    if name == "parametrised, cached":
        return
    same(PROGRAMS[name])


def test_parametrised_tensors_are_computed_once_when_cached(mirror) -> None:
    nn, P = mirror.nn, mirror.nn.utils.parametrize
    m = P.register_parametrization(nn.Linear(3, 3), "weight", Symmetric(nn))
    with P.cached():
        assert m.weight is m.weight
    assert m.weight is not m.weight


def test_functional_call(mirror) -> None:
    from torch.func import functional_call as reference

    call = mirror.nn.utils.stateless.functional_call
    for nn, fn in ((torch.nn, reference), (mirror.nn, call)):
        m = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
        before = m[0].weight
        given = {"0.weight": torch.eye(2), "0.bias": torch.zeros(2), "1.running_mean": torch.ones(2)}
        out = fn(m.eval(), given, torch.tensor([[3.0, 5.0]]))
        assert torch.allclose(out, torch.tensor([[2.0, 4.0]]), atol=1e-4)
        assert m[0].weight is before
        with pytest.raises(RuntimeError, match=r"Missing key\(s\)"):
            fn(m, given, torch.ones(1, 2), strict=True)


def test_functional_call_is_differentiable_in_the_tensors(mirror) -> None:
    nn = mirror.nn
    m = nn.Linear(2, 1, bias=False)
    w = torch.tensor([[2.0, 3.0]], requires_grad=True)
    nn.utils.stateless.functional_call(m, {"weight": w}, torch.tensor([1.0, 10.0])).backward()
    assert w.grad.tolist() == [[1.0, 10.0]] and m.weight.grad is None
