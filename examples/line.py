"""A line through points, by hand: tensors, a gradient, a step; no module and no optimiser.

flambeau run examples/line.py           (or: python examples/line.py, with PyTorch installed)
"""

import torch

torch.manual_seed(0)
x = torch.linspace(-1, 1, 100)
y = 2 * x + 3 + 0.1 * torch.randn(100)

slope = torch.zeros((), requires_grad=True)
height = torch.zeros((), requires_grad=True)
for step in range(200):
    loss = ((slope * x + height - y) ** 2).mean()
    loss.backward()
    with torch.no_grad():
        for parameter in (slope, height):
            parameter -= 0.1 * parameter.grad
            parameter.grad = None
    if step % 50 == 49:
        print(f"step {step + 1}: loss {loss.item():.4f}, y = {slope.item():.3f} x + {height.item():.3f}")
