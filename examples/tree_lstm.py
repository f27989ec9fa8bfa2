"""A recursive network over random arithmetic trees: it learns the parity of a sum, and no two trees are alike.

    flambeau run examples/tree_lstm.py           (or: python examples/tree_lstm.py, with PyTorch installed)

After Tai, Socher, Manning (2015, arXiv:1503.00075): an LSTM cell whose two predecessors are the children of a node. The
graph of each step is another one, which is what a dynamic graph is for.
"""

import argparse
import random

import torch
import torch.nn as nn
import torch.nn.functional as F


class TreeLSTM(nn.Module):
    """A tree of digits -> scores of (even, odd)."""

    def __init__(self, width=32):
        super().__init__()
        self.digit = nn.Embedding(4, 2 * width)
        self.cell = nn.Linear(2 * width, 5 * width)
        self.head = nn.Linear(width, 2)

    def node(self, tree):
        if isinstance(tree, int):
            return self.digit(torch.tensor([tree])).chunk(2, dim=1)
        (left_h, left_c), (right_h, right_c) = self.node(tree[0]), self.node(tree[1])
        i, f, g, o, u = self.cell(torch.cat([left_h, right_h], dim=1)).chunk(5, dim=1)
        c = torch.sigmoid(i) * torch.tanh(u) + torch.sigmoid(f) * left_c + torch.sigmoid(g) * right_c
        return torch.sigmoid(o) * torch.tanh(c), c

    def forward(self, tree):
        return self.head(self.node(tree)[0])


def grow(leaves, chance):
    """A random binary tree of digits, and their sum."""
    if leaves == 1:
        digit = chance.randrange(4)
        return digit, digit
    cut = chance.randrange(1, leaves)
    (left, a), (right, b) = grow(cut, chance), grow(leaves - cut, chance)
    return (left, right), a + b


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=1500)
    options = parser.parse_args()

    chance = random.Random(0)
    torch.manual_seed(0)
    model = TreeLSTM()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    total, right, seen = 0.0, 0, 0
    for step in range(1, options.steps + 1):
        tree, value = grow(chance.randrange(2, 3 + 5 * step // options.steps), chance)
        scores = model(tree)
        loss = F.cross_entropy(scores, torch.tensor([value % 2]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total, right, seen = total + loss.item(), right + (scores.argmax().item() == value % 2), seen + 1
        if step % (options.steps // 5) == 0:
            print(f"step {step:5d}: loss {total / seen:.3f}, right {right / seen:.0%}", flush=True)
            total, right, seen = 0.0, 0, 0


if __name__ == "__main__":
    main()
