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


def write(folder: Path) -> None:
    """Write the pages into a folder `docs`."""
    (folder / "flags.md").write_text(flags_page(), encoding="utf-8")


if __name__ == "__main__":
    write(Path.cwd() / "docs")
