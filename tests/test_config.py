"""The flag table: defaults, the environment, set, watch, and that nothing else reads the environment."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from flambeau import config

SOURCE = Path(config.__file__).parent


@pytest.fixture
def restore():
    before = {name: getattr(config, name) for name in config.FLAGS}
    yield
    for name, value in before.items():
        setattr(config, name, value)
    config._watchers.pop("verify", None)


def value_in_child(flag, **env):
    code = f"from flambeau import config; print(repr(config.{flag}))"
    keep = {k: v for k, v in os.environ.items() if not k.startswith(("FLAMBEAU_", "OMP_", "MKL_"))}
    keep["PYTHONPATH"] = str(SOURCE.parent)
    return subprocess.run([sys.executable, "-c", code], env=keep | env, capture_output=True, text=True)


def test_table():
    assert len(config.FLAGS) <= 25
    for name, flag in config.FLAGS.items():
        assert name in config.__annotations__
        assert flag.env == "FLAMBEAU_" + name.upper()
        assert flag.doc.endswith(".")
        assert flag.doc.count(". ") == 0
    assert set(config.__annotations__) - {"_watchers"} == set(config.FLAGS)


def test_environment_is_read():
    assert value_in_child("debug", FLAMBEAU_DEBUG="3").stdout == "3\n"
    assert value_in_child("eager", FLAMBEAU_EAGER="yes").stdout == "True\n"


def test_wrong_environment_is_refused():
    done = value_in_child("debug", FLAMBEAU_DEBUG="8")
    assert done.returncode
    assert "FLAMBEAU_DEBUG: '8' is not in 0..7" in done.stderr


@pytest.mark.parametrize(
    ("env", "threads"),
    [
        ({}, 0),
        ({"OMP_NUM_THREADS": "3"}, 3),
        ({"OMP_NUM_THREADS": "3,2"}, 3),
        ({"OMP_NUM_THREADS": "many"}, 0),
        ({"OMP_NUM_THREADS": "3", "MKL_NUM_THREADS": "2"}, 2),
        ({"OMP_NUM_THREADS": "3", "FLAMBEAU_NUM_THREADS": "5"}, 5),
    ],
)
def test_num_threads(env, threads):
    assert value_in_child("num_threads", **env).stdout == f"{threads}\n"


def test_set_and_watch(restore):
    seen = []
    config.watch("verify", seen.append)
    config.set("verify", True)
    config.set("verify", "0")
    assert seen == [True, False]
    assert config.verify is False
    config.set("memory_limit", "64M")
    assert config.memory_limit == 64 << 20


@pytest.mark.parametrize(
    ("name", "value"), [("backend", "cuda"), ("eager", "maybe"), ("spin_us", "x"), ("nope", 1)]
)
def test_set_refuses(restore, name, value):
    with pytest.raises(ValueError, match=name):
        config.set(name, value)


def test_nothing_else_reads_the_environment():
    found = [
        str(path.relative_to(SOURCE))
        for path in SOURCE.rglob("*.py")
        if path.name != "config.py" and re.search(r"os\.(environ|getenv|putenv)", path.read_text())
    ]
    assert found == []
