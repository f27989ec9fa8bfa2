"""Each system's way to sleep is valid IR and compiles for its machines, wherever the tests run."""

import llvmlite.binding as llvm
import pytest

from flambeau.device import native, sleep

TRIPLES = {
    "linux": ("x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"),
    "darwin": ("arm64-apple-darwin", "x86_64-apple-darwin"),
    "ulock": ("arm64-apple-darwin", "x86_64-apple-darwin"),
    "windows": ("x86_64-pc-windows-msvc",),
    "poll": ("x86_64-unknown-freebsd", "riscv64-unknown-linux-gnu"),
}


@pytest.mark.parametrize("way", sorted(TRIPLES))
def test_compiles(way):
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    for triple in TRIPLES[way]:
        machine = triple.split("-")[0].replace("arm64", "aarch64")
        text = native.text(machine, sleep.all_texts()[way])
        module = llvm.parse_assembly(f'target triple = "{triple}"\n{text}')
        module.verify()
        features = "+a" if machine.startswith("riscv") else ""
        target_machine = llvm.Target.from_triple(triple).create_target_machine(features=features, opt=2)
        assembly = target_machine.emit_assembly(module)
        assert "flambeau_worker" in assembly
        undefined = [f.name for f in module.functions if f.is_declaration and not f.name.startswith("llvm.")]
        assert undefined == []


def test_the_choice_of_this_system_has_addresses():
    text, addresses = sleep.choose()
    assert "@os_wait" in text
    assert len(addresses) == 3
    assert addresses[0]
    assert addresses[2]
