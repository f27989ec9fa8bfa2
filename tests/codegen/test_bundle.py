"""Bundles: neighbours for each lane by whole vectors, in any number, type and remainder; nothing is done one by one."""

from __future__ import annotations

import numpy as np
import pytest
from codegen_native import NUMPY, compare

from flambeau.codegen import engine, target
from flambeau.codegen.bundle import unwoven, woven
from flambeau.loop import ir
from flambeau.loop.build import Builder


def bundles(type: str, k: int, width: int, back: bool = False) -> ir.Kernel:
    """apart[u, i] = x[i, u]; together[i, u] = x[i, k-1-u]; back: of n-1-i, not i, in x."""
    b = Builder("bundles")
    x, apart, together = b.buf("x", type), b.buf("apart", type, "w"), b.buf("together", type, "w")
    n = b.integer("n")
    with b.vfor("i", 0, n, width) as i:
        at = i * k
        source = b.let((n - 1) * k) - at if back else at
        values = [b.let(x[source + u]) for u in range(k)]
        for u, value in enumerate(values):
            apart[i + n * u] = value
        for u, value in enumerate(reversed(values)):
            together[at + u] = value
    return b.kernel()


@pytest.mark.parametrize("back", [False, True])
@pytest.mark.parametrize("k", range(2, 9))
@pytest.mark.parametrize(
    ("type", "width"), [("f32", 16), ("f64", 16), ("u8", 64), ("u8", 16), ("b1", 64), ("i16", 16), ("f64", 4)]
)
def test_values(type: str, width: int, k: int, back: bool) -> None:
    for n in (0, 1, width - 1, width, 3 * width + 5):
        x = np.random.default_rng(n).integers(0, 2 if type == "b1" else 200, n * k + 3).astype(NUMPY[type])
        apart, together = np.zeros(n * k + 3, NUMPY[type]), np.zeros(n * k + 3, NUMPY[type])
        (_, apart, together, _), _ = compare(bundles(type, k, width, back), x, apart, together, n)
        want = x[: n * k].reshape(n, k)[:: -1 if back else 1]
        assert (apart[: n * k].reshape(k, n) == want.T).all() and not apart[n * k :].any()
        assert (together[: n * k].reshape(n, k) == want[:, ::-1]).all() and not together[n * k :].any()


@pytest.mark.parametrize(("k", "n"), [(k, n) for k in range(2, 9) for n in (2, 4, 16)])
def test_shuffles(k: int, n: int) -> None:
    """One way is the other's inverse, in at most k * (k - 1) shuffles of two vectors."""
    held: dict[str, list[int]] = {str(p): list(range(p * n, (p + 1) * n)) for p in range(k)}
    count = 0

    def shuffle(a: str, b: str, order: list[int]) -> str:
        nonlocal count
        count += 1
        both = held[a] + held[b]
        held[f"s{count}"] = [both[x] for x in order]
        return f"s{count}"

    found = unwoven([str(p) for p in range(k)], n, shuffle)
    assert [held[v] for v in found] == [list(range(c, k * n, k)) for c in range(k)]
    assert count <= k * (k - 1) and (k not in (4, 8) or count == k * k.bit_length() - k)
    back = woven(found, n, shuffle)
    assert [held[v] for v in back] == [held[str(p)] for p in range(k)]


@pytest.mark.parametrize("name", ["x86-64-v2", "x86-64-v3", "x86-64-v4", "aarch64"])
def test_whole_vectors(name: str) -> None:
    """No element is taken or stored alone, and no gather and no scatter stands in the code."""
    for back in (False, True):
        if back and name in ("x86-64-v2", "aarch64"):
            continue  # without masked loads the last lanes are read one by one where they lie backwards
        text = str(engine.emit([bundles("f32", 3, 16, back)], target.named(name), "llvm"))
        assert "insertelement <16 x float>" not in text and "extractelement <16 x float>" not in text
        assert "gather" not in text and "scatter" not in text


def test_what_is_no_bundle() -> None:
    """Neighbours that overlap those of the next lane, or leave a gap, are read one by one and are right."""
    b = Builder("others")
    x, y, n = b.buf("x", "f32"), b.buf("y", "f32", "w"), b.integer("n")
    with b.vfor("i", 0, n, 16) as i:
        near = [b.let(x[i * 2 + u]) for u in range(3)]
        far = [b.let(x[i * 5 + u]) for u in range(2)]
        gap = [b.let(x[i * 3 + u]) for u in (0, 2)]
        y[i * 2] = near[0] + near[1] * 2 + near[2] * 4
        y[i * 2 + 1] = far[0] + far[1] * 2 + gap[0] * 4 + gap[1] * 8
    x_ = np.random.default_rng(0).integers(0, 9, 200).astype(np.float32)
    for size in (3, 16, 37):
        (_, y_, _), _ = compare(b.kernel(), x_, np.zeros(100, np.float32), size)
        i_ = np.arange(size)
        assert (y_[0 : 2 * size : 2] == x_[2 * i_] + 2 * x_[2 * i_ + 1] + 4 * x_[2 * i_ + 2]).all()
        want = x_[5 * i_] + 2 * x_[5 * i_ + 1] + 4 * x_[3 * i_] + 8 * x_[3 * i_ + 2]
        assert (y_[1 : 2 * size : 2] == want).all() and not y_[2 * size :].any()
