"""The pages of the documentation that are made from the source: `python -m flambeau.tools.docs` writes them."""

from __future__ import annotations

from pathlib import Path

from .. import config


def flags_page() -> str:
    """docs/flags.md, from the one table of flags."""
    lines = [
        "# Flags",
        "",
        "Made from `flambeau/config.py` by `python -m flambeau.tools.docs`.",
        "",
        "A flag is read from the environment when flambeau is imported and can be changed with "
        "`flambeau.config.set(name, value)`.",
        "",
        "| variable | default | what it does |",
        "|---|---|---|",
    ]
    for flag in config.FLAGS.values():
        default = "(depends on the machine)" if callable(flag.default) else f"`{_shown(flag.default)}`"
        lines.append(f"| `{flag.env}` | {default} | {flag.doc} |")
    return "\n".join(lines) + "\n"


def _shown(value: object) -> str:
    """A default as one would write it in the environment."""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, int) and value >= 1 << 20:
        for unit, size in (("G", 1 << 30), ("M", 1 << 20)):
            if value % size == 0:
                return f"{value // size}{unit}"
    return str(value)


def op_pages() -> dict[str, str]:
    """docs/ops/<family>.md, one page for each family of ops, from the entries and their sentences."""
    import importlib

    import flambeau  # noqa: F401  (fills the book)
    from flambeau.ops import registry

    families: dict[str, list[str]] = {}
    for name, family in registry.FAMILY.items():
        family = family or "scatter"  # generated functions have no module of their own
        families.setdefault(family, []).append(name)
    pages, index = (
        {},
        ["# The book of ops", "", "Made from the source by `python -m flambeau.tools.docs`.", ""],
    )
    for family, names in sorted(families.items()):
        module = importlib.import_module(f"flambeau.ops.{family}")
        title = (module.__doc__ or family).strip().splitlines()[0].rstrip(".")
        rows = [
            f"# {family}",
            "",
            f"{title}.",
            "",
            "| name | as | what it does | gradient |",
            "|---|---|---|---|",
        ]
        rows += [_op_row(name) for name in sorted(names)]
        pages[f"{family}.md"] = "\n".join(rows) + "\n"
        index.append(f"- [{family}]({family}.md): {title}.")
    pages["index.md"] = "\n".join(index) + "\n"
    return pages


def _op_row(name: str) -> str:
    from flambeau.ops import registry
    from flambeau.stream.gradient import BOOK

    fn = BOOK[name]
    entry = getattr(fn, "entry", None)
    faces = [f"`torch.{name}`"] if dict.__contains__(registry.FUNCTIONS, name) else []
    faces += [f"`Tensor.{name}`"] if name in registry.METHODS else []
    faces += [f"`{face}.{name}`" for face, table in registry.FACES.items() if name in table]
    sentence = (fn.__doc__ or "").strip().split("\n\n")[0].replace("\n", " ").replace("|", "\\|")
    gradient = "by its parts" if entry is None else "yes" if entry.grads is not None else "no"
    return f"| `{name}` | {', '.join(faces)} | {' '.join(sentence.split())} | {gradient} |"


def write(folder: Path) -> None:
    """Write the pages into a folder `docs`."""
    (folder / "flags.md").write_text(flags_page(), encoding="utf-8")
    (folder / "ops").mkdir(exist_ok=True)
    for name, page in op_pages().items():
        (folder / "ops" / name).write_text(page, encoding="utf-8")


if __name__ == "__main__":
    write(Path.cwd() / "docs")
