"""A small GPT that learns to write the text of this very file, letter by letter.

    flambeau run examples/char_gpt.py            (or: python examples/char_gpt.py, with PyTorch installed)

After Radford and others (2018): embeddings, blocks of causal self-attention and a feed-forward net with residuals, a
layer norm before each, and a linear head; trained with AdamW on random windows.
"""

import argparse

import torch
import torch.nn as nn
import torch.nn.functional as F


class Block(nn.Module):
    """Attention over what came before, then a feed-forward net."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.grow, self.shrink = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def attend(self, x):
        batch, length, width = x.shape
        q, k, v = (
            self.qkv(x)
            .view(batch, length, 3, self.heads, width // self.heads)
            .permute(2, 0, 3, 1, 4)
            .unbind(0)
        )
        scores = q @ k.transpose(-2, -1) / (width // self.heads) ** 0.5
        future = torch.ones(length, length, dtype=torch.bool).triu(1)
        weights = F.softmax(scores.masked_fill(future, float("-inf")), dim=-1)
        return self.out((weights @ v).transpose(1, 2).reshape(batch, length, width))

    def forward(self, x):
        x = x + self.attend(self.norm1(x))
        return x + self.shrink(F.gelu(self.grow(self.norm2(x))))


class GPT(nn.Module):
    """Letters in, scores of the next letter out."""

    def __init__(self, letters, width=64, heads=4, depth=2, window=32):
        super().__init__()
        self.window = window
        self.letter, self.place = nn.Embedding(letters, width), nn.Embedding(window, width)
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, letters)

    def forward(self, x):
        places = torch.arange(x.shape[1])
        return self.head(self.norm(self.blocks(self.letter(x) + self.place(places))))

    @torch.no_grad()
    def write(self, x, count):
        for _ in range(count):
            chances = F.softmax(self(x[:, -self.window :])[:, -1], dim=-1)
            x = torch.cat([x, torch.multinomial(chances, 1)], dim=1)
        return x


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--letters", type=int, default=200, help="how many to write at the end")
    options = parser.parse_args()

    with open(__file__, encoding="utf-8") as file:
        text = file.read()
    alphabet = sorted(set(text))
    number = {letter: i for i, letter in enumerate(alphabet)}
    data = torch.tensor([number[letter] for letter in text])

    torch.manual_seed(0)
    model = GPT(len(alphabet))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for step in range(options.steps):
        starts = torch.randint(0, len(data) - model.window - 1, (16,)).tolist()
        x = torch.stack([data[i : i + model.window] for i in starts])
        y = torch.stack([data[i + 1 : i + model.window + 1] for i in starts])
        loss = F.cross_entropy(model(x).flatten(0, 1), y.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 50 == 0 or step == options.steps - 1:
            print(f"step {step:4d}: loss {loss.item():.3f}", flush=True)
    print("".join(alphabet[i] for i in model.write(data[None, :8], options.letters)[0].tolist()))


if __name__ == "__main__":
    main()
