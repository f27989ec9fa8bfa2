"""`flambeau run`: the program sees what it would see if it were started by itself, and torch is flambeau."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import flambeau
from flambeau.tools import torch_names


def flambeau_run(*args, cwd, env=None):
    """The finished process of `python -m flambeau run ...`."""
    command = [sys.executable, "-m", "flambeau", "run", *map(str, args)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120, env=env)


def python(*args, cwd):
    """The finished process of `python ...`."""
    return subprocess.run(
        [sys.executable, *map(str, args)], cwd=cwd, capture_output=True, text=True, timeout=120
    )


SEES = '''"""Its docstring."""
from __future__ import annotations
import sys
print(sys.argv, sys.path[0], __file__, __name__, __doc__, __spec__, __package__, sorted(globals()))
class Here: pass
import pickle
print(type(pickle.loads(pickle.dumps(Here()))).__module__, sys.modules["__main__"].__file__)
'''


def test_a_program_sees_what_it_would_see_by_itself(tmp_path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "sees.py").write_text(SEES)
    (tmp_path / "deep" / "beside.py").write_text("")
    ours = flambeau_run("deep/sees.py", "one", "--two", "-h", cwd=tmp_path)
    theirs = python("deep/sees.py", "one", "--two", "-h", cwd=tmp_path)
    assert ours.returncode == 0, ours.stderr
    assert ours.stdout == theirs.stdout


@pytest.mark.parametrize(
    "source",
    [
        "def f():\n    return 1 / 0\n\nf()\n",
        "import sys\nsys.exit(7)\n",
        "import sys\nsys.exit('last words')\n",
        "x = (\n",
        "try:\n    1 / 0\nexcept ZeroDivisionError as e:\n    raise ValueError('two') from e\n",
        "import sys\nsys.excepthook = lambda *a: print('own hook', a[0].__name__)\nraise KeyError('k')\n",
        "import atexit\natexit.register(print, 'at the end')\nprint('first')\n",
        "import nosuchmodule\n",
        "raise KeyboardInterrupt\n",
    ],
    ids=["error", "exit", "message", "syntax", "chain", "hook", "atexit", "import", "interrupt"],
)
def test_it_ends_as_it_would_by_itself(tmp_path, source) -> None:
    (tmp_path / "p.py").write_text(source)
    ours, theirs = flambeau_run("p.py", cwd=tmp_path), python("p.py", cwd=tmp_path)
    assert (ours.stdout, ours.stderr) == (theirs.stdout, theirs.stderr)
    assert ours.returncode == theirs.returncode


def test_a_module_runs_by_its_name(tmp_path) -> None:
    package = tmp_path / "pack"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "__main__.py").write_text(
        "import sys\nfrom . import part\nprint(part.x, sys.argv, __spec__.name)\n"
    )
    (package / "part.py").write_text("import torch.version\nx = torch.version.__version__\n")
    done = flambeau_run("-m", "pack", "a", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (
        done.stdout == f"{flambeau.version.__version__} {[str(package / '__main__.py'), 'a']} pack.__main__\n"
    )
    assert "No module named nosuch" in flambeau_run("-m", "nosuch", cwd=tmp_path).stderr
    assert flambeau_run("nosuch.py", cwd=tmp_path).returncode == 2


NAMES = """
import sys
import torch, torchvision, torch.version, torch.nn.functional as F, torch.utils.data
from torch import nn
from torch.utils.data import DataLoader
from torchvision import transforms
import flambeau
assert torch is flambeau and torch.version is flambeau.version and F is flambeau.nn.functional
assert torchvision is flambeau.vision and sys.modules["torch.utils.data"] is flambeau.utils.data
assert flambeau.__spec__.name == "flambeau" and torch.__name__ == "torch"
try:
    import torch.nosuch
except ModuleNotFoundError as error:
    print(error)
"""


def test_torch_means_flambeau(tmp_path) -> None:
    (tmp_path / "p.py").write_text(NAMES)
    done = flambeau_run("p.py", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "No module named 'torch.nosuch'\n"), done.stderr
    assert sorted(os.listdir(tmp_path)) == ["p.py"]


CHILDREN = """
import multiprocessing, subprocess, sys
import torch
def child(queue):
    import torch.version
    queue.put(torch.__name__)
if __name__ == "__main__":
    for method in sys.argv[1:]:
        context = multiprocessing.get_context(method)
        queue = context.Queue()
        process = context.Process(target=child, args=(queue,))
        process.start()
        print(queue.get())
        process.join()
    code = "import torch, sys; print(torch.__name__, any('children' in entry for entry in sys.path))"
    print(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout, end="")
"""


def test_child_processes_have_the_names_too(tmp_path) -> None:
    (tmp_path / "p.py").write_text(CHILDREN)
    methods = ["fork", "spawn", "forkserver"] if sys.platform == "linux" else ["spawn"]
    done = flambeau_run("p.py", *methods, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n") == ["torch"] * len(methods) + ["torch False", ""]


def test_another_sitecustomize_still_runs(tmp_path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text("import sys\nsys.was_here = True\n")
    source = (
        "import subprocess, sys\nsubprocess.run([sys.executable, '-c', 'import sys; print(sys.was_here)'])\n"
    )
    (tmp_path / "p.py").write_text(source)
    path = os.pathsep.join([str(tmp_path / "site"), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = flambeau_run("p.py", cwd=tmp_path, env={**os.environ, "PYTHONPATH": path})
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr


def test_what_a_name_means() -> None:
    assert torch_names.target_of("torch") == "flambeau"
    assert torch_names.target_of("torch.nn.functional") == "flambeau.nn.functional"
    assert torch_names.target_of("torchvision.datasets") == "flambeau.vision.datasets"
    assert torch_names.target_of("torchaudio") is None and torch_names.target_of("torchx.y") is None


def test_a_missing_dependency_is_named_as_itself(tmp_path, monkeypatch) -> None:
    (tmp_path / "needy").mkdir()
    (tmp_path / "needy" / "__init__.py").write_text("import nosuchdependency\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ModuleNotFoundError, match="nosuchdependency"):
        torch_names.Finder().load("needy")
    assert torch_names.Finder().load("nosuch") is None


def test_programs_find_the_name_and_version_of_the_api(tmp_path) -> None:
    (tmp_path / "asks.py").write_text(
        "import torch, torchvision, importlib.metadata as m, importlib.util\n"
        "print(torch.__name__, torch.__version__.split('+'), m.version('torch').split('+')[0], torch.torch is torch)\n"
        "print(m.version('torchvision').split('+')[0], set(m.packages_distributions()['torch']))\n"
        "from torch.distributions.normal import Normal\n"
        "from torch.fx.experimental.symbolic_shapes import guard_or_false\n"
        "from torch.utils._pytree import tree_map\n"
        "import torch._dynamo, torch._C, torch.distributed.nn\n"
    )
    done = flambeau_run("asks.py", cwd=tmp_path)
    assert done.stdout.splitlines()[:2] == [
        "torch ['2.13.0', 'flambeau'] 2.13.0 True",
        "0.28.0 {'torch'}",
    ], done.stdout + done.stderr
    assert done.returncode == 0, done.stderr
