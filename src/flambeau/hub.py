"""torch.hub: weights from the web, kept in a folder; loading models' code from repositories is not there yet."""

from __future__ import annotations

import os
import re
from typing import Any
from urllib.parse import urlparse

from .absent import functions

globals().update(functions("hub", "running code from a repository", "help", "list", "load"))
HASH_REGEX = re.compile(r"-([a-f0-9]*)\.")  # resnet18-bf5a0b2e.pth
_folder = os.path.join("~", ".cache", "flambeau", "hub")


def get_dir() -> str:
    """The folder in which downloads are kept."""
    return os.path.expanduser(_folder)


def _get_torch_home() -> str:
    """The folder in which that of downloads is."""
    return os.path.dirname(get_dir())


def set_dir(d: str) -> None:
    """Set that folder."""
    global _folder
    _folder = os.fspath(d)


def download_url_to_file(url: str, dst: str, hash_prefix: str | None = None, progress: bool = True) -> None:
    """Save what the URL gives; the file appears when it is whole and its SHA-256 begins with hash_prefix."""
    import hashlib
    from urllib.request import urlopen

    digest, part = hashlib.sha256(), f"{dst}.{os.getpid()}.part"
    try:
        with urlopen(url) as source, open(part, "wb") as file:
            while block := source.read(1 << 20):
                digest.update(block)
                file.write(block)
        if hash_prefix and not digest.hexdigest().startswith(hash_prefix):
            raise RuntimeError(
                f'invalid hash value (expected "{hash_prefix}", got "{digest.hexdigest()[: len(hash_prefix)]}")'
            )
        os.replace(part, dst)
    finally:
        if os.path.exists(part):
            os.remove(part)


def load_state_dict_from_url(
    url: str,
    model_dir: str | None = None,
    map_location: Any = None,
    progress: bool = True,
    check_hash: bool = False,
    file_name: str | None = None,
    weights_only: bool = True,
) -> Any:
    """The object that a file on the web holds, downloaded once; check_hash: its name ends in -<sha256...>.ext."""
    import re

    from .io import load

    folder = model_dir or os.path.join(get_dir(), "checkpoints")
    os.makedirs(folder, exist_ok=True)
    name = file_name or os.path.basename(urlparse(url).path)
    path = os.path.join(folder, name)
    if not os.path.exists(path):
        found = re.search(r"-([a-f0-9]*)\.", name) if check_hash else None
        download_url_to_file(url, path, found.group(1) if found else None, progress)
    return load(path, map_location=map_location, weights_only=weights_only)
