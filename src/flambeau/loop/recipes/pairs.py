"""Products of bfloat16 on processors that have an instruction for two of their steps (`dot2` of the loop IR).

A word of 32 bits holds two neighbours along k, the first one in its high half, which `dot2` multiplies first: so each
element of the result stays the chain that `matmul` defines. The instruction takes numbers below the least normal one as
zero. What it adds are multiples of the last places of two factors multiplied, 2**(p - 7) * 2**(q - 7) if the least
factors other than zero lie in [2**p, 2**(p + 1)) and [2**q, 2**(q + 1)): if that is a normal number, no sum, rounded or
not, is below it, and the bits are those of `fma`. `Least` watches this; where it fails, `apart` does the steps."""

from __future__ import annotations

from ..build import Buffer, Builder, Value, const, fma, minimum, op

WIDTH = 16  # words that are looked at at a time
NORMAL = 2 * 127 - 126 + 2 * 7  # the least sum of two biased exponents with which no sum can be too small


def together(first: Value, second: Value) -> Value:
    """The word of two neighbours."""
    high, low = (x.bitcast("u16").cast("u32") for x in (first, second))
    return ((high << 16) | low).bitcast("f32")


def turned(word: Value) -> Value:
    """The word of two neighbours that memory has as one, the first one in the low half."""
    bits = word.bitcast("u32")
    return ((bits << 16) | (bits >> 16)).bitcast("f32")


def dot2(a: Value, b: Value, total: Value) -> Value:
    """Two steps at once, where no number can be too small."""
    return op("dot2", a, b, total)


def apart(a: Value, b: Value, total: Value) -> Value:
    """Two steps, for all numbers."""
    for half in (_high, _low):
        total = fma(half(a), half(b), total)
    return total


def _high(word: Value) -> Value:
    return (word.bitcast("u32") & const("u32", 0xFFFF0000)).bitcast("f32")


def _low(word: Value) -> Value:
    return (word.bitcast("u32") << 16).bitcast("f32")


class Least:
    """The least exponent of a factor other than zero that an operand was seen to have.

    The bits of its size, less one, below a sign bit of 1: that of zero becomes 0, so as signed numbers zeros are the
    largest. Both halves of a word are made at once, and compared at once."""

    def __init__(self, b: Builder):
        self.b = b
        self.seen = b.reg("least", const("i32", 0x7FFF7FFF), lanes=WIDTH)
        self.exponent = b.reg("exponent", const("i64", 255))

    def note(self, word: Value) -> Value:
        """Take a word of each of WIDTH lanes into account, and return it."""
        b, seen = self.b, self.seen
        word = b.let(word)
        both = b.let((word.bitcast("u32") | const("u32", 0x80008000)) - const("u32", 0x00010001))
        seen.set(op("min2", seen.get(), both.bitcast("i32")))
        return word

    def turned(self, word: Value) -> Value:
        """What is packed of a word that memory has, which is taken into account."""
        return self.note(turned(word))

    def look(self, words: Buffer, start: Value, count: Value) -> None:
        """Take packed words into account."""
        with self.b.vfor("x", start, start + count, WIDTH) as x:
            self.note(words[x])

    def settle(self) -> None:
        """Make the exponent of what was taken into account."""
        seen, half = self.seen, self.b.reg("half", const("i32", 0), lanes=WIDTH)
        with self.b.vfor("x", 0, WIDTH, WIDTH, full=True):
            half.set(minimum(seen.get(), seen.get() << 16))  # what lies below a half does not count
        least = half.reduce("min").bitcast("u32") ^ const("u32", 0x80000000)
        self.exponent.set(minimum(least >> 23, 255).cast("i64"))


def safe(first: Value, second: Value) -> Value:
    """Whether no sum of products of factors with these least exponents can be too small."""
    return (minimum(first, second) > 0) & (first + second >= NORMAL)
