"""Numbers that write down what is computed of them."""

from __future__ import annotations

import math

import pytest

from flambeau.symbols import Record, Whole, plain, record_of


def test_a_function_of_what_was_computed():
    record = Record([3, 5])
    n, m = record.symbols
    of = record.function([n * m if n < m else n, -(-n // 2), (m + 1) & -4, n % m, 7])
    assert of(3, 5) == [15, 2, 4, 3, 7]
    assert of(4, 10) == [40, 2, 8, 4, 7]
    assert of(7, 2) is None  # the comparison comes out otherwise
    assert record.function([n // (m - 5 + n - 3 + 1)])(4, 4) is None  # no division by 0


def test_products_in_any_order_are_equal():
    record = Record([3, 5, 7])
    a, b, c = record.symbols
    assert a * b * c == c * (b * a) and (a * b * c) // (c * a) == b and (6 * a * b) % (2 * b) == 0
    assert ((6 * a * b) // (3 * a)).name == (2 * b).name
    assert not record.conditions
    assert a * b * 2 != b * c  # this is not known of all numbers
    assert record.conditions


def test_what_is_known_of_all_numbers_is_no_condition():
    record = Record([3, 5])
    a, b = record.symbols
    assert a != b and a > 1 and not a < 2 and a * b >= 4 and max(a, 1) is a and a != 0 and bool(a)
    assert not record.conditions
    assert a > 2
    assert list(record.conditions) == ["e0 > 2"]


def test_a_value_that_is_fixed_is_a_condition():
    record = Record([3, 5])
    a, b = record.symbols
    assert record.fixed((a, [1], "x", (b + 1,))) == (3, [1], "x", (6,))
    assert float(a) == 3.0 and type(record.fixed(a)) is int
    of = record.function([a])
    assert of(3, 5) == [3] and of(3, 6) is None and of(4, 5) is None


def test_fractions():
    record = Record([3, 5])
    a, b = record.symbols
    of = record.function([a * 1.5, math.ceil(a / b), b.bit_length(), abs(a - b), a * 1.0 == 3.0])
    assert of(3, 7) == [4.5, 1, 3, 4, True]


def test_calls_are_made_again():
    record = Record([3, 5])
    a, b = record.symbols
    name = record.called(divmod, (b, a), (1, 2))
    record.same(f"{name}[0]", 1)
    rest = record.made(f"{name}[1]", 2)
    of = record.function([rest * 10])
    assert of(3, 5) == [20] and of(4, 5) == [10] and of(2, 5) is None


def test_a_closed_record_leaves_plain_numbers():
    record = Record([3])
    (a,) = record.symbols
    assert record_of(1, a) is record and type(a + 1) is Whole
    record.open = False
    assert record_of(1, a) is None and type(a + 1) is int and a == 3 and {3: 1}[a] == 1
    assert type(plain(a)) is int and not record.conditions
    with pytest.raises(TypeError):
        a + "x"
