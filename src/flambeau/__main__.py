"""The command `flambeau`, also `python -m flambeau`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse


def main(argv: list[str] | None = None) -> int:
    """Read the command line, call the command; the exit status."""
    args = sys.argv[1:] if argv is None else argv
    if args[:1] == ["run"]:  # everything after the program's name is the program's own
        return run(args[1:])
    options = parser().parse_args(args)
    if options.command is None:
        parser().print_help()
        return 2
    return options.call(options)


def run(args: list[str]) -> int:
    """`flambeau run PROGRAM [ARGS]`, `flambeau run -m MODULE [ARGS]`."""
    as_module = args[:1] == ["-m"]
    rest = args[as_module:]
    if not rest or rest[0].startswith("-"):
        asked = bool(rest) and rest[0] in ("-h", "--help")
        text = (
            "usage: flambeau run PROGRAM [ARGS]\n       flambeau run -m MODULE [ARGS]\n\n"
            "Run a Python program in a process where `import torch` and `import torchvision` mean flambeau."
        )
        print(text, file=sys.stdout if asked else sys.stderr)
        return 0 if asked else 2
    from .tools.run import run as execute

    return execute(rest[0], rest[1:], as_module)


def demo(options: argparse.Namespace) -> int:
    """`flambeau demo`."""
    from .tools.demo import Options, demo

    return demo(
        Options(options.epochs, options.batch_size, options.lr, options.seed, options.plot, options.save)
    )


def env(options: argparse.Namespace) -> int:
    """`flambeau env`."""
    from .tools.facts import facts

    width = max(len(name) for name, _ in facts())
    for name, value in facts():
        print(f"{name:{width}}  {value}")
    return 0


def cache(options: argparse.Namespace) -> int:
    """`flambeau cache info`, `flambeau cache clear`."""
    from .tools.facts import cache_clear, cache_info

    print(cache_clear() if options.action == "clear" else cache_info())
    return 0


def parser() -> argparse.ArgumentParser:
    """The grammar of the command line (for `run`, of its help alone)."""
    import argparse

    from .version import __version__

    top = argparse.ArgumentParser(
        prog="flambeau", description="Deep learning with PyTorch's API, in Python only."
    )
    top.add_argument("--version", action="version", version=f"flambeau {__version__}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND")
    commands.add_parser("run", help="run a program that says `import torch`")
    one = commands.add_parser("demo", help="train a small network on handwritten digits")
    one.add_argument("--epochs", type=int, default=12, help="passes over the training images (%(default)s)")
    one.add_argument("--batch-size", type=int, default=32, help="images in one step (%(default)s)")
    one.add_argument("--lr", type=float, default=0.003, help="learning rate of Adam (%(default)s)")
    one.add_argument("--seed", type=int, default=0, help="of the weights and the order (%(default)s)")
    one.add_argument(
        "--plot", metavar="FILE", help="write the curves of loss and accuracy (needs matplotlib)"
    )
    one.add_argument("--save", metavar="FILE", help="keep the trained model here")
    one.set_defaults(call=demo)
    two = commands.add_parser("env", help="print versions, processor, threads and folders")
    two.set_defaults(call=env)
    three = commands.add_parser("cache", help="the compiled kernels on disk")
    three.add_argument("action", choices=["info", "clear"], nargs="?", default="info")
    three.set_defaults(call=cache)
    return top


if __name__ == "__main__":
    sys.exit(main())
