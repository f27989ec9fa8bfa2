"""`torch.quasirandom`: Sobol' sequences with the direction numbers of Joe and Kuo, which are read from SciPy."""

from __future__ import annotations

import functools
from typing import Any

import flambeau as torch

from .errors import fail
from .late import np


@functools.cache
def _table() -> tuple[Any, Any]:
    """The primitive polynomials, as bits, and the first direction numbers of each dimension."""
    try:
        from importlib.resources import files

        source = files("scipy.stats") / "_sobol_direction_numbers.npz"
    except ModuleNotFoundError:
        fail(
            ModuleNotFoundError,
            "SobolEngine: direction numbers are read from SciPy, which is not installed; pip install scipy",
        )
    with source.open("rb") as file, np.load(file) as arrays:
        return arrays["poly"], arrays["vinit"]


def _directions(dimension: int, bits: int) -> Any:
    """The direction numbers of each dimension, (dimension, bits), as fractions of 2**bits."""
    v = np.ones((dimension, bits), np.int64)
    if dimension > 1:
        polynomials, first = _table()
        for d in range(1, dimension):
            p = int(polynomials[d])
            degree = p.bit_length() - 1
            row = [int(m) for m in first[d, :degree]]
            for j in range(degree, bits):
                new = row[j - degree]
                for k in range(degree):
                    if p >> k & 1:
                        new ^= row[j - degree + k] << (degree - k)
                row.append(new)
            v[d] = row[:bits]
    return v << np.arange(bits - 1, -1, -1)


class SobolEngine:
    """Points of a Sobol' sequence in [0, 1)**dimension, in Gray-code order; scramble=True scrambles them as Owen
    and Matousek do, by random numbers of the default generator or of a seed."""

    MAXBIT = 30
    MAXDIM = 21201

    def __init__(self, dimension: int, scramble: bool = False, seed: int | None = None):
        if dimension > self.MAXDIM or dimension < 1:
            raise ValueError(
                f"Supported range of dimensionality for SobolEngine is [1, {self.MAXDIM}], got {dimension}"
            )
        self.seed, self.scramble, self.dimension = seed, scramble, dimension
        self.sobolstate = torch.from_numpy(_directions(dimension, self.MAXBIT))
        self.shift = torch.zeros(dimension, dtype=torch.long)
        if scramble:
            self._scramble()
        self.quasi = self.shift.clone()
        self.num_generated = 0

    def _scramble(self) -> None:
        generator = None if self.seed is None else torch.Generator().manual_seed(self.seed)
        bits = self.MAXBIT
        shift = torch.randint(2, (self.dimension, bits), generator=generator).numpy()
        lower = torch.randint(2, (self.dimension, bits, bits), generator=generator).tril().numpy().copy()
        lower[:, range(bits), range(bits)] = 1
        places = np.arange(bits - 1, -1, -1)
        digits = self.sobolstate.numpy()[:, :, None] >> places & 1  # most significant first
        scrambled = np.matmul(digits, lower.transpose(0, 2, 1)) & 1
        self.sobolstate = torch.from_numpy((scrambled << places).sum(-1))
        self.shift = torch.from_numpy((shift << np.arange(bits)).sum(-1))

    def _points(self, n: int) -> Any:
        """The next n points as whole numbers of 2**-MAXBIT, (n, dimension); the state moves on."""
        start = self.num_generated
        # The point after number c differs from it by the direction of the lowest bit of c that is zero.
        numbers = np.arange(max(start - 1, 0), start + n - 1)
        lowest = np.frexp((~numbers & (numbers + 1)).astype(np.float64))[1] - 1
        if n and start + n - 1 > 1 << self.MAXBIT:
            raise ValueError(
                f"SobolEngine: a sequence has 2**{self.MAXBIT} points, {start + n} are asked for"
            )
        steps = self.sobolstate.numpy().T[lowest]
        before = self.quasi.numpy()[None]
        points = np.bitwise_xor.accumulate(np.concatenate((before, steps)), axis=0)
        self.quasi = torch.from_numpy(points[-1].copy())
        self.num_generated += n
        return points[-n:] if n else points[:0]

    def draw(self, n: int = 1, out: Any = None, dtype: Any = None) -> Any:
        """The next n points, (n, dimension)."""
        kind = torch.get_default_dtype() if dtype is None else dtype
        points = torch.from_numpy(self._points(n) * 2.0**-self.MAXBIT).to(kind)
        return points if out is None else out.resize_as_(points).copy_(points)

    def draw_base2(self, m: int, out: Any = None, dtype: Any = None) -> Any:
        """The next 2**m points; all points drawn so far must be a power of two."""
        n = 2**m
        total = self.num_generated + n
        if total & (total - 1):
            raise ValueError(
                "The balance properties of Sobol' points require n to be a power of 2. "
                f"{self.num_generated} points have been previously generated, then: "
                f"n={self.num_generated}+2**{m}={total}. "
                "If you still want to do this, please use 'SobolEngine.draw()' instead."
            )
        return self.draw(n, out, dtype)

    def reset(self) -> SobolEngine:
        """Back to the first point; a scrambling stays."""
        self.quasi = self.shift.clone()
        self.num_generated = 0
        return self

    def fast_forward(self, n: int) -> SobolEngine:
        """Pass over n points."""
        if n:
            last = max(self.num_generated + n - 1, 0)
            gray = last ^ last >> 1
            taken = [j for j in range(self.MAXBIT) if gray >> j & 1]
            steps = np.bitwise_xor.reduce(self.sobolstate.numpy()[:, taken], axis=1)
            self.quasi = torch.from_numpy(self.shift.numpy() ^ steps)
            self.num_generated += n
        return self

    def __repr__(self) -> str:
        seed = [f"seed={self.seed}"] if self.seed is not None else []
        scramble = ["scramble=True"] if self.scramble else []
        return f"{type(self).__name__}({', '.join([f'dimension={self.dimension}', *scramble, *seed])})"
