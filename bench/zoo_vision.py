"""Models of pictures as users write them, a training step each: for the suite's group `zoo`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from models import classifier, inference, residual_net, trained
from workloads import Step, step_of


def vit(torch: Any, best: bool) -> Step:
    """A vision transformer (Dosovitskiy and others 2020): patches of 4 of 3x32x32, 4 layers of 192, batch of 16."""
    torch.manual_seed(0)
    nn = torch.nn

    class ViT(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patches = nn.Conv2d(3, 192, 4, 4)
            self.first = nn.Parameter(torch.zeros(1, 1, 192))
            self.places = nn.Parameter(0.02 * torch.randn(1, 65, 192))
            layer = nn.TransformerEncoderLayer(
                192, 3, 768, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
            )
            self.layers = nn.TransformerEncoder(layer, 4, enable_nested_tensor=False)
            self.norm, self.head = nn.LayerNorm(192), nn.Linear(192, 10)

        def forward(self, x: Any) -> Any:
            x = self.patches(x).flatten(2).transpose(1, 2)
            x = torch.cat([self.first.expand(x.shape[0], -1, -1), x], dim=1) + self.places
            return self.head(self.norm(self.layers(x))[:, 0])

    model = ViT()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, weight_decay=0.05)
    return classifier(torch, best, model, torch.randn(16, 3, 32, 32), 10, optimizer)


def ordered(torch: Any, last: bool, *things: Any) -> Any:
    """Models or pictures with the channels innermost in memory, if they shall be."""
    return [t.to(memory_format=torch.channels_last) if last else t for t in things]


def resnet(images: int, train: bool) -> Callable[[Any, bool, bool], Step]:
    """ResNet-18 on 32x32: a training step or inference."""

    def make(torch: Any, best: bool, last: bool) -> Step:
        torch.manual_seed(0)
        model, x = ordered(torch, last, residual_net(torch), torch.randn(images, 3, 32, 32))
        if not train:
            return inference(torch, best, model, x)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
        return classifier(torch, best, model, x, 10, optimizer)

    return make


def unet(torch: Any, best: bool, last: bool = False) -> Step:
    """Segmentation (Ronneberger and others 2015): 16 to 128 channels on 1x64x64, batch of 4."""
    torch.manual_seed(0)
    nn, F = torch.nn, torch.nn.functional

    def double(given: int, made: int) -> Any:
        layers: list[Any] = []
        for i, o in ((given, made), (made, made)):
            layers += [nn.Conv2d(i, o, 3, padding=1, bias=False), nn.BatchNorm2d(o), nn.ReLU(inplace=True)]
        return nn.Sequential(*layers)

    class UNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            sizes = (16, 32, 64, 128)
            self.down = nn.ModuleList([double(i, o) for i, o in zip((1, *sizes), sizes, strict=False)])
            self.up = nn.ModuleList([nn.ConvTranspose2d(o, o // 2, 2, 2) for o in (128, 64, 32)])
            self.join = nn.ModuleList([double(o, o // 2) for o in (128, 64, 32)])
            self.out = nn.Conv2d(16, 2, 1)

        def forward(self, x: Any) -> Any:
            kept = []
            for block in self.down[:-1]:
                x = block(x)
                kept.append(x)
                x = F.max_pool2d(x, 2)
            x = self.down[-1](x)
            for up, join in zip(self.up, self.join, strict=True):
                x = join(torch.cat([kept.pop(), up(x)], dim=1))
            return self.out(x)

    model, x = ordered(torch, last, UNet(), torch.randn(4, 1, 64, 64))
    y = torch.randint(0, 2, (4, 64, 64))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    return trained(torch, best, lambda x, y: F.cross_entropy(model(x), y), optimizer, x, y)


def diffusion(torch: Any, best: bool, last: bool = False) -> Step:
    """A denoiser (Ho and others 2020): residual blocks, group norm, attention, times embedded; 3x32x32, batch of 8."""
    torch.manual_seed(0)
    nn, F = torch.nn, torch.nn.functional

    class Residual(nn.Module):
        def __init__(self, given: int, made: int):
            super().__init__()
            self.n1, self.c1 = nn.GroupNorm(8, given), nn.Conv2d(given, made, 3, padding=1)
            self.time = nn.Linear(128, made)
            self.n2, self.c2 = nn.GroupNorm(8, made), nn.Conv2d(made, made, 3, padding=1)
            self.short = nn.Conv2d(given, made, 1) if given != made else nn.Identity()

        def forward(self, x: Any, t: Any) -> Any:
            h = self.c1(F.silu(self.n1(x))) + self.time(F.silu(t))[:, :, None, None]
            return self.c2(F.silu(self.n2(h))) + self.short(x)

    class Attention(nn.Module):
        def __init__(self, width: int):
            super().__init__()
            self.norm, self.qkv, self.out = (
                nn.GroupNorm(8, width),
                nn.Conv2d(width, 3 * width, 1),
                nn.Conv2d(width, width, 1),
            )

        def forward(self, x: Any) -> Any:
            b, c, h, w = x.shape
            q, k, v = self.qkv(self.norm(x)).reshape(b, 3, 4, c // 4, h * w).transpose(-1, -2).unbind(1)
            y = F.scaled_dot_product_attention(q, k, v)
            return x + self.out(y.transpose(-1, -2).reshape(b, c, h, w))

    class Denoiser(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.time = nn.Sequential(nn.Linear(32, 128), nn.SiLU(), nn.Linear(128, 128))
            self.first = nn.Conv2d(3, 32, 3, padding=1)
            self.d1, self.d2 = Residual(32, 32), Residual(32, 64)
            self.narrow = nn.Conv2d(32, 32, 3, 2, 1)
            self.middle, self.attention = Residual(64, 64), Attention(64)
            self.u1 = Residual(96, 32)
            self.last = nn.Sequential(nn.GroupNorm(8, 32), nn.SiLU(), nn.Conv2d(32, 3, 3, padding=1))

        def forward(self, x: Any, t: Any) -> Any:
            rates = torch.exp(-torch.arange(16) / 16 * 9.21)
            angles = t[:, None] * rates[None]
            t = self.time(torch.cat([angles.sin(), angles.cos()], dim=-1))
            kept = self.d1(self.first(x), t)
            h = self.d2(self.narrow(kept), t)
            h = F.interpolate(self.attention(self.middle(h, t)), scale_factor=2, mode="nearest")
            return self.last(self.u1(torch.cat([h, kept], dim=1), t))

    model, x = ordered(torch, last, Denoiser(), torch.randn(8, 3, 32, 32))
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-4)
    alpha = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000), 0)

    def loss(x: Any) -> Any:
        t = torch.randint(0, 1000, (x.shape[0],))
        noise, a = torch.randn_like(x), alpha[t].view(-1, 1, 1, 1)
        return F.mse_loss(model(a.sqrt() * x + (1 - a).sqrt() * noise, t.float()), noise)

    return trained(torch, best, loss, optimizer, x)


def mobilenet(torch: Any, best: bool, last: bool = False) -> Step:
    """Inverted residuals with squeeze and excitation (Howard and others 2019): 3x64x64, batch of 16."""
    torch.manual_seed(0)
    nn, F = torch.nn, torch.nn.functional

    class Block(nn.Module):
        def __init__(self, given: int, inner: int, made: int, kernel: int, stride: int):
            super().__init__()
            self.same = stride == 1 and given == made
            self.wide = nn.Sequential(
                nn.Conv2d(given, inner, 1, bias=False), nn.BatchNorm2d(inner), nn.Hardswish()
            )
            self.deep = nn.Sequential(
                nn.Conv2d(inner, inner, kernel, stride, kernel // 2, groups=inner, bias=False),
                nn.BatchNorm2d(inner),
                nn.Hardswish(),
            )
            self.squeeze, self.excite = nn.Conv2d(inner, inner // 4, 1), nn.Conv2d(inner // 4, inner, 1)
            self.narrow = nn.Sequential(nn.Conv2d(inner, made, 1, bias=False), nn.BatchNorm2d(made))

        def forward(self, x: Any) -> Any:
            y = self.deep(self.wide(x))
            s = F.hardsigmoid(self.excite(F.relu(self.squeeze(F.adaptive_avg_pool2d(y, 1)))))
            y = self.narrow(y * s)
            return x + y if self.same else y

    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, 2, 1, bias=False),
        nn.BatchNorm2d(16),
        nn.Hardswish(),
        Block(16, 64, 24, 3, 2),
        Block(24, 72, 24, 3, 1),
        Block(24, 72, 40, 5, 2),
        Block(40, 120, 40, 5, 1),
        Block(40, 240, 80, 3, 2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(80, 100),
    )
    model, x = ordered(torch, last, model, torch.randn(16, 3, 64, 64))
    optimizer = torch.optim.RMSprop(model.parameters(), lr=1e-3, momentum=0.9)
    return classifier(torch, best, model, x, 100, optimizer)


def densenet(torch: Any, best: bool) -> Step:
    """Two dense blocks of six layers (Huang and others 2017), growth 12, 3x32x32, batch of 16."""
    torch.manual_seed(0)
    nn = torch.nn

    class Layer(nn.Module):
        def __init__(self, given: int):
            super().__init__()
            self.norm, self.conv = nn.BatchNorm2d(given), nn.Conv2d(given, 12, 3, padding=1, bias=False)

        def forward(self, x: Any) -> Any:
            return torch.cat([x, self.conv(torch.relu(self.norm(x)))], 1)

    layers: list[Any] = [nn.Conv2d(3, 24, 3, padding=1)]
    width = 24
    for _ in range(2):
        for _ in range(6):
            layers.append(Layer(width))
            width += 12
        layers += [nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, width // 2, 1), nn.AvgPool2d(2)]
        width //= 2
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-4)
    return classifier(torch, best, model, torch.randn(16, 3, 32, 32), 10, optimizer)


def convnext(torch: Any, best: bool, last: bool = False) -> Step:
    """Three blocks of ConvNeXt (Liu and others 2022) of 96 channels at 16x16 after a stem of 2x2, batch of 8."""
    torch.manual_seed(0)
    nn = torch.nn

    class Block(nn.Module):
        def __init__(self, width: int):
            super().__init__()
            self.deep = nn.Conv2d(width, width, 7, padding=3, groups=width)
            self.norm = nn.LayerNorm(width, eps=1e-6)
            self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
            self.gamma = nn.Parameter(1e-6 * torch.ones(width))

        def forward(self, x: Any) -> Any:
            y = self.norm(self.deep(x).permute(0, 2, 3, 1))
            y = self.gamma * self.narrow(nn.functional.gelu(self.wide(y)))
            return x + y.permute(0, 3, 1, 2)

    net = nn.Sequential(
        nn.Conv2d(3, 96, 2, 2),
        Block(96),
        Block(96),
        Block(96),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(96, 10),
    )
    model, x = ordered(torch, last, net, torch.randn(8, 3, 32, 32))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    return classifier(torch, best, model, x, 10, optimizer)


def swin(torch: Any, best: bool) -> Step:
    """Two blocks with shifted windows (Liu and others 2021): 16x16 places of 96, windows of 4, batch of 8."""
    torch.manual_seed(0)
    nn, F = torch.nn, torch.nn.functional

    class Block(nn.Module):
        def __init__(self, shift: int):
            super().__init__()
            self.shift = shift
            self.n1, self.n2 = nn.LayerNorm(96), nn.LayerNorm(96)
            self.qkv, self.out = nn.Linear(96, 288), nn.Linear(96, 96)
            self.table = nn.Parameter(0.02 * torch.randn(49, 3))
            row = torch.stack(torch.meshgrid(torch.arange(4), torch.arange(4), indexing="ij")).flatten(1)
            apart = row[:, :, None] - row[:, None, :] + 3
            self.register_buffer("place", apart[0] * 7 + apart[1])
            self.mlp = nn.Sequential(nn.Linear(96, 384), nn.GELU(), nn.Linear(384, 96))

        def forward(self, x: Any) -> Any:
            b = x.shape[0]
            y = torch.roll(self.n1(x), (-self.shift, -self.shift), (1, 2))
            y = y.view(b, 4, 4, 4, 4, 96).permute(0, 1, 3, 2, 4, 5).reshape(-1, 16, 96)
            q, k, v = self.qkv(y).view(-1, 16, 3, 3, 32).permute(2, 0, 3, 1, 4)
            scores = q @ k.transpose(-2, -1) * 32**-0.5
            scores = scores + self.table[self.place.view(-1)].view(16, 16, 3).permute(2, 0, 1)
            y = self.out((F.softmax(scores, -1) @ v).transpose(1, 2).reshape(-1, 16, 96))
            y = y.view(b, 4, 4, 4, 4, 96).permute(0, 1, 3, 2, 4, 5).reshape(b, 16, 16, 96)
            x = x + torch.roll(y, (self.shift, self.shift), (1, 2))
            return x + self.mlp(self.n2(x))

    class Swin(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.blocks, self.head = (
                nn.Conv2d(3, 96, 2, 2),
                nn.Sequential(Block(0), Block(2)),
                nn.Linear(96, 10),
            )

        def forward(self, x: Any) -> Any:
            return self.head(self.blocks(self.stem(x).permute(0, 2, 3, 1)).mean((1, 2)))

    model = Swin()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    return classifier(torch, best, model, torch.randn(8, 3, 32, 32), 10, optimizer)


def dcgan(torch: Any, best: bool, last: bool = False) -> Step:
    """Two nets against each other (Radford and others 2015): 3x32x32, batch of 16, two optimisers."""
    torch.manual_seed(0)
    nn, F = torch.nn, torch.nn.functional
    maker = nn.Sequential(
        nn.ConvTranspose2d(64, 128, 4, 1, 0, bias=False), nn.BatchNorm2d(128), nn.ReLU(True),
        nn.ConvTranspose2d(128, 64, 4, 2, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU(True),
        nn.ConvTranspose2d(64, 32, 4, 2, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU(True),
        nn.ConvTranspose2d(32, 3, 4, 2, 1), nn.Tanh(),
    )  # fmt: skip
    judge = nn.Sequential(
        nn.Conv2d(3, 32, 4, 2, 1), nn.LeakyReLU(0.2, True),
        nn.Conv2d(32, 64, 4, 2, 1, bias=False), nn.BatchNorm2d(64), nn.LeakyReLU(0.2, True),
        nn.Conv2d(64, 128, 4, 2, 1, bias=False), nn.BatchNorm2d(128), nn.LeakyReLU(0.2, True),
        nn.Conv2d(128, 1, 4), nn.Flatten(0),
    )  # fmt: skip
    maker, judge, real = ordered(torch, last, maker, judge, torch.randn(16, 3, 32, 32))
    o1 = torch.optim.Adam(maker.parameters(), lr=2e-4, betas=(0.5, 0.999))
    o2 = torch.optim.Adam(judge.parameters(), lr=2e-4, betas=(0.5, 0.999))
    yes, no = torch.ones(16), torch.zeros(16)
    loss = F.binary_cross_entropy_with_logits

    def step() -> Any:
        fake = maker(torch.randn(16, 64, 1, 1))
        o2.zero_grad()
        judged = loss(judge(real), yes) + loss(judge(fake.detach()), no)
        judged.backward()
        o2.step()
        o1.zero_grad()
        made = loss(judge(fake), yes)
        made.backward()
        o1.step()
        return (judged + made).detach()

    return step_of(torch, best, step)


def contrastive(torch: Any, best: bool) -> Step:
    """Two views of 64 things told apart from all others (Chen and others 2020), a net of 256."""
    torch.manual_seed(0)
    nn, F = torch.nn, torch.nn.functional
    model = nn.Sequential(nn.Linear(512, 256), nn.BatchNorm1d(256), nn.ReLU(), nn.Linear(256, 128))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def loss(a: Any, b: Any) -> Any:
        z = F.normalize(model(torch.cat([a, b])), dim=1)
        scores = (z @ z.T / 0.5).masked_fill(torch.eye(128, dtype=torch.bool), float("-inf"))
        target = torch.cat([torch.arange(64, 128), torch.arange(64)])
        return F.cross_entropy(scores, target)

    return trained(torch, best, loss, optimizer, torch.randn(64, 512), torch.randn(64, 512))


VISION: dict[str, tuple[Callable[[Any, bool], Step], str, int]] = {
    "vit": (vit, "vision transformer, 4 layers of 192, batch 16", 1),
    "unet": (unet, "UNet 16 to 128 channels, 64x64, batch 4", 1),
    "diffusion": (diffusion, "diffusion denoiser, 32 to 64 channels, 32x32, batch 8", 1),
    "mobilenet": (mobilenet, "MobileNetV3 blocks, 64x64, batch 16", 1),
    "densenet": (densenet, "DenseNet, two blocks, 32x32, batch 16", 1),
    "convnext": (convnext, "ConvNeXt, three blocks of 96, batch 8", 1),
    "swin": (swin, "Swin, two blocks of 96, batch 8", 1),
    "dcgan": (dcgan, "DCGAN 32x32, batch 16", 1),
    "contrastive": (contrastive, "contrastive loss, 2 x 64", 5),
}
INNERMOST: dict[str, tuple[Callable[[Any, bool], Step], str, int]] = {
    "resnet_last": (partial(resnet(32, True), last=True), "ResNet-18 on 32x32, batch 32", 1),
    "resnet_infer_last": (
        partial(resnet(32, False), last=True),
        "ResNet-18 on 32x32, batch 32, inference",
        1,
    ),
    "unet_last": (partial(unet, last=True), VISION["unet"][1], 1),
    "mobilenet_last": (partial(mobilenet, last=True), VISION["mobilenet"][1], 1),
    "diffusion_last": (partial(diffusion, last=True), VISION["diffusion"][1], 1),
    "convnext_last": (partial(convnext, last=True), VISION["convnext"][1], 1),
    "dcgan_last": (partial(dcgan, last=True), VISION["dcgan"][1], 1),
}
