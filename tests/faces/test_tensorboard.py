"""Events are what TensorBoard's own reader finds."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import flambeau as torch

pytest.importorskip("tensorboard")
Image = pytest.importorskip("PIL.Image")

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # noqa: E402
from tensorboard.compat.proto.graph_pb2 import GraphDef  # noqa: E402
from tensorboard.plugins.hparams import plugin_data_pb2  # noqa: E402
from tensorboard.util.tensor_util import make_ndarray  # noqa: E402

from flambeau.utils.tensorboard import SummaryWriter  # noqa: E402


def found(directory: Path) -> Any:
    events = EventAccumulator(str(directory), size_guidance={"tensors": 0, "images": 0})
    events.Reload()
    return events


def test_scalars_have_their_steps(tmp_path: Path) -> None:
    with SummaryWriter(tmp_path) as writer:
        for i in range(3):
            writer.add_scalar("loss", torch.tensor([1.0 / (i + 1)]), torch.tensor(i), walltime=10.0 + i)
        writer.add_scalars("lines/both", {"a": 1, "b": np.float64(2)}, 7)
        writer.add_scalar("exact", 1 / 3, 1, new_style=True, double_precision=True)
    events = found(tmp_path)
    assert [(e.step, e.wall_time) for e in events.Scalars("loss")] == [(0, 10.0), (1, 11.0), (2, 12.0)]
    assert [e.value for e in events.Scalars("loss")] == [1.0, 0.5, np.float32(1 / 3)]
    assert make_ndarray(events.Tensors("exact")[0].tensor_proto) == 1 / 3
    assert [e.value for e in found(tmp_path / "lines_both_b").Scalars("lines/both")] == [2.0]
    with pytest.raises(ValueError, match=r"add_scalar: 'x' must be one number; got .* \(2,\)"):
        SummaryWriter(tmp_path).add_scalar("x", torch.ones(2))


def test_histograms_count_every_value(tmp_path: Path) -> None:
    values = torch.tensor([-2.0, 0.5, 0.5, 3.0], dtype=torch.bfloat16)
    with SummaryWriter(tmp_path) as writer:
        writer.add_histogram("few", values, 1)
        writer.add_histogram("even", torch.arange(100), 1, bins=np.arange(0, 101, 5.0), max_bins=10)
    few = found(tmp_path).Histograms("few")[0].histogram_value
    assert (few.min, few.max, few.num, few.sum, few.sum_squares) == (-2, 3, 4, 2, 13.5)
    counted = {edge: n for edge, n in zip(few.bucket_limit, few.bucket, strict=True) if n}
    assert [n for _, n in sorted(counted.items())] == [1, 2, 1]
    assert all(any(v <= edge <= v + 0.1 * abs(v) for edge in counted) for v in (-2, 0.5, 3))
    even = found(tmp_path).Histograms("even")[0].histogram_value
    assert list(even.bucket) == [0, *[10] * 10]
    with pytest.raises(ValueError, match="has no values"):
        SummaryWriter(tmp_path).add_histogram("none", torch.ones(0))


@pytest.mark.parametrize(
    ("shape", "layout", "size"),
    [
        ((3, 4, 6), "CHW", (4, 6)),
        ((4, 6), "HW", (4, 6)),
        ((6, 4, 1), "WHC", (4, 6)),
        ((10, 3, 4, 6), "NCHW", (8, 48)),
        ((2, 4, 6, 1), "NHWC", (4, 12)),
    ],
)
def test_images_of_all_layouts(
    tmp_path: Path, shape: tuple[int, ...], layout: str, size: tuple[int, int]
) -> None:
    given = torch.rand(shape)
    with SummaryWriter(tmp_path) as writer:
        writer.add_image("image", given, dataformats=layout)
    event = found(tmp_path).Images("image")[0]
    pixels = np.asarray(Image.open(io.BytesIO(event.encoded_image_string)))
    assert pixels.shape == (event.height, event.width, 3) == (*size, 3)
    first = given.permute([layout.index(d) for d in "NCHW" if d in layout]).numpy()
    first = first[0] if "N" in layout else first
    first = first if "C" in layout else first[None]
    assert (pixels[:4, :6] == (first * 255).astype(np.uint8).transpose(1, 2, 0)).all()
    with pytest.raises(ValueError, match="names 2 dimensions"):
        SummaryWriter(tmp_path).add_image("image", torch.rand(1, 2, 3), dataformats="HW")


def test_hyperparameters_are_a_run(tmp_path: Path) -> None:
    with SummaryWriter(tmp_path) as writer:
        writer.add_hparams(
            {"lr": 0.1, "name": "sgd", "bias": True}, {"accuracy": torch.tensor(0.5)}, run_name="one"
        )
    events = found(tmp_path / "one")
    assert events.Scalars("accuracy")[0].value == 0.5
    said = {}
    for tag, content in events.PluginTagToContent("hparams").items():
        data = plugin_data_pb2.HParamsPluginData()
        data.ParseFromString(content)
        said[tag] = data
    start = said["_hparams_/session_start_info"].session_start_info.hparams
    assert (start["lr"].number_value, start["name"].string_value, start["bias"].bool_value) == (
        0.1,
        "sgd",
        True,
    )
    with pytest.raises(ValueError, match="add_hparams: 'x' must be int, float, str, bool"):
        SummaryWriter(tmp_path).add_hparams({"x": [1]}, {})


def test_precision_over_recall(tmp_path: Path) -> None:
    labels, scores = torch.tensor([0, 1, 1, 0]), torch.tensor([0.1, 0.4, 0.9, 0.6])
    with SummaryWriter(tmp_path) as writer:
        writer.add_pr_curve("curve", labels, scores, num_thresholds=11)
    data = make_ndarray(found(tmp_path).Tensors("curve")[0].tensor_proto)
    for i, threshold in enumerate(np.arange(11) / 10):
        chosen = np.floor(scores.numpy() * 10) >= i
        truth = labels.numpy().astype(bool)
        hits, wrong = (chosen & truth).sum(), (chosen & ~truth).sum()
        assert data[:4, i].tolist() == [hits, wrong, 2 - wrong, 2 - hits], threshold
        assert (
            math.isclose(data[4, i], hits / max(hits + wrong, 1e-7), rel_tol=1e-6) and data[5, i] == hits / 2
        )


def test_the_graph_of_a_model(tmp_path: Path) -> None:
    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = torch.nn.Linear(4, 3), torch.nn.Sequential(torch.nn.Linear(3, 2))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.second(self.first(x).relu()) + 1

    model = Net()
    with SummaryWriter(tmp_path) as writer:
        writer.add_graph(model, torch.ones(5, 4))
    graph = GraphDef()
    graph.ParseFromString(found(tmp_path)._graph)
    nodes = {n.name: n for n in graph.node}
    way, name = [], "output/out_1"
    while name != "input/x_1":
        way.append(nodes[name].op)
        name = nodes[name].input[0]
    assert way == ["IO Node", "add", "linear", "relu", "linear"]
    assert list(nodes["Net/Sequential[second]/Linear[0]/linear_1"].input)[1:] == [
        "Net/Sequential[second]/Linear[0]/weight",
        "Net/Sequential[second]/Linear[0]/bias",
    ]
    shape = nodes["Net/Linear[first]/linear_1"].attr["_output_shapes"].list.shape[0]
    assert [d.size for d in shape.dim] == [5, 3]
    assert not model.first._forward_hooks and not model._forward_pre_hooks


def test_vectors_for_the_projector(tmp_path: Path) -> None:
    with SummaryWriter(tmp_path) as writer:
        writer.add_embedding(torch.eye(3), ["a", "b", "c"], torch.rand(3, 3, 4, 5))
        writer.add_embedding(
            torch.eye(2), [("a", 1), ("b", 2)], metadata_header=["name", "n"], tag="x/y", global_step=4
        )
    assert (
        tmp_path / "00000/default/tensors.tsv"
    ).read_text() == "1.0\t0.0\t0.0\n0.0\t1.0\t0.0\n0.0\t0.0\t1.0\n"
    assert (tmp_path / "00004/x%2fy/metadata.tsv").read_text() == "name\tn\na\t1\nb\t2\n"
    with Image.open(tmp_path / "00000/default/sprite.png") as sprite:
        assert sprite.size == (10, 8)
    assert (tmp_path / "projector_config.pbtxt").read_text().count("embeddings {") == 2
    with pytest.raises(ValueError, match="metadata has 1 entries for 3 vectors"):
        SummaryWriter(tmp_path).add_embedding(torch.eye(3), ["a"])


def test_the_other_kinds(tmp_path: Path) -> None:
    with SummaryWriter(tmp_path) as writer:
        writer.add_text("words", "*so*", 1)
        writer.add_audio("sound", torch.linspace(-1, 1, 50)[None], 1, sample_rate=8000)
        writer.add_video("film", torch.rand(2, 4, 3, 8, 8), 1)
        writer.add_mesh(
            "mesh", torch.rand(1, 5, 3), torch.randint(0, 255, (1, 5, 3)), torch.tensor([[[0, 1, 2]]])
        )
        writer.add_custom_scalars(
            {"both": {"loss": ["Multiline", ["a", "b"]], "range": ["Margin", ["a", "b", "c"]]}}
        )
        writer.add_image_with_boxes(
            "boxes", torch.zeros(3, 40, 40), torch.tensor([[5, 5, 20, 30]]), labels="cat"
        )
        writer.add_tensor("tensor", torch.arange(6).reshape(2, 3))
    events = found(tmp_path)
    assert make_ndarray(events.Tensors("words/text_summary")[0].tensor_proto).tolist() == [b"*so*"]
    assert events.Audio("sound")[0].length_frames == 50 and events.Audio("sound")[0].sample_rate == 8000
    film = Image.open(io.BytesIO(events.Images("film")[0].encoded_image_string))
    assert film.n_frames == 4 and film.size == (8, 16)
    assert {"mesh_VERTEX", "mesh_FACE", "mesh_COLOR"} <= set(events.Tags()["tensors"])
    boxes = np.asarray(Image.open(io.BytesIO(events.Images("boxes")[0].encoded_image_string)))
    assert boxes[10, 5].tolist() == [255, 0, 0] and boxes[35, 35].tolist() == [0, 0, 0]
    assert make_ndarray(events.Tensors("tensor")[0].tensor_proto).tolist() == [[0, 1, 2], [3, 4, 5]]


def test_adding_after_close_and_purging(tmp_path: Path) -> None:
    writer = SummaryWriter(tmp_path, purge_step=3)
    writer.add_scalar("x", 1.0, 3)
    writer.close()
    writer.add_scalar("x", 2.0, 4)
    writer.flush()
    assert len(list(tmp_path.iterdir())) == 2
    assert [e.step for e in found(tmp_path).Scalars("x")] == [3, 4]
    writer.close()
    assert writer.get_logdir() == tmp_path
