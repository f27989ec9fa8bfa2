"""What the documentation must keep up with."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

from flambeau import config
from flambeau.tools import docs, measures

HERE = Path(__file__).parent


def test_there_are_at_most_25_flags() -> None:
    assert len(config.FLAGS) <= 25


def test_the_page_of_flags_is_the_table_of_flags(root: Path) -> None:
    page = (root / "docs" / "flags.md").read_text(encoding="utf-8")
    assert page == docs.flags_page(), "run: python -m flambeau.tools.docs"


def test_the_pages_of_ops_are_the_book_of_ops(root: Path) -> None:
    pages = docs.op_pages()
    kept = {path.name: path.read_text(encoding="utf-8") for path in (root / "docs" / "ops").glob("*.md")}
    stale = sorted(name for name in pages.keys() | kept.keys() if pages.get(name) != kept.get(name))
    assert not stale, "run: python -m flambeau.tools.docs"


def test_public_names_have_docstrings() -> None:
    """The number of public names without one may only fall."""
    bare = [name for path in measures.files() for name in measures.undocumented(path)]
    allowed = int((HERE / "undocumented.txt").read_text())
    assert len(bare) <= allowed, "\n".join(bare)


def test_links_between_pages_lead_somewhere(root: Path) -> None:
    pages = [root / "README.md", *sorted((root / "docs").glob("*.md"))]
    broken = [
        f"{page.name}: {link}"
        for page in pages
        for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
        if not link.startswith("http") and not (page.parent / link).exists()
    ]
    assert not broken


def test_programs_in_the_pages_print_what_they_say(root: Path) -> None:
    """Each ```python block runs; a line `print(...)  # text` prints that text."""
    pages = [root / "README.md", *sorted((root / "docs").glob("*.md"))]
    seen = 0
    for page in pages:
        for block in re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S):
            out = io.StringIO()
            with contextlib.redirect_stdout(out):
                exec(compile(block, str(page), "exec"), {"__name__": "page"})
            said = re.findall(r"^print\(.*\)  # (.+)$", block, re.M)
            printed = out.getvalue().splitlines()
            assert [line for line in said if line not in printed] == [], (page.name, printed)
            seen += 1
    assert seen >= 2
