"""Files that TensorBoard's projector reads: vectors, what each is called, its picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from google.protobuf import text_format
from tensorboard.plugins.projector.projector_config_pb2 import EmbeddingInfo, ProjectorConfig

from ...errors import fail
from ...late import np
from . import pixels
from .pixels import array


def write(
    directory: Path, place: str, tag: str, mat: Any, metadata: Any, label_img: Any, metadata_header: Any
) -> None:
    """Vectors in directory/place, and their entry in the directory's projector_config.pbtxt."""
    vectors = array(mat)
    if vectors.ndim != 2:
        fail(ValueError, f"add_embedding: mat must have two dimensions; got shape {vectors.shape}")
    for what, given in (("metadata", metadata), ("label_img", label_img)):
        if given is not None and len(given) != len(vectors):
            fail(ValueError, f"add_embedding: {what} has {len(given)} entries for {len(vectors)} vectors")
    info = EmbeddingInfo(tensor_name=f"{tag}:{place.split('/')[0]}", tensor_path=f"{place}/tensors.tsv")
    files: dict[str, bytes] = {"tensors.tsv": _lines(vectors.tolist())}
    if metadata is not None:
        rows = metadata if metadata_header is None else [metadata_header, *metadata]
        files["metadata.tsv"] = _lines(r if metadata_header else [r] for r in rows)
        info.metadata_path = f"{place}/metadata.tsv"
    if label_img is not None:
        images = pixels.in_bytes(array(label_img))
        side = int(np.ceil(np.sqrt(len(images))))
        blank = np.zeros((side * side, *images.shape[1:]), np.uint8)
        blank[: len(images)] = images
        files["sprite.png"] = pixels.png(pixels.grid(blank, side))
        info.sprite.image_path = f"{place}/sprite.png"
        info.sprite.single_image_dim.extend([images.shape[3], images.shape[2]])
    (directory / place).mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        replace(directory / place / name, data)
    found = ProjectorConfig()
    config = directory / "projector_config.pbtxt"
    if config.exists():
        text_format.Parse(config.read_text(encoding="utf-8"), found)
    found.embeddings.append(info)
    replace(config, text_format.MessageToString(found).encode())


def _lines(rows: Any) -> bytes:
    return "".join("\t".join(str(v) for v in row) + "\n" for row in rows).encode()


def replace(path: Path, data: bytes) -> None:
    """A file is there whole or not at all."""
    beside = path.with_name(f"{path.name}.part")
    beside.write_bytes(data)
    beside.replace(path)
