"""The models of models.py that are easily written in JAX, each a training step under `jax.jit` with donated state.

The same shapes, losses and optimisers; random numbers and initial values are JAX's own. `make() -> step`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Step = Callable[[], Any]
Update = Callable[[Any, Any, Any], tuple[Any, Any]]


def normal(*shape: int, scale: float = 1.0) -> Any:
    """Random numbers."""
    return jnp.asarray(np.random.default_rng(len(shape)).standard_normal(shape) * scale, jnp.float32)


def layer(given: int, made: int, bias: bool = True) -> dict[str, Any]:
    """The parameters of a linear layer."""
    weight = {"w": normal(given, made, scale=given**-0.5)}
    return {**weight, "b": jnp.zeros(made)} if bias else weight


def linear(p: dict[str, Any], x: Any) -> Any:
    """x w + b."""
    y = x @ p["w"]
    return y + p["b"] if "b" in p else y


def cross_entropy(scores: Any, y: Any) -> Any:
    """Its mean over a batch."""
    return -jnp.take_along_axis(jax.nn.log_softmax(scores), y[:, None], 1).mean()


def sgd(lr: float, momentum: float = 0.0) -> tuple[Callable[[Any], Any], Update]:
    """Initial state and update."""

    def update(p: Any, g: Any, state: Any) -> tuple[Any, Any]:
        if momentum:
            state = g = jax.tree.map(lambda m, d: momentum * m + d, state, g)
        return jax.tree.map(lambda w, d: w - lr * d, p, g), state

    return lambda p: jax.tree.map(jnp.zeros_like, p) if momentum else (), update


def adam(lr: float, decay: float = 0.0) -> tuple[Callable[[Any], Any], Update]:
    """Adam, with the decay of AdamW."""

    def update(p: Any, g: Any, state: Any) -> tuple[Any, Any]:
        m, v, t = state
        t = t + 1
        m = jax.tree.map(lambda a, d: 0.9 * a + 0.1 * d, m, g)
        v = jax.tree.map(lambda a, d: 0.999 * a + 0.001 * d * d, v, g)
        size, root = lr / (1 - 0.9**t), jnp.sqrt(1 - 0.999**t)
        new = jax.tree.map(
            lambda w, a, b: w * (1 - lr * decay) - size * a / (jnp.sqrt(b) / root + 1e-8), p, m, v
        )
        return new, (m, v, t)

    zeros = functools.partial(jax.tree.map, jnp.zeros_like)
    return lambda p: (zeros(p), zeros(p), jnp.zeros(())), update


def training(loss: Callable[..., Any], p: Any, optimizer: tuple[Any, Update], *inputs: Any) -> Step:
    """A step that gives the loss of the inputs and moves the parameters."""
    begin, update = optimizer

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def run(p: Any, state: Any, *inputs: Any) -> tuple[Any, Any, Any]:
        value, g = jax.value_and_grad(loss)(p, *inputs)
        return *update(p, g, state), value

    held = [p, begin(p)]

    def step() -> Any:
        held[0], held[1], value = run(held[0], held[1], *inputs)
        return value

    return step


def labels(n: int, classes: int) -> Any:
    """Random classes."""
    return jnp.asarray(np.random.default_rng(0).integers(0, classes, n))


def linear_regression() -> Step:
    """As in models.py."""
    x = normal(100, 1)
    y = 2 * x + 3 + 0.2 * normal(100, 1)
    return training(lambda p, x, y: ((linear(p, x) - y) ** 2).sum(), layer(1, 1), sgd(0.001), x, y)


def mlp() -> Step:
    """As in models.py."""

    def loss(p: Any, x: Any, y: Any) -> Any:
        return cross_entropy(linear(p[1], jax.nn.relu(linear(p[0], x))), y)

    return training(loss, [layer(784, 128), layer(128, 10)], sgd(0.01), normal(64, 784), labels(64, 10))


def lenet(batch: int) -> Callable[[], Step]:
    """As in models.py."""

    def convolve(p: Any, x: Any) -> Any:
        y = jax.lax.conv(x, p["w"], (1, 1), "VALID") + p["b"][:, None, None]
        return jax.lax.reduce_window(
            jax.nn.relu(y), -jnp.inf, jax.lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID"
        )

    def loss(p: Any, x: Any, y: Any) -> Any:
        h = convolve(p[1], convolve(p[0], x)).reshape(x.shape[0], -1)
        return cross_entropy(linear(p[4], jax.nn.relu(linear(p[3], jax.nn.relu(linear(p[2], h))))), y)

    def make() -> Step:
        p = [
            {"w": normal(6, 3, 5, 5, scale=0.1), "b": jnp.zeros(6)},
            {"w": normal(16, 6, 5, 5, scale=0.1), "b": jnp.zeros(16)},
            layer(400, 120),
            layer(120, 84),
            layer(84, 10),
        ]
        return training(loss, p, sgd(0.001, 0.9), normal(batch, 3, 32, 32), labels(batch, 10))

    return make


def gpt(width: int, block: int, batch: int) -> Callable[[], Step]:
    """As in models.py."""
    heads, letters = 4 if width < 512 else 8, 65

    def norm(p: Any, x: Any) -> Any:
        x = x - x.mean(-1, keepdims=True)
        return x * jax.lax.rsqrt((x * x).mean(-1, keepdims=True) + 1e-5) * p["w"] + p["b"]

    def attend(p: Any, x: Any) -> Any:
        n, length, _ = x.shape
        q, k, v = jnp.split(linear(p["qkv"], norm(p["norm1"], x)), 3, axis=2)
        q, k, v = (t.reshape(n, length, heads, width // heads) for t in (q, k, v))
        y = jax.nn.dot_product_attention(q, k, v, is_causal=True).reshape(n, length, width)
        x = x + linear(p["out"], y)
        h = jax.nn.gelu(linear(p["grow"], norm(p["norm2"], x)), approximate=False)
        return x + linear(p["shrink"], h)

    def loss(p: Any, x: Any, y: Any) -> Any:
        h = p["letter"][x] + p["place"]
        for one in p["blocks"]:
            h = attend(one, h)
        return cross_entropy(linear(p["head"], norm(p["norm"], h)).reshape(-1, letters), y.reshape(-1))

    def scale() -> dict[str, Any]:
        return {"w": jnp.ones(width), "b": jnp.zeros(width)}

    def make() -> Step:
        blocks = [
            {
                "norm1": scale(),
                "norm2": scale(),
                "qkv": layer(width, 3 * width),
                "out": layer(width, width),
                "grow": layer(width, 4 * width),
                "shrink": layer(4 * width, width),
            }
            for _ in range(4)
        ]
        p = {
            "letter": normal(letters, width),
            "place": normal(block, width),
            "blocks": blocks,
            "norm": scale(),
            "head": layer(width, letters, bias=False),
        }
        x, y = labels(batch * block, letters), labels(batch * block + 1, letters)[1:]
        shape = (batch, block)
        return training(loss, p, adam(1e-3, 0.01), x.reshape(shape), y.reshape(shape))

    return make


def vae() -> Step:
    """As in models.py; the key of the random numbers is part of the state."""

    def loss(p: Any, x: Any) -> Any:
        h = jax.nn.relu(linear(p["1"], x))
        mean, log_var = linear(p["mean"], h), linear(p["log_var"], h)
        key = jax.random.PRNGKey(jax.lax.bitcast_convert_type(p["1"]["b"][0], jnp.int32))
        z = mean + jax.random.normal(key, mean.shape) * jnp.exp(0.5 * log_var)
        made = jax.nn.sigmoid(linear(p["4"], jax.nn.relu(linear(p["3"], z))))
        log, other = jnp.maximum(jnp.log(made), -100), jnp.maximum(jnp.log1p(-made), -100)
        likelihood = -(x * log + (1 - x) * other).sum()
        return likelihood - 0.5 * (1 + log_var - mean**2 - jnp.exp(log_var)).sum()

    p = {
        "1": layer(784, 400),
        "mean": layer(400, 20),
        "log_var": layer(400, 20),
        "3": layer(20, 400),
        "4": layer(400, 784),
    }
    return training(loss, p, adam(1e-3), jnp.abs(normal(128, 784)) % 1)


def embedding_model() -> Step:
    """As in models.py."""

    def loss(p: Any, users: Any, things: Any, score: Any) -> Any:
        return (((p["users"][users] * p["things"][things]).sum(1) - score) ** 2).mean()

    p = {"users": normal(10000, 32), "things": normal(5000, 32)}
    return training(loss, p, sgd(0.1), labels(512, 10000), labels(512, 5000), normal(512))


def adam_300() -> Step:
    """As in models.py."""
    p, g = ([normal(10, 10) for _ in range(300)] for _ in range(2))
    begin, update = adam(1e-3)
    run = jax.jit(update, donate_argnums=(0, 2))
    held = [p, begin(p)]

    def step() -> Any:
        held[0], held[1] = run(held[0], g, held[1])
        return held[0][-1][0]  # a copy: the next step takes the memory

    return step


MODELS: dict[str, Callable[[], Step]] = {
    "linear_regression": linear_regression,
    "mlp": mlp,
    "lenet_4": lenet(4),
    "lenet_128": lenet(128),
    "gpt_small": gpt(128, 64, 12),
    "gpt_large": gpt(512, 256, 4),
    "vae": vae,
    "embedding": embedding_model,
    "adam_300": adam_300,
}
