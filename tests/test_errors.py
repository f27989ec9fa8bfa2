"""The grammar of messages, the user's line, deferred errors."""

from pathlib import Path

import numpy as np
import pytest

from flambeau import errors


class FakeDtype:
    def __str__(self):
        return "torch.float32"


class FakeTensor:
    shape, dtype = (2, 3), FakeDtype()


def test_fail_follows_the_grammar():
    with pytest.raises(ValueError) as info:
        errors.fail(
            ValueError, "add: shapes do not broadcast", "make them equal", a=FakeTensor(), b=np.zeros(4)
        )
    assert (
        str(info.value)
        == "add: shapes do not broadcast; got a=(2, 3) float32, b=(4,) float64; make them equal"
    )


def test_fail_without_operands_or_hint():
    with pytest.raises(TypeError, match=r"^exp: needs a tensor$"):
        errors.fail(TypeError, "exp: needs a tensor")


def test_fail_hides_the_exception_being_handled():
    try:
        try:
            {}["x"]
        except KeyError:
            errors.fail(ValueError, "op: no")
    except ValueError as error:
        assert error.__suppress_context__


def test_operand_names_may_be_anything():
    assert errors.message("op: wrong", what=1, hint=2, exc=3) == "op: wrong; got what=1, hint=2, exc=3"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (3, "3"),
        ((2, 3), "(2, 3)"),
        (np.float32, "float32"),
        ([FakeTensor()] * 5, "list of " + "(2, 3) float32, " * 4 + "..."),
        ("x" * 100, "'" + "x" * 76 + "..."),
    ],
)
def test_describe(value, text):
    assert errors.describe(value) == text


def test_site_is_the_users_line():
    where = errors.site()
    file, _, line = errors.place(where).rpartition(":")
    assert file == __file__
    assert "where = errors.site()" in Path(__file__).read_text().splitlines()[int(line) - 1]


def test_site_skips_the_package(monkeypatch):
    code = compile("def op():\n    return errors.site()\n", errors._PACKAGE + "ops/fake.py", "exec")
    names = {"errors": errors}
    exec(code, names)
    where = names["op"]()
    assert where[0] is test_site_skips_the_package.__code__


def test_place_of_nothing():
    assert errors.place(None) == ""


def test_deferred_names_value_position_and_line():
    found = errors.Deferred(
        IndexError, "gather: index {value} at position {position} is out of range", errors.site()
    )
    first, second = found.bind(7, 2).error(), found.bind(7, 2).error()
    assert first is not second
    assert type(first) is IndexError
    assert str(first).startswith("gather: index 7 at position 2 is out of range (recorded at ")
    assert __file__ in str(first)


def test_out_of_memory_is_both():
    assert issubclass(errors.OutOfMemoryError, RuntimeError)
    assert issubclass(errors.OutOfMemoryError, MemoryError)
