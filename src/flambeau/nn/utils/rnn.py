"""Sequences of different lengths: padded to one tensor, or packed without padding."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import flambeau as torch

Tensor = Any

PackedSequence_ = namedtuple(
    "PackedSequence",
    ["data", "batch_sizes", "sorted_indices", "unsorted_indices"],
    defaults=(None, None, None),
)
PackedSequence_.__annotations__ = {
    "data": Any,
    "batch_sizes": Any,
    "sorted_indices": Any,
    "unsorted_indices": Any,
}


class PackedSequence(PackedSequence_):
    """Sequences, longest first, one time step after the other: `batch_sizes[t]` of them have a step t.

    Made by `pack_padded_sequence`; `sorted_indices` says how the batch was reordered.
    """

    def __new__(
        cls,
        data: Tensor,
        batch_sizes: Tensor | None = None,
        sorted_indices: Tensor | None = None,
        unsorted_indices: Tensor | None = None,
    ) -> PackedSequence:
        if unsorted_indices is None:
            unsorted_indices = invert_permutation(sorted_indices)
        if batch_sizes is not None:
            if batch_sizes.device.type != "cpu":
                raise ValueError(
                    "batch_sizes should always be on CPU. Instances of PackedSequence should never be "
                    "created manually. "
                    "They should be instantiated by functions like pack_sequence and pack_padded_sequences "
                    "in nn.utils.rnn."
                )
        else:
            if not isinstance(data, (list, tuple)) or len(data) != 2:
                raise AssertionError("Expected data to be a 2-element sequence")
            data, batch_sizes = data
        return super().__new__(cls, data, batch_sizes, sorted_indices, unsorted_indices)

    def to(self, *args: Any, **kwargs: Any) -> PackedSequence:
        """The same sequences on another device or in another dtype."""
        data = self.data.to(*args, **kwargs)
        if data is self.data:
            return self
        kwargs = {k: v for k, v in kwargs.items() if k not in ("device", "dtype")}
        moved = [
            None if t is None else t.to(data.device, **kwargs)
            for t in (self.sorted_indices, self.unsorted_indices)
        ]
        return type(self)(data, self.batch_sizes, *moved)

    def cpu(self) -> PackedSequence:
        """On the CPU."""
        return self.to("cpu")

    def cuda(self, *args: Any, **kwargs: Any) -> PackedSequence:
        """On a CUDA device."""
        return self.to(*args, device="cuda", **kwargs)

    def double(self) -> PackedSequence:
        """As float64."""
        return self.to(dtype=torch.double)

    def float(self) -> PackedSequence:
        """As float32."""
        return self.to(dtype=torch.float)

    def half(self) -> PackedSequence:
        """As float16."""
        return self.to(dtype=torch.half)

    def long(self) -> PackedSequence:
        """As int64."""
        return self.to(dtype=torch.long)

    def int(self) -> PackedSequence:
        """As int32."""
        return self.to(dtype=torch.int)

    def pin_memory(self) -> PackedSequence:
        """In page-locked memory."""
        pinned = [None if t is None else t.pin_memory() for t in (self.sorted_indices, self.unsorted_indices)]
        return type(self)(self.data.pin_memory(), self.batch_sizes, *pinned)

    def is_pinned(self) -> bool:
        """Whether the data is in page-locked memory."""
        return self.data.is_pinned()

    @property
    def is_cuda(self) -> bool:
        """Whether the data is on a CUDA device."""
        return self.data.is_cuda


def invert_permutation(permutation: Tensor | None) -> Tensor | None:
    """The permutation that undoes `permutation`."""
    if permutation is None:
        return None
    output = torch.empty_like(permutation, memory_format=torch.contiguous_format)
    output.scatter_(0, permutation, torch.arange(0, permutation.numel(), device=permutation.device))
    return output


def pack_padded_sequence(
    input: Tensor, lengths: Any, batch_first: bool = False, enforce_sorted: bool = True
) -> PackedSequence:
    """Packs (T, N, ...), or (N, T, ...) if `batch_first`; `lengths` must fall unless `enforce_sorted` is False."""
    if not isinstance(lengths, torch.Tensor):
        lengths = torch.as_tensor(lengths, dtype=torch.int64, device="cpu")
    elif lengths.device.type != "cpu":
        raise RuntimeError(
            "'lengths' argument should be a 1D CPU int64 tensor, but got "
            f"{lengths.dim()}D {lengths.device} {str(lengths.dtype).removeprefix('torch.').capitalize()} tensor"
        )
    order = None
    if not enforce_sorted:
        lengths, order = torch.sort(lengths, descending=True)
        order = order.to(input.device)
        input = input.index_select(0 if batch_first else 1, order)
    counts = lengths.tolist()
    if not counts or input.numel() == 0:
        raise RuntimeError("Cannot pack empty tensors.")
    x = input.transpose(0, 1) if batch_first else input
    if len(counts) != x.size(1):
        raise RuntimeError(
            f"Expected `len(lengths)` to be equal to batch_size, but got {len(counts)} (batch_size={x.size(1)})"
        )
    if counts[-1] <= 0:
        raise RuntimeError(
            "Length of all samples has to be greater than 0, but found an element in 'lengths' that is <= 0"
        )
    if any(a < b for a, b in pairwise(counts)):
        raise RuntimeError(
            "`lengths` array must be sorted in decreasing order when `enforce_sorted` is True. You can pass "
            "`enforce_sorted=False` to pack_padded_sequence and/or pack_sequence to sidestep this "
            "requirement if you do "
            "not need ONNX exportability."
        )
    sizes = [sum(n > t for n in counts) for t in range(counts[0])]
    # One slice for each run of time steps with the same number of sequences.
    parts, start = [], 0
    for t in range(1, len(sizes) + 1):
        if t == len(sizes) or sizes[t] != sizes[start]:
            part = x[start:t, : sizes[start]]
            parts.append(part.reshape(part.size(0) * part.size(1), *part.shape[2:]))
            start = t
    return PackedSequence(torch.cat(parts), torch.tensor(sizes, dtype=torch.int64), order, None)


def pad_packed_sequence(
    sequence: PackedSequence,
    batch_first: bool = False,
    padding_value: float = 0.0,
    total_length: int | None = None,
) -> tuple[Tensor, Tensor]:
    """The inverse of `pack_padded_sequence`: (padded tensor, lengths)."""
    sizes = sequence.batch_sizes.tolist()
    steps = len(sizes)
    if total_length is not None:
        if total_length < steps:
            raise ValueError(
                "Expected total_length to be at least the length of the longest sequence in input, but got "
                f"total_length={total_length} and max sequence length being {steps}"
            )
        steps = total_length
    data = sequence.data
    output = data.new_full((steps, sizes[0], *data.shape[1:]), padding_value)
    start = row = 0
    for t in range(1, len(sizes) + 1):
        if t == len(sizes) or sizes[t] != sizes[start]:
            size, count = sizes[start], t - start
            output[start:t, :size] = data[row : row + count * size].reshape(count, size, *data.shape[1:])
            row += count * size
            start = t
    lengths = torch.tensor([sum(s > i for s in sizes) for i in range(sizes[0])], dtype=torch.int64)
    if batch_first:
        output = output.transpose(0, 1)
    if sequence.unsorted_indices is not None:
        output = output.index_select(0 if batch_first else 1, sequence.unsorted_indices)
        lengths = lengths[sequence.unsorted_indices.cpu()]
    return output, lengths


def pad_sequence(
    sequences: Any, batch_first: bool = False, padding_value: float = 0.0, padding_side: str = "right"
) -> Tensor:
    """Stacks tensors of different first size: (T, N, ...), or (N, T, ...) if `batch_first`, T the greatest."""
    if not isinstance(sequences, Iterable):
        raise RuntimeError(
            f"pad_sequence: Expected iterable for input sequences, but got arg of type: {type(sequences)}"
        )
    if padding_side not in ("left", "right"):
        raise RuntimeError(f"Expected padding_side to be one of left or right, but got {padding_side}.")
    items = list(sequences.unbind(0) if isinstance(sequences, torch.Tensor) else sequences)
    if not items:
        raise RuntimeError("received an empty list of sequences")
    longest = max(item.size(0) for item in items)
    shape = (len(items), longest) if batch_first else (longest, len(items))
    output = items[0].new_full((*shape, *items[0].shape[1:]), padding_value)
    for i, item in enumerate(items):
        n = item.size(0)
        span = slice(longest - n, longest) if padding_side == "left" else slice(0, n)
        output[(i, span) if batch_first else (span, i)] = item
    return output


def unpad_sequence(padded_sequences: Tensor, lengths: Tensor, batch_first: bool = False) -> list[Tensor]:
    """The sequences of a padded tensor, each of its own length."""
    if not batch_first:
        padded_sequences = padded_sequences.transpose(0, 1)
    return [sequence[: int(n)] for sequence, n in zip(padded_sequences, lengths)]


def pack_sequence(sequences: list[Tensor], enforce_sorted: bool = True) -> PackedSequence:
    """Packs a list of tensors, longest first unless `enforce_sorted` is False."""
    lengths = torch.as_tensor([v.size(0) for v in sequences])
    return pack_padded_sequence(pad_sequence(sequences), lengths, enforce_sorted=enforce_sorted)


def unpack_sequence(packed_sequences: PackedSequence) -> list[Tensor]:
    """The sequences that `pack_sequence` packed."""
    padded, lengths = pad_packed_sequence(packed_sequences, batch_first=True)
    return unpad_sequence(padded, lengths, batch_first=True)
