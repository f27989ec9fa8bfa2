"""Files, functions and folders stay readable: code lines, without blanks, comments and docstrings."""

from __future__ import annotations

import statistics

from flambeau.tools import measures


def test_files_have_at_most_500_code_lines() -> None:
    large = {measures.module_name(p): n for p in measures.files() if (n := measures.code_lines(p)) > 500}
    assert not large


def test_functions_have_at_most_60_code_lines() -> None:
    long = [f for p in measures.files() for f in measures.functions(p) if f.size > 60]
    assert not long, "\n".join(f"{f.module}:{f.line} {f.name}: {f.size}" for f in long)


def test_most_functions_have_fewer_than_25() -> None:
    sizes = [f.size for p in measures.files() for f in measures.functions(p)]
    assert statistics.quantiles(sizes, n=10)[-1] <= 25


def test_folders_stay_within_their_budgets() -> None:
    over = {k: n for k, n in measures.sizes().items() if n > measures.BUDGET.get(k, 3000)}
    assert not over


def test_prims_are_few() -> None:
    prims = measures.prims()
    assert "opaque:contract" in prims and len(prims) <= measures.MAX_PRIMS, sorted(prims)


def test_names_say_what_a_file_holds() -> None:
    forbidden = {"utils", "util", "helpers", "helper", "common", "core", "misc"}
    named = [
        name
        for path in measures.files()
        if forbidden & set((name := measures.module_name(path)).split("."))
        and not name.startswith(("flambeau.utils", "flambeau.nn.utils"))  # torch's own public names
        and name not in ("flambeau.distributions.utils", "flambeau.vision.utils", "flambeau.vision.ops.misc")
    ]
    assert not named


def test_what_counts_as_a_code_line(tmp_path) -> None:
    source = '''"""Doc
    of two lines."""
# a comment

def f(  # one
    x,
):
    """Docstring."""
    text = """three
    lines
    """
    return text
'''
    file = tmp_path / "sample.py"
    file.write_text(source)
    assert measures.code_lines(file) == 7
