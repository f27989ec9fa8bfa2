"""What the documentation must keep up with."""

from __future__ import annotations

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
