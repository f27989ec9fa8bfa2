"""Models of words, sounds and sequences as users write them, a training step each: for the suite's group `zoo`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from models import trained
from workloads import Step, step_of


def translation(torch: Any, best: bool) -> Step:
    """nn.Transformer (Vaswani and others 2017) of 2 + 2 layers of 256 with masks, labels smoothed; 16 x 32 words."""
    torch.manual_seed(0)
    nn, F = torch.nn, torch.nn.functional

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.source, self.target = (
                nn.Embedding(1000, 256, padding_idx=0),
                nn.Embedding(1000, 256, padding_idx=0),
            )
            place = torch.arange(64)[:, None] * torch.exp(-math.log(1e4) * torch.arange(0, 256, 2) / 256)
            table = torch.zeros(64, 256)
            table[:, 0::2], table[:, 1::2] = place.sin(), place.cos()
            self.register_buffer("places", table)
            self.core = nn.Transformer(256, 4, 2, 2, 512, dropout=0.1, batch_first=True)
            self.head = nn.Linear(256, 1000)

        def forward(self, s: Any, t: Any) -> Any:
            mask = nn.Transformer.generate_square_subsequent_mask(t.shape[1])
            pads, heard = s == 0, t == 0
            y = self.core(
                self.source(s) * 16 + self.places[: s.shape[1]],
                self.target(t) * 16 + self.places[: t.shape[1]],
                tgt_mask=mask,
                src_key_padding_mask=pads,
                tgt_key_padding_mask=torch.zeros(heard.shape).masked_fill(heard, float("-inf")),
                memory_key_padding_mask=pads,
            )
            return self.head(y)

    model = Model()
    s, t = torch.randint(1, 1000, (16, 32)), torch.randint(1, 1000, (16, 33))
    s[:4, 20:], t[:4, 25:] = 0, 0
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, betas=(0.9, 0.98), eps=1e-9)

    def loss(s: Any, t: Any) -> Any:
        y = model(s, t[:, :-1])
        return F.cross_entropy(y.reshape(-1, 1000), t[:, 1:].reshape(-1), ignore_index=0, label_smoothing=0.1)

    return trained(torch, best, loss, optimizer, s, t)


def llama(torch: Any, best: bool) -> Step:
    """Two layers as of Llama (Touvron and others 2023): RMS norm, rotated places, gated units; 4 x 128."""
    torch.manual_seed(0)
    nn, F = torch.nn, torch.nn.functional
    rates = 1e4 ** (-torch.arange(0, 32, 2) / 32)
    angles = torch.arange(128)[:, None] * rates
    cos, sin = angles.cos(), angles.sin()

    def rotated(x: Any) -> Any:
        a, b = x[..., 0::2], x[..., 1::2]
        return torch.stack([a * cos - b * sin, a * sin + b * cos], dim=-1).flatten(-2)

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.n1, self.n2 = nn.RMSNorm(256), nn.RMSNorm(256)
            self.q, self.k, self.v = (nn.Linear(256, n, bias=False) for n in (256, 64, 64))
            self.o = nn.Linear(256, 256, bias=False)
            self.gate, self.up = nn.Linear(256, 688, bias=False), nn.Linear(256, 688, bias=False)
            self.down = nn.Linear(688, 256, bias=False)

        def forward(self, x: Any) -> Any:
            b, s, _ = x.shape
            h = self.n1(x)
            q = rotated(self.q(h).view(b, s, 8, 32).transpose(1, 2))
            k = rotated(self.k(h).view(b, s, 2, 32).transpose(1, 2)).repeat_interleave(4, dim=1)
            v = self.v(h).view(b, s, 2, 32).transpose(1, 2).repeat_interleave(4, dim=1)
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.o(y.transpose(1, 2).reshape(b, s, 256))
            h = self.n2(x)
            return x + self.down(F.silu(self.gate(h)) * self.up(h))

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.blocks = nn.Embedding(2000, 256), nn.Sequential(Block(), Block())
            nn.init.normal_(self.words.weight, std=0.02)
            self.norm, self.head = nn.RMSNorm(256), nn.Linear(256, 2000, bias=False)
            self.head.weight = self.words.weight

        def forward(self, x: Any) -> Any:
            return self.head(self.norm(self.blocks(self.words(x))))

    model = Model()
    text = torch.randint(0, 2000, (4, 129))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, weight_decay=0.1)

    def loss(text: Any) -> Any:
        return F.cross_entropy(model(text[:, :-1]).flatten(0, 1), text[:, 1:].flatten())

    return trained(torch, best, loss, optimizer, text)


def clipped_lstm(torch: Any, best: bool) -> Step:
    """Names of several lengths, packed, through two LSTMs there and back; gradients clipped, batch of 32."""
    torch.manual_seed(0)
    nn, F = torch.nn, torch.nn.functional
    rnn = nn.utils.rnn

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words = nn.Embedding(500, 64)
            self.lstm = nn.LSTM(64, 64, 2, bidirectional=True, batch_first=True, dropout=0.2)
            self.head = nn.Linear(128, 5)

        def forward(self, x: Any, lengths: Any) -> Any:
            packed = rnn.pack_padded_sequence(self.words(x), lengths, batch_first=True, enforce_sorted=False)
            _, (h, _) = self.lstm(packed)
            return self.head(torch.cat([h[-2], h[-1]], 1))

    model = Model()
    x, y, lengths = torch.randint(0, 500, (32, 24)), torch.randint(0, 5, (32,)), torch.randint(5, 25, (32,))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

    def step() -> Any:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x, lengths), y)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss.detach()

    return step_of(torch, best, step)


def speech(torch: Any, best: bool) -> Step:
    """Sound to letters: two convolutions, a GRU there and back, CTC (Graves and others 2006); 8 x 80 x 120."""
    torch.manual_seed(0)
    nn, F = torch.nn, torch.nn.functional

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.c1, self.c2 = nn.Conv2d(1, 16, 3, 2, 1), nn.Conv2d(16, 16, 3, (2, 1), 1)
            self.gru = nn.GRU(320, 128, bidirectional=True, batch_first=True)
            self.head = nn.Linear(256, 29)

        def forward(self, x: Any) -> Any:
            x = F.gelu(self.c2(F.gelu(self.c1(x))))
            x = x.flatten(1, 2).transpose(1, 2)
            return self.head(self.gru(x)[0]).log_softmax(-1).transpose(0, 1)

    model = Model()
    x, y = torch.randn(8, 1, 80, 120), torch.randint(1, 29, (8, 20))
    lengths = torch.randint(10, 21, (8,))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4)
    heard = torch.full((8,), 60)
    return trained(torch, best, lambda x, y: F.ctc_loss(model(x), y, heard, lengths), optimizer, x, y)


def wavenet(torch: Any, best: bool) -> Step:
    """Six gated convolutions with dilations of 1 to 32 (van den Oord and others 2016), 32 channels, 4 x 1024."""
    torch.manual_seed(0)
    nn, F = torch.nn, torch.nn.functional

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Conv1d(1, 32, 1)
            self.gates = nn.ModuleList([nn.Conv1d(32, 64, 2, dilation=2**i) for i in range(6)])
            self.outs = nn.ModuleList([nn.Conv1d(32, 32, 1) for i in range(6)])
            self.last = nn.Conv1d(32, 256, 1)

        def forward(self, x: Any) -> Any:
            x, total = self.first(x), 0
            for i, (gate, out) in enumerate(zip(self.gates, self.outs, strict=True)):
                a, b = gate(F.pad(x, (2**i, 0))).chunk(2, dim=1)
                y = out(torch.tanh(a) * torch.sigmoid(b))
                x, total = x + y, total + y
            return self.last(F.relu(total))

    model = Model()
    x, y = torch.rand(4, 1, 1024), torch.randint(0, 256, (4, 1024))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    return trained(torch, best, lambda x, y: F.cross_entropy(model(x), y), optimizer, x, y)


def word2vec(torch: Any, best: bool) -> Step:
    """Words near each other, 20 drawn against them (Mikolov and others 2013): 20,000 x 100, sparse, batch of 256."""
    torch.manual_seed(0)
    nn, F = torch.nn, torch.nn.functional
    into, out = nn.Embedding(20000, 100, sparse=True), nn.Embedding(20000, 100, sparse=True)
    optimizer = torch.optim.SparseAdam([*into.parameters(), *out.parameters()], lr=1e-3)
    centre, near = torch.randint(0, 20000, (256,)), torch.randint(0, 20000, (256,))
    often = torch.rand(20000)

    def step() -> Any:
        optimizer.zero_grad()
        drawn = torch.multinomial(often, 256 * 20, replacement=True).view(256, 20)
        c = into(centre)
        good = F.logsigmoid((c * out(near)).sum(1))
        bad = F.logsigmoid(-torch.bmm(out(drawn), c.unsqueeze(2)).squeeze(2)).sum(1)
        loss = -(good + bad).mean()
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def mixture(torch: Any, best: bool) -> Step:
    """Eight experts of which two are asked, by indices (Shazeer and others 2017): 512 words of 128."""
    torch.manual_seed(0)
    nn, F = torch.nn, torch.nn.functional

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gate = nn.Linear(128, 8)
            self.experts = nn.ModuleList(
                [nn.Sequential(nn.Linear(128, 256), nn.GELU(), nn.Linear(256, 128)) for _ in range(8)]
            )

        def forward(self, x: Any) -> Any:
            weight, chosen = torch.topk(F.softmax(self.gate(x), -1), 2)
            weight = weight / weight.sum(-1, keepdim=True)
            y = torch.zeros_like(x)
            for i, expert in enumerate(self.experts):
                row, place = torch.where(chosen == i)
                y.index_add_(0, row, expert(x[row]) * weight[row, place, None])
            return y

    model = Model()
    x = torch.randn(512, 128)
    target = torch.randn(512, 128)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    return trained(torch, best, lambda x, y: F.mse_loss(model(x), y), optimizer, x, target)


def state_space(torch: Any, best: bool) -> Step:
    """A selective state space (Gu and Dao 2023) by a loop in Python over 32 words: 4 x 64 channels x 16 states."""
    torch.manual_seed(0)
    nn, F = torch.nn, torch.nn.functional

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.enter, self.choose, self.leave = nn.Linear(32, 128), nn.Linear(64, 96), nn.Linear(64, 32)
            self.rate = nn.Parameter(torch.log(torch.arange(1, 17).float()).repeat(64, 1))
            self.conv = nn.Conv1d(64, 64, 4, groups=64, padding=3)

        def forward(self, x: Any) -> Any:
            u, z = self.enter(x).chunk(2, -1)
            u = F.silu(self.conv(u.transpose(1, 2))[..., : x.shape[1]]).transpose(1, 2)
            step, b, c = self.choose(u).split([64, 16, 16], -1)
            step = F.softplus(step)
            a = torch.exp(-step[..., None] * self.rate.exp())
            put = step[..., None] * b[:, :, None] * u[..., None]
            h, out = torch.zeros(x.shape[0], 64, 16), []
            for t in range(x.shape[1]):
                h = a[:, t] * h + put[:, t]
                out.append((h * c[:, t, None]).sum(-1))
            return self.leave(torch.stack(out, 1) * F.silu(z))

    model = Model()
    x = torch.randn(4, 32, 32)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    return trained(torch, best, lambda x: F.mse_loss(model(x), x), optimizer, x)


def seq2seq(torch: Any, best: bool) -> Step:
    """A decoder of GRU cells that looks back by attention (Bahdanau and others 2015): 16 x 12 words, 128."""
    torch.manual_seed(0)
    nn, F = torch.nn, torch.nn.functional

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.encoder = nn.Embedding(300, 64), nn.GRU(64, 128, batch_first=True)
            self.cell, self.key = nn.GRUCell(64 + 128, 128), nn.Linear(128, 128)
            self.ask, self.score, self.head = nn.Linear(128, 128), nn.Linear(128, 1), nn.Linear(128, 300)

        def forward(self, s: Any, t: Any) -> Any:
            seen, h = self.encoder(self.words(s))
            h, keys, out = h[0], self.key(seen), []
            for word in self.words(t).unbind(1):
                w = F.softmax(self.score(torch.tanh(self.ask(h)[:, None] + keys)), 1)
                h = self.cell(torch.cat([word, (w * seen).sum(1)], 1), h)
                out.append(self.head(h))
            return torch.stack(out, 1)

    model = Model()
    s, t = torch.randint(0, 300, (16, 12)), torch.randint(0, 300, (16, 13))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

    def loss(s: Any, t: Any) -> Any:
        return F.cross_entropy(model(s, t[:, :-1]).flatten(0, 1), t[:, 1:].flatten())

    return trained(torch, best, loss, optimizer, s, t)


LANGUAGE: dict[str, tuple[Callable[[Any, bool], Step], str, int]] = {
    "translation": (translation, "nn.Transformer 2 + 2 of 256, 16 x 32 words, masks", 1),
    "llama": (llama, "two Llama layers of 256, 4 x 128 words", 1),
    "packed_lstm": (clipped_lstm, "packed LSTM 2 x 64 both ways, gradients clipped, batch 32", 1),
    "speech": (speech, "convolutions, GRU both ways, CTC, 8 x 80 x 120", 1),
    "wavenet": (wavenet, "WaveNet, six layers of 32, 4 x 1024", 1),
    "word2vec": (word2vec, "word2vec 20,000 x 100, sparse rows, batch 256", 2),
    "mixture": (mixture, "mixture of 8 experts, 512 words of 128", 1),
    "state_space": (state_space, "state space, loop over 32 words", 1),
    "seq2seq": (seq2seq, "GRU cells with attention, 16 x 12 words", 1),
}
