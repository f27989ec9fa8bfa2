"""The bits of a result do not depend on the CPU that kernels are made for: the same calls in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PROGRAM = """
import hashlib, sys
import flambeau as torch
F = torch.nn.functional

def leaf(*shape):
    return torch.randn(*shape).requires_grad_()

def attention(shape, keys, **options):
    q, k, v = leaf(*shape), leaf(*keys), leaf(*keys)
    return F.scaled_dot_product_attention(q, k, v, **options), (q, k, v)

def convolution(x, w, channels_last=False, **options):
    x, w = leaf(*x), leaf(*w)
    lie = x.contiguous(memory_format=torch.channels_last) if channels_last else x
    return F.conv2d(lie, w, **options), (x, w)

def of(call, *shapes):
    xs = [leaf(*s) for s in shapes]
    return call(*xs), xs

def layer(make, *shape):
    m, x = make(), leaf(*shape)
    return m(x)[0], (x, *m.parameters())

def short(make, *shape, scale=1):
    m, x, h = make().bfloat16(), torch.zeros(shape).bfloat16(), torch.randn(1, shape[1], 32).bfloat16() * scale
    given = (h.requires_grad_(), *[p.mul_(scale).requires_grad_() for p in m.requires_grad_(False).parameters()])
    return m(x, (h, h) if isinstance(m, torch.nn.LSTM) else h)[0].float(), given

CASES = {
    "attention": lambda: attention((2, 3, 200, 40), (2, 3, 300, 40)),
    "attention, one head": lambda: attention((1, 1, 600, 24), (1, 1, 300, 24), is_causal=True),
    "attention, groups": lambda: attention((1, 4, 90, 20), (1, 2, 150, 20), enable_gqa=True),
    "product": lambda: of(torch.matmul, (130, 700), (700, 90)),
    "products": lambda: of(torch.matmul, (3, 70, 33), (3, 33, 17)),
    "rows": lambda: of(torch.matmul, (3, 1100), (1100, 300)),
    "vector": lambda: of(torch.mv, (300, 1100), (1100,)),
    "linear": lambda: of(lambda x, w, b: F.gelu(F.linear(x, w, b)), (64, 300), (70, 300), (70,)),
    "3 x 3": lambda: convolution((2, 40, 20, 20), (48, 40, 3, 3), padding=1),
    "3 x 3, stride": lambda: convolution((2, 40, 21, 21), (48, 40, 3, 3), padding=1, stride=2),
    "7 x 7": lambda: convolution((2, 3, 40, 40), (20, 3, 7, 7), padding=3, stride=2),
    "1 x 1": lambda: convolution((2, 70, 12, 12), (130, 70, 1, 1)),
    "innermost": lambda: convolution((2, 40, 20, 20), (48, 40, 3, 3), True, padding=1),
    "depthwise": lambda: convolution((2, 40, 20, 20), (40, 1, 3, 3), padding=1, groups=40),
    "grouped": lambda: convolution((2, 40, 12, 12), (80, 10, 3, 3), groups=4),
    "sums": lambda: of(lambda x: x.sum() + x.sum(0).std() + x.var(1).norm(), (70, 1300)),
    "softmax": lambda: of(lambda x: F.log_softmax(x, 1) * torch.softmax(x, 0), (70, 130)),
    "layer norm": lambda: of(lambda x, w: F.layer_norm(x, (130,), w), (70, 130), (130,)),
    "batch norm": lambda: of(lambda x: F.batch_norm(x, None, None, training=True), (8, 20, 9, 9)),
    "group norm": lambda: of(lambda x: F.group_norm(x, 5), (8, 20, 9, 9)),
    "pools": lambda: of(lambda x: F.max_pool2d(F.avg_pool2d(x, 3, 1), 2), (3, 8, 20, 20)),
    "interpolation": lambda: of(lambda x: F.interpolate(x, scale_factor=1.7, mode="bilinear"), (2, 3, 9, 9)),
    "running": lambda: of(lambda x: torch.cumsum(x, 1) + torch.logcumsumexp(x, 0), (50, 700)),
    "functions": lambda: of(lambda x: torch.tanh(x) + torch.exp(x) * torch.erf(x) - torch.sin(x) ** 3, (5000,)),
    "places": lambda: of(lambda x: x[torch.randint(50, (400,))].cumsum(0), (50, 30)),
    "loss": lambda: of(lambda x: F.cross_entropy(x, torch.arange(70)), (70, 130)),
    "LSTM": lambda: layer(lambda: torch.nn.LSTM(30, 70, 2), 9, 5, 30),
    "GRU": lambda: layer(lambda: torch.nn.GRU(30, 33, bidirectional=True), 9, 5, 30),
    "LSTM of bfloat16": lambda: short(lambda: torch.nn.LSTM(3, 32), 9, 5, 3),
    "GRU of bfloat16": lambda: short(lambda: torch.nn.GRU(3, 32), 9, 5, 3),
    "RNN of least numbers": lambda: short(lambda: torch.nn.RNN(3, 32, bias=False), 2, 5, 3, scale=1e-19),
}
for name, make in CASES.items():
    if name in sys.argv[1:]:
        continue
    torch.manual_seed(0)
    y, leaves = make()
    (y * torch.randn(y.shape)).sum().backward()
    found = [y, *[x.grad for x in leaves]]
    bits = [hashlib.md5(x.detach().float().contiguous().numpy().tobytes()).hexdigest()[:8] for x in found]
    print(name, *bits, sep="; ")
"""


def bits(target: str, *without: str) -> dict[str, str]:
    """What the program prints of each case."""
    environment = {**os.environ, "FLAMBEAU_TARGET": target}
    command = [sys.executable, "-c", PROGRAM, *without]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return dict(line.split("; ", 1) for line in done.stdout.splitlines())


@pytest.fixture(scope="module")
def host() -> dict[str, str]:
    found = bits("host")
    assert len(found) > 25
    return found


def test_avx2_gives_the_same_bits(host: dict[str, str]) -> None:
    assert bits("x86-64-v3") == host


def test_sse_gives_the_same_bits(host: dict[str, str]) -> None:
    """Without fma, which is composed, large kernels take seconds to compile: not all of them."""
    without = ["linear", "innermost", "running", "functions", "LSTM", "LSTM of bfloat16", "GRU of bfloat16"]
    assert bits("x86-64-v2", *without) == {name: of for name, of in host.items() if name not in without}
