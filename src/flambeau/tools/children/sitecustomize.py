"""Python runs this at the start of a process whose PYTHONPATH names this folder: the children of `flambeau run`."""

import sys
from importlib.machinery import PathFinder
from importlib.util import module_from_spec, spec_from_file_location
from os.path import abspath, dirname, join, realpath

_here = dirname(abspath(__file__))


def _load(spec):
    """The module of a spec, executed."""
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_load(spec_from_file_location("_flambeau_torch_names", join(dirname(_here), "torch_names.py"))).install()

# Another sitecustomize further along the path has the right to run, as it would have without us.
sys.path[:] = [entry for entry in sys.path if realpath(entry or ".") != realpath(_here)]
if _other := PathFinder.find_spec("sitecustomize", sys.path):
    _load(_other)
