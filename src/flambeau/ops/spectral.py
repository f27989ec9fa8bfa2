"""The short-time Fourier transform and its inverse."""

from __future__ import annotations

from typing import Any

from ..errors import fail
from .entry import FACES, FUNCTIONS, composite
from .fourier import _mode

fft: Any = FACES["fft"]


def _window(window: Any, n_fft: int, win_length: int, like: Any) -> Any:
    """The window, of ones if there is none, with zeros on both sides to n_fft elements."""
    if window is None:
        if win_length == n_fft:
            return None
        window = FUNCTIONS["full"]((win_length,), 1, dtype=like.dtype.part)
    left = (n_fft - win_length) // 2
    if win_length == n_fft:
        return window
    return FUNCTIONS["constant_pad_nd"](window, (left, n_fft - win_length - left), 0)


def _lengths(name: str, n_fft: int, hop_length: Any, win_length: Any, window: Any) -> tuple[int, int]:
    hop = n_fft // 4 if hop_length is None else int(hop_length)
    length = n_fft if win_length is None else int(win_length)
    if hop <= 0:
        fail(RuntimeError, f"{name}: expected hop_length > 0, but got hop_length={hop}")
    if not 0 < length <= n_fft:
        fail(RuntimeError, f"{name}: expected 0 < win_length <= n_fft, but got win_length={length}")
    if window is not None and (window.ndim != 1 or window.shape[0] != length):
        fail(
            RuntimeError,
            f"{name}: expected a 1D window tensor of size equal to win_length={length}, "
            f"but got window with size {list(window.shape)}",
        )
    return hop, length


@composite()
def stft(
    input: Any,
    n_fft: int,
    hop_length: Any = None,
    win_length: Any = None,
    window: Any = None,
    center: bool = True,
    pad_mode: str = "reflect",
    normalized: bool = False,
    onesided: Any = None,
    return_complex: Any = None,
    align_to_window: Any = None,
) -> Any:
    """Transforms of overlapping frames of a signal (..., time): (..., frequencies, frames)."""
    any_complex = input.dtype.is_complex or (window is not None and window.dtype.is_complex)
    if return_complex is None:
        if not any_complex:
            fail(
                RuntimeError,
                "stft requires the return_complex parameter be given for real inputs, and will further require that "
                "return_complex=True in a future PyTorch release.",
            )
        return_complex = True
    if input.ndim not in (1, 2):
        fail(RuntimeError, f"stft: expected a 1D or 2D tensor, but got {input.ndim}D")
    hop, length = _lengths("stft", n_fft, hop_length, win_length, window)
    onesided = not any_complex if onesided is None else onesided
    if onesided and any_complex:
        fail(
            RuntimeError,
            "Cannot have onesided output if window or input is complex",
        )
    x = input if input.ndim == 2 else input.unsqueeze(0)
    if center:
        pad = n_fft // 2
        x = FUNCTIONS["pad"](x.unsqueeze(1), (pad, pad), pad_mode).squeeze(1)
    if not 0 < n_fft <= x.shape[-1]:
        fail(RuntimeError, f"stft: expected 0 < n_fft < {x.shape[-1]}, but got n_fft={n_fft}")
    frames = x.unfold(-1, n_fft, hop)
    weights = _window(window, n_fft, length, x)
    frames = frames if weights is None else frames * weights
    norm = "ortho" if normalized else "backward"
    if frames.dtype.is_complex:
        out = fft["fft"](frames, norm=norm)
    elif onesided:
        out = fft["rfft"](frames, norm=norm)
    else:
        out = FUNCTIONS["_fft_r2c"](frames, (2,), _mode(norm, True), False)
    out = out.transpose(1, 2)
    out = out if input.ndim == 2 else out.squeeze(0)
    return out if return_complex else FUNCTIONS["view_as_real"](out)


def _added(frames: Any, hop: int) -> Any:
    """The sum of frames (batch, frames, time) at their places in a signal."""
    count, n = frames.shape[1:]
    arange = FUNCTIONS["arange"]
    places = (arange(0, hop * count, hop).unsqueeze(1) + arange(n)).reshape(-1)
    blank = FUNCTIONS["full"]((frames.shape[0], n + hop * (count - 1)), 0, dtype=frames.dtype)
    return FUNCTIONS["index_add"](blank, 1, places, frames.reshape(frames.shape[0], -1))


@composite()
def istft(
    input: Any,
    n_fft: int,
    hop_length: Any = None,
    win_length: Any = None,
    window: Any = None,
    center: bool = True,
    normalized: bool = False,
    onesided: Any = None,
    length: Any = None,
    return_complex: bool = False,
) -> Any:
    """The signal of which `stft` made (..., frequencies, frames): frames are added and divided by the windows' squares."""
    if not input.dtype.is_complex:
        fail(
            RuntimeError,
            "istft requires a complex-valued input tensor matching the output from stft with return_complex=True.",
        )
    if input.ndim not in (2, 3):
        fail(RuntimeError, f"istft: expected a tensor with 2 or 3 dimensions, but got {input.ndim}")
    hop, size = _lengths("istft", n_fft, hop_length, win_length, window)
    if hop > size:
        fail(RuntimeError, f"istft: expected 0 < hop_length <= win_length, but got hop_length={hop}")
    x = input if input.ndim == 3 else input.unsqueeze(0)
    rows = x.shape[1]
    onesided = (n_fft != rows) if onesided is None else onesided
    wanted = n_fft // 2 + 1 if onesided else n_fft
    if rows != wanted:
        fail(
            RuntimeError,
            f"istft: expected the frequency dimension (3rd to the last) of the input tensor to match n_fft "
            f"{'/ 2 + 1 ' if onesided else ''}when onesided={onesided}, but got {rows}",
        )
    weights = _window(window, n_fft, size, x)
    if weights is None:
        weights = FUNCTIONS["full"]((n_fft,), 1, dtype=x.dtype.part)
    norm = "ortho" if normalized else None
    x = x.transpose(1, 2)
    if return_complex:
        if onesided:
            fail(RuntimeError, "cannot have onesided output if window or input is complex")
        frames = fft["ifft"](x, norm=norm)
    else:
        if weights.dtype.is_complex:
            fail(RuntimeError, "Complex windows are incompatible with return_complex=False")
        frames = fft["irfft"](x if onesided else x.narrow(-1, 0, n_fft // 2 + 1), n_fft, norm=norm)
    y = _added(frames * weights, hop)
    squares = (weights * weights).expand(1, x.shape[1], n_fft)
    envelope = _added(squares, hop)
    start = n_fft // 2 if center else 0
    end = y.shape[-1] - (n_fft // 2 if center else 0) if length is None else min(start + length, y.shape[-1])
    y, envelope = y[:, start:end], envelope[:, start:end]
    least = envelope.detach().abs().min().item()
    if least <= 1e-11:
        fail(RuntimeError, f"window overlap add min: {least}")
    y = y / envelope
    if length is not None and y.shape[-1] < length:
        y = FUNCTIONS["constant_pad_nd"](y, (0, length - y.shape[-1]), 0)
    return y if input.ndim == 3 else y.squeeze(0)
