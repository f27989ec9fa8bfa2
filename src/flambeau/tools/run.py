"""`flambeau run`: a program runs as if started by itself, in a process where `import torch` means flambeau."""

from __future__ import annotations

import builtins
import os.path
import signal
import sys
from importlib.machinery import SourceFileLoader
from types import CodeType, ModuleType, TracebackType
from typing import Any

from .. import config
from . import torch_names

CHILDREN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "children")


def run(program: str, args: list[str], as_module: bool = False) -> int:
    """Execute a script (or module) as `__main__` with these arguments; the exit status.

    Processes that it starts (forked, spawned, or Python called by name) know the same names, through PYTHONPATH.
    """
    torch_names.install()
    hand_down()
    module = ModuleType("__main__")
    module.__builtins__ = builtins  # type: ignore[attr-defined]
    if sys.version_info < (3, 14):
        module.__annotations__ = {}
    try:
        prepare = prepare_module if as_module else prepare_script
        code = prepare(module, program)
    except (OSError, ImportError) as error:
        print(f"flambeau run: {error}", file=sys.stderr)
        return 2
    except SyntaxError as error:
        report(error)
        return 1
    sys.argv = [module.__file__ if as_module else program, *args]  # type: ignore[list-item]
    sys.modules["__main__"] = module
    return execute(code, module.__dict__)


def hand_down() -> None:
    """Put the folder of our `sitecustomize` first on the PYTHONPATH of child processes."""
    entries = [entry for entry in config.environment("PYTHONPATH").split(os.pathsep) if entry]
    if CHILDREN not in entries:
        config.export("PYTHONPATH", os.pathsep.join([CHILDREN, *entries]))


def prepare_script(module: ModuleType, program: str) -> CodeType:
    """Set the attributes and `sys.path` that a script sees; its code."""
    path = os.path.abspath(program)
    if os.path.isdir(path):
        path = os.path.join(path, "__main__.py")
    with open(path, "rb") as file:
        source = file.read()
    module.__file__ = path
    module.__loader__ = SourceFileLoader("__main__", path)
    module.__package__ = module.__spec__ = None
    module.__cached__ = None  # type: ignore[attr-defined]
    if not sys.flags.safe_path:
        sys.path[0] = os.path.dirname(path)
    return compile(source, path, "exec", dont_inherit=True)


def prepare_module(module: ModuleType, name: str) -> CodeType:
    """As `prepare_script`, for a module that is found by its name (`python -m`)."""
    from importlib.util import find_spec

    if not sys.flags.safe_path:
        sys.path[0] = os.getcwd()
    spec = find_spec(name)
    if spec is not None and spec.submodule_search_locations is not None:
        spec = find_spec(name + ".__main__")
    code = spec.loader.get_code(spec.name) if spec and hasattr(spec.loader, "get_code") else None  # type: ignore
    if spec is None or code is None:
        raise ImportError(
            f"No module named {name}" if spec is None else f"No code object available for {name}"
        )
    module.__spec__, module.__loader__ = spec, spec.loader
    module.__package__, module.__file__ = spec.parent, spec.origin
    module.__cached__ = spec.cached  # type: ignore[attr-defined]
    return code


def execute(code: CodeType, names: dict[str, Any]) -> int:
    """Run the program to its end; an error is reported without the frames of this file."""
    try:
        exec(code, names)
    except SystemExit:
        raise
    except KeyboardInterrupt as error:
        report(error)
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # end as Python does, so that a shell sees the signal
        signal.raise_signal(signal.SIGINT)
        return 130
    except BaseException as error:
        report(error)
        return 1
    return 0


def report(error: BaseException) -> None:
    """Hand an error to `sys.excepthook`, its traceback cut so that it begins in the program."""
    trace: TracebackType | None = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    flush()
    sys.last_type, sys.last_value, sys.last_traceback = type(error), error, trace
    sys.excepthook(type(error), error.with_traceback(trace), trace)
    flush()


def flush() -> None:
    """Write out what the program printed, so that the order of the two streams is kept."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            pass
