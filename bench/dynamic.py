"""What a dynamic graph is for: programs whose structure, lengths or data change at each step.

`make(torch, best) -> step`. best: each side's best mode. Where every step has one structure, as in models.py: PyTorch
compiles the loss, flambeau the whole step. Where it changes, both compile the cell, layer or network that comes again.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import workloads
from workloads import Step, forward_of, step_of


def chain(grad: bool) -> Callable[[Any, bool], Step]:
    """100 operations on 64 numbers, each on the result of the one before; with gradient, also the way back."""

    def make(torch: Any, best: bool) -> Step:
        x = torch.ones(64, requires_grad=grad)
        b, c = torch.full((64,), 0.999), torch.full((64,), 0.001)

        def forward(y: Any) -> Any:
            for _ in range(25):
                y = torch.relu((y * b + c) - 0.0005)
            return y.sum() if grad else y

        run = forward_of(torch, best, forward)

        def step() -> Any:
            y = run(x)
            if not grad:
                return y
            x.grad = None
            y.backward()
            return x.grad

        return step_of(torch, best, step)

    return make


def cell_over_lengths(torch: Any, best: bool) -> Step:
    """An LSTM cell in a Python loop over a sentence of 1 to 200 words, width 32, one step of SGD."""
    torch.manual_seed(0)
    nn, chance = torch.nn, random.Random(0)
    words, cell, head = nn.Embedding(50, 32), nn.LSTMCell(32, 32), nn.Linear(32, 2)
    optimizer = torch.optim.SGD([*words.parameters(), *cell.parameters(), *head.parameters()], lr=0.01)
    label = torch.tensor([1])
    run = torch.compile(cell) if best else cell

    def step() -> Any:
        sentence = torch.tensor([chance.randrange(50) for _ in range(chance.randrange(1, 201))])
        h = c = torch.zeros(1, 32)
        for vector in words(sentence).unbind(0):
            h, c = run(vector.unsqueeze(0), (h, c))
        loss = nn.functional.cross_entropy(head(h), label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def numpy_batches(torch: Any, best: bool) -> Step:
    """784-128-10 on a fresh NumPy batch of 64 at each step."""
    torch.manual_seed(0)
    nn, rng = torch.nn, np.random.default_rng(0)
    model = nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    batches = [(rng.random((64, 784), dtype=np.float32), rng.integers(0, 10, 64)) for _ in range(8)]
    state = {"at": 0}
    forward = forward_of(torch, best, lambda x, y: nn.functional.cross_entropy(model(x), y))

    def learn(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        loss = forward(x, y)
        loss.backward()
        optimizer.step()
        return loss.detach()

    run = step_of(torch, best, learn)

    def step() -> Any:
        images, labels = batches[state["at"] % 8]
        state["at"] += 1
        return run(torch.from_numpy(images.copy()), torch.from_numpy(labels.copy()))

    return step


def accumulation(torch: Any, best: bool) -> Step:
    """784-128-10, the gradients of four batches of 16 added before each step."""
    torch.manual_seed(0)
    nn = torch.nn
    model = nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    batches = [(torch.randn(16, 784), torch.randint(0, 10, (16,))) for _ in range(4)]
    forward = forward_of(torch, best, lambda x, y: nn.functional.cross_entropy(model(x), y) / 4)

    def step() -> Any:
        optimizer.zero_grad()
        for x, y in batches:
            loss = forward(x, y)
            loss.backward()
        optimizer.step()
        return loss.detach()

    return step_of(torch, best, step)


def hand_sgd(torch: Any, best: bool) -> Step:
    """784-128-10 with weights, forward and update written by hand."""
    torch.manual_seed(0)
    w1, w2 = torch.randn(784, 128) * 0.03, torch.randn(128, 10) * 0.1
    b1, b2 = torch.zeros(128), torch.zeros(10)
    parameters = [p.requires_grad_() for p in (w1, b1, w2, b2)]
    x, y = torch.randn(64, 784), torch.randint(0, 10, (64,))

    def loss_of(x: Any, y: Any) -> Any:
        scores = torch.relu(x @ w1 + b1) @ w2 + b2
        shifted = scores - scores.max(1, keepdim=True).values
        return (shifted.exp().sum(1).log() - shifted.gather(1, y[:, None])[:, 0]).mean()

    forward = forward_of(torch, best, loss_of)

    def step() -> Any:
        loss = forward(x, y)
        loss.backward()
        with torch.no_grad():
            for p in parameters:
                p -= 0.01 * p.grad
                p.grad = None
        return loss.detach()

    return step_of(torch, best, step)


def one_shot(torch: Any, best: bool) -> Step:
    """200 expressions of three to eight operations over matrices of random sizes: none comes twice, no better mode."""
    if best:
        raise NotImplementedError("nothing comes twice: there is nothing to compile")
    chance = random.Random(0)
    unary = [torch.relu, torch.exp, torch.tanh, torch.sigmoid, torch.neg, torch.sqrt, torch.abs, torch.sin]
    binary = [torch.add, torch.mul, torch.sub, torch.maximum, torch.minimum]

    def step() -> Any:
        results = []
        for _ in range(200):
            rows, columns = chance.randrange(2, 40), chance.randrange(2, 40)
            x = torch.full((rows, columns), 0.5)
            y = torch.full((columns,), 0.25)
            for _ in range(chance.randrange(3, 9)):
                x = chance.choice(unary)(x) if chance.random() < 0.5 else chance.choice(binary)(x, y)
            results.append(x.sum())
        return results

    return step


DYNAMIC: dict[str, tuple[Callable[[Any, bool], Step], str, int]] = {
    "chain": (chain(False), "chain of 100 tiny operations", 20),
    "chain_grad": (chain(True), "chain of 100 tiny operations, there and back", 10),
    "random_trees": (workloads.random_trees, "LSTM over random trees", 10),
    "cell_lengths": (cell_over_lengths, "LSTM cell in a loop, 1 to 200 words", 4),
    "random_depth": (workloads.random_depth, "net of random depth", 20),
    "environment": (workloads.environment, "environment loop, ten steps", 10),
    "numpy_batches": (numpy_batches, "784-128-10, a fresh NumPy batch each step", 20),
    "accumulation": (accumulation, "784-128-10, gradients of 4 batches added", 10),
    "hand_sgd": (hand_sgd, "784-128-10, SGD written by hand", 20),
    "one_shot": (one_shot, "200 different one-shot expressions", 1),
}
