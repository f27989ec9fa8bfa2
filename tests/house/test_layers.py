"""A folder imports only from folders above it in the table of DESIGN.md."""

from __future__ import annotations

from flambeau.tools import measures

# Imports inside functions that go up, each with its reason. (module, imported module): reason. At most a handful.
ALLOWED: dict[tuple[str, str], str] = {
    (
        "flambeau.tensor.namespace",
        "flambeau",
    ): "gives the package the submodules that are imported on first use",
    ("flambeau.ops.index_write", "flambeau.tensor.indexing"): "reads an index as x[...] does",
}


def shown(items: list[measures.Import]) -> str:
    return "\n".join(f"{i.source}:{i.line} imports {i.target}" for i in items)


def test_no_module_imports_from_a_layer_below_its_own() -> None:
    up = [item for item in measures.against_the_layers() if not item.inside]
    assert not up, shown(up)


def test_imports_inside_functions_that_go_up_are_few_and_have_reasons() -> None:
    up = [item for item in measures.against_the_layers() if item.inside]
    unlisted = [item for item in up if (item.source, item.target) not in ALLOWED]
    assert not unlisted, shown(unlisted)
    assert len(ALLOWED) <= 10
    stale = set(ALLOWED) - {(item.source, item.target) for item in up}
    assert not stale, f"listed but gone: {stale}"


def test_no_modules_import_each_other() -> None:
    assert measures.cycles() == []


def test_nothing_imports_tools() -> None:
    guests = [
        item
        for path in measures.files()
        for item in measures.imports(path)
        if item.target.startswith("flambeau.tools")
        and not item.source.startswith(("flambeau.tools", "flambeau.__main__"))
    ]
    assert not guests, shown(guests)


def test_the_measure_sees_an_import_that_goes_up(tmp_path, monkeypatch) -> None:
    package = tmp_path / "flambeau"
    for folder, text in {
        "loop": "from ..stream import value\n\ndef f():\n    from .. import codegen\n",
        "stream": "from ..loop import ir\n",
        "codegen": "",
    }.items():
        (package / folder).mkdir(parents=True)
        (package / folder / "__init__.py").write_text("")
        (package / folder / "value.py").write_text(text)
    (package / "__init__.py").write_text("")
    (package / "loop" / "ir.py").write_text("from ..stream.value import x\n")
    monkeypatch.setattr(measures, "PACKAGE", package)
    monkeypatch.setattr(measures.files, "__defaults__", (package,))
    measures.known_modules.cache_clear()
    try:
        up = {(i.source, i.target, i.inside) for i in measures.against_the_layers()}
        circles = measures.cycles()
    finally:
        measures.known_modules.cache_clear()
    assert up == {
        ("flambeau.loop.value", "flambeau.stream.value", False),
        ("flambeau.loop.value", "flambeau.codegen", True),
        ("flambeau.loop.ir", "flambeau.stream.value", False),
    }
    assert circles == [["flambeau.loop.ir", "flambeau.stream.value"]]


def test_nn_is_written_against_the_public_api() -> None:
    """The tests run these files on PyTorch too (nn/host.py), where there is nothing below the public API."""
    below = ("flambeau.ops", "flambeau.stream", "flambeau.tensor", "flambeau.amp", "flambeau.device")
    deep = [
        item
        for path in measures.files()
        if measures.module_name(path).startswith(("flambeau.nn.functional", "flambeau.nn.layers"))
        for item in measures.imports(path)
        if not item.inside and item.target.startswith(below)
    ]
    assert not deep, shown(deep)
