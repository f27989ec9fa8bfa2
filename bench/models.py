"""Whole models, a training step or an inference each, written once over a module that speaks PyTorch's API.

`make(torch, best) -> step`. best: each side's best mode. PyTorch compiles model and loss (`torch.compile`), flambeau
the whole step; without it both run as the program is written.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import workloads
from workloads import Step, forward_of, step_of


def trained(torch: Any, best: bool, forward: Callable[..., Any], optimizer: Any, *inputs: Any) -> Step:
    """A step of training on one batch: forward gives the loss of the inputs."""
    forward = forward_of(torch, best, forward)

    def step() -> Any:
        optimizer.zero_grad()
        loss = forward(*inputs)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step_of(torch, best, step)


def classifier(torch: Any, best: bool, model: Any, x: Any, classes: int, optimizer: Any) -> Step:
    """Cross entropy of random labels."""
    y = torch.randint(0, classes, (x.shape[0],))
    loss = torch.nn.CrossEntropyLoss()
    return trained(torch, best, lambda x, y: loss(model(x), y), optimizer, x, y)


def mlp(torch: Any, best: bool) -> Step:
    """784-128-10, batch of 64, SGD."""
    torch.manual_seed(0)
    nn = torch.nn
    model = nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))
    return classifier(
        torch, best, model, torch.randn(64, 784), 10, torch.optim.SGD(model.parameters(), lr=0.01)
    )


def linear_regression(torch: Any, best: bool) -> Step:
    """100 points of a line."""
    torch.manual_seed(0)
    x = torch.randn(100, 1)
    y = 2 * x + 3 + 0.2 * torch.randn(100, 1)
    model, loss = torch.nn.Linear(1, 1), torch.nn.MSELoss(reduction="sum")
    return trained(
        torch, best, lambda x, y: loss(model(x), y), torch.optim.SGD(model.parameters(), lr=0.001), x, y
    )


def lenet(batch: int) -> Callable[[Any, bool], Step]:
    """The documents' network for CIFAR, momentum."""

    def make(torch: Any, best: bool) -> Step:
        torch.manual_seed(0)
        model = workloads.lenet_model(torch)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.001, momentum=0.9)
        return classifier(torch, best, model, torch.randn(batch, 3, 32, 32), 10, optimizer)

    return make


def residual_net(torch: Any) -> Any:
    """ResNet-18 for images of 32x32 (He and others 2016): a first convolution of 3x3, no pooling in front."""
    nn = torch.nn

    class Block(nn.Module):
        def __init__(self, given: int, made: int, stride: int):
            super().__init__()
            self.conv1 = nn.Conv2d(given, made, 3, stride, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(made)
            self.conv2 = nn.Conv2d(made, made, 3, 1, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(made)
            self.short = nn.Sequential()
            if stride != 1 or given != made:
                self.short = nn.Sequential(
                    nn.Conv2d(given, made, 1, stride, bias=False), nn.BatchNorm2d(made)
                )

        def forward(self, x: Any) -> Any:
            y = torch.relu(self.bn1(self.conv1(x)))
            return torch.relu(self.bn2(self.conv2(y)) + self.short(x))

    layers: list[Any] = [nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU()]
    given = 64
    for made, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        layers += [Block(given, made, stride), Block(made, made, 1)]
        given = made
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10))


def resnet_train(torch: Any, best: bool) -> Step:
    """Batch of 32, SGD with momentum."""
    torch.manual_seed(0)
    model = residual_net(torch)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    return classifier(torch, best, model, torch.randn(32, 3, 32, 32), 10, optimizer)


def inference(torch: Any, best: bool, model: Any, x: Any) -> Step:
    """The model's answer, without gradient."""
    model = model.eval()
    if best:
        model = torch.compile(model)

    def step() -> Any:
        with torch.no_grad():
            return model(x)

    return step


def resnet_infer(torch: Any, best: bool) -> Step:
    """One image."""
    torch.manual_seed(0)
    return inference(torch, best, residual_net(torch), torch.randn(1, 3, 32, 32))


def gpt(width: int, block: int, batch: int) -> Callable[[Any, bool], Step]:
    """Four layers of causal attention and a feed-forward net (as nanoGPT has them), AdamW, 65 letters."""

    def make(torch: Any, best: bool) -> Step:
        torch.manual_seed(0)
        nn, F, heads, letters = torch.nn, torch.nn.functional, 4 if width < 512 else 8, 65

        class Block(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
                self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
                self.grow, self.shrink = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

            def forward(self, x: Any) -> Any:
                n, length, _ = x.shape
                q, k, v = self.qkv(self.norm1(x)).split(width, dim=2)
                q, k, v = (t.view(n, length, heads, width // heads).transpose(1, 2) for t in (q, k, v))
                y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
                x = x + self.out(y.transpose(1, 2).contiguous().view(n, length, width))
                return x + self.shrink(F.gelu(self.grow(self.norm2(x))))

        class GPT(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.letter, self.place = nn.Embedding(letters, width), nn.Embedding(block, width)
                self.blocks = nn.Sequential(*(Block() for _ in range(4)))
                self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, letters, bias=False)

            def forward(self, x: Any, y: Any) -> Any:
                h = self.letter(x) + self.place(torch.arange(block))
                scores = self.head(self.norm(self.blocks(h)))
                return F.cross_entropy(scores.view(-1, letters), y.view(-1))

        model = GPT()
        x, y = torch.randint(0, letters, (batch, block)), torch.randint(0, letters, (batch, block))
        return trained(torch, best, model, torch.optim.AdamW(model.parameters(), lr=1e-3), x, y)

    return make


def lstm_language_model(torch: Any, best: bool) -> Step:
    """Embedding 128, two layers of 256, sequences of 64, batch of 20, 1,000 words, SGD."""
    torch.manual_seed(0)
    nn = torch.nn

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.rnn = nn.Embedding(1000, 128), nn.LSTM(128, 256, 2, batch_first=True)
            self.head = nn.Linear(256, 1000)

        def forward(self, x: Any, y: Any) -> Any:
            h, _ = self.rnn(self.words(x))
            return nn.functional.cross_entropy(self.head(h).view(-1, 1000), y.view(-1))

    model = Model()
    x, y = torch.randint(0, 1000, (20, 64)), torch.randint(0, 1000, (20, 64))
    return trained(torch, best, model, torch.optim.SGD(model.parameters(), lr=0.1), x, y)


def vae(torch: Any, best: bool) -> Step:
    """A variational autoencoder 784-400-20-400-784 (Kingma and Welling 2014), batch of 128, Adam."""
    torch.manual_seed(0)
    nn, F = torch.nn, torch.nn.functional

    class VAE(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc1, self.mean, self.log_var = nn.Linear(784, 400), nn.Linear(400, 20), nn.Linear(400, 20)
            self.fc3, self.fc4 = nn.Linear(20, 400), nn.Linear(400, 784)

        def forward(self, x: Any) -> Any:
            h = F.relu(self.fc1(x))
            mean, log_var = self.mean(h), self.log_var(h)
            std = torch.exp(0.5 * log_var)
            z = mean + torch.randn_like(std) * std
            made = torch.sigmoid(self.fc4(F.relu(self.fc3(z))))
            likelihood = F.binary_cross_entropy(made, x, reduction="sum")
            return likelihood - 0.5 * torch.sum(1 + log_var - mean.pow(2) - log_var.exp())

    model = VAE()
    x = torch.rand(128, 784)
    return trained(torch, best, model, torch.optim.Adam(model.parameters(), lr=1e-3), x)


def embedding_model(torch: Any, best: bool) -> Step:
    """Matrix factorisation: 10,000 users and 5,000 things of 32 numbers each, batch of 512, SGD."""
    torch.manual_seed(0)
    nn = torch.nn

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.users, self.things = nn.Embedding(10000, 32), nn.Embedding(5000, 32)

        def forward(self, users: Any, things: Any, score: Any) -> Any:
            guess = (self.users(users) * self.things(things)).sum(1)
            return nn.functional.mse_loss(guess, score)

    model = Model()
    users, things = torch.randint(0, 10000, (512,)), torch.randint(0, 5000, (512,))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return trained(torch, best, model, optimizer, users, things, torch.randn(512))


def adam_300(torch: Any, best: bool) -> Step:
    """Adam over 300 parameters of 100 numbers."""
    torch.manual_seed(0)
    parameters = [torch.nn.Parameter(torch.randn(10, 10)) for _ in range(300)]
    for p in parameters:
        p.grad = torch.randn(10, 10)
    optimizer = torch.optim.Adam(parameters, lr=1e-3)

    def step() -> Any:
        optimizer.step()
        return parameters[-1].detach()

    return torch.compile(step) if best else step


MODELS: dict[str, tuple[Callable[[Any, bool], Step], str, int]] = {  # name -> maker, title, calls in a round
    "linear_regression": (linear_regression, "linear regression, batch 100, SGD", 100),
    "mlp": (mlp, "784-128-10, batch 64, SGD", 50),
    "lenet_4": (lenet(4), "LeNet on 3x32x32, batch 4, momentum", 20),
    "lenet_128": (lenet(128), "LeNet on 3x32x32, batch 128, momentum", 2),
    "resnet_train": (resnet_train, "ResNet-18 on 32x32, batch 32, momentum", 1),
    "resnet_infer": (resnet_infer, "ResNet-18 on 32x32, one image, inference", 2),
    "gpt_small": (gpt(128, 64, 12), "GPT, 4 layers, d 128, block 64, batch 12, AdamW", 1),
    "gpt_large": (gpt(512, 256, 4), "GPT, 4 layers, d 512, block 256, batch 4, AdamW", 1),
    "lstm_lm": (lstm_language_model, "LSTM language model, 2 x 256, 64 steps, batch 20", 1),
    "vae": (vae, "VAE 784-400-20, batch 128, Adam", 5),
    "embedding": (embedding_model, "embedding model, 15,000 x 32, batch 512", 5),
    "adam_300": (adam_300, "Adam over 300 tensors of 100", 5),
}
