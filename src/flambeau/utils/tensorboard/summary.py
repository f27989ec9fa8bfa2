"""What TensorBoard's plugins read: a Summary for each kind of value."""

from __future__ import annotations

import io
import json
import wave
from collections.abc import Sequence
from typing import Any

from tensorboard.compat.proto.summary_pb2 import HistogramProto, Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.compat.proto.types_pb2 import DataType
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.hparams import api_pb2, plugin_data_pb2
from tensorboard.plugins.mesh import metadata as mesh_metadata
from tensorboard.plugins.mesh.plugin_data_pb2 import MeshPluginData
from tensorboard.plugins.pr_curve.plugin_data_pb2 import PrCurvePluginData
from tensorboard.plugins.text.plugin_data_pb2 import TextPluginData

from ...errors import fail
from ...late import np
from . import pixels
from .pixels import array

_DTYPES = {
    "float16": "DT_HALF",
    "float32": "DT_FLOAT",
    "float64": "DT_DOUBLE",
    "int8": "DT_INT8",
    "int16": "DT_INT16",
    "int32": "DT_INT32",
    "int64": "DT_INT64",
    "uint8": "DT_UINT8",
    "bool": "DT_BOOL",
    "complex64": "DT_COMPLEX64",
    "complex128": "DT_COMPLEX128",
}


def _plugin(name: str, content: Any = b"") -> SummaryMetadata:
    return SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name=name, content=content))


def _shape(sizes: Sequence[int]) -> TensorShapeProto:
    return TensorShapeProto(dim=[TensorShapeProto.Dim(size=n) for n in sizes])


def _proto(values: Any) -> TensorProto:
    """An array as it lies in memory."""
    dtype = DataType.Value(_DTYPES[values.dtype.name])
    return TensorProto(
        dtype=dtype, tensor_shape=_shape(values.shape), tensor_content=np.ascontiguousarray(values).tobytes()
    )


def _string(text: str | bytes, shape: Sequence[int] = ()) -> TensorProto:
    data = text.encode() if isinstance(text, str) else text
    return TensorProto(dtype=DataType.DT_STRING, string_val=[data], tensor_shape=_shape(shape))


def _one(**parts: Any) -> Summary:
    return Summary(value=[Summary.Value(**parts)])


def scalar(tag: str, value: Any, new_style: bool = False, double_precision: bool = False) -> Summary:
    """One number."""
    values = array(value)
    if values.size != 1:
        fail(ValueError, f"add_scalar: {tag!r} must be one number; got a tensor of shape {values.shape}")
    number = values.reshape(()).astype(np.float64 if double_precision else np.float32)
    if new_style:
        return _one(tag=tag, tensor=_proto(number), metadata=_plugin("scalars"))
    return _one(tag=tag, simple_value=float(number))


def tensor(tag: str, value: Any) -> Summary:
    """A tensor with its shape and dtype."""
    values = array(value)
    if values.dtype.name not in _DTYPES:
        fail(
            ValueError, f"add_tensor: {tag!r} has a dtype that TensorBoard does not have; got {values.dtype}"
        )
    return _one(tag=tag, tensor=_proto(values), metadata=_plugin("tensor"))


def histogram(tag: str, value: Any, bins: Any, max_bins: int | None = None) -> Summary:
    """Counts of values between edges, without the empty bins before the first value and after the last."""
    values = array(value).astype(np.float64).reshape(-1)
    if not values.size:
        fail(ValueError, f"add_histogram: {tag!r} has no values")
    counts, edges = np.histogram(values, bins)
    if max_bins is not None and len(counts) > max_bins:
        every = len(counts) // max_bins
        counts = np.add.reduceat(counts, np.arange(0, len(counts), every))
        edges = np.append(edges[:-1:every], edges[-1])
    filled = np.flatnonzero(counts)
    if not filled.size:
        fail(ValueError, f"add_histogram: no value of {tag!r} lies within the bins")
    first, last = int(filled[0]), int(filled[-1])
    # TensorBoard reads a bin from the limit before it: an empty bin in front says where the first begins.
    shown = counts[first - 1 : last + 1] if first else np.append([0], counts[: last + 1])
    return histogram_raw(
        tag,
        float(values.min()),
        float(values.max()),
        len(values),
        float(values.sum()),
        float(values.dot(values)),
        edges[first : last + 2].tolist(),
        shown.tolist(),
    )


def histogram_raw(
    tag: str,
    min: float,
    max: float,
    num: int,
    sum: float,
    sum_squares: float,
    bucket_limits: Sequence[float],
    bucket_counts: Sequence[float],
) -> Summary:
    """Counts that are known: the upper limit of each bin and how many lie below it and not in the one before."""
    if len(bucket_limits) != len(bucket_counts):
        fail(
            ValueError,
            f"add_histogram_raw: as many limits as counts are needed; got {len(bucket_limits)} and "
            f"{len(bucket_counts)}",
        )
    found = HistogramProto(
        min=min,
        max=max,
        num=num,
        sum=sum,
        sum_squares=sum_squares,
        bucket_limit=bucket_limits,
        bucket=bucket_counts,
    )
    return _one(tag=tag, histo=found)


def _image(tag: str, image: Any, rescale: float = 1) -> Summary:
    height, width, channels = image.shape
    return _one(
        tag=tag,
        image=Summary.Image(
            height=int(height * rescale),
            width=int(width * rescale),
            colorspace=channels,
            encoded_image_string=pixels.png(image, rescale),
        ),
    )


def image(tag: str, value: Any, dataformats: str) -> Summary:
    """An image, or several in a grid."""
    return _image(tag, pixels.in_bytes(pixels.rows_first(array(value), dataformats)))


def image_boxes(
    tag: str, value: Any, boxes: Any, rescale: float, dataformats: str, labels: list[str] | None
) -> Summary:
    """An image with boxes."""
    drawn = pixels.in_bytes(pixels.rows_first(array(value), dataformats))
    return _image(tag, pixels.with_boxes(drawn, array(boxes), labels), rescale)


def video(tag: str, value: Any, fps: float) -> Summary:
    """Videos (N, time, channels, height, width) in a grid."""
    frames = pixels.in_bytes(pixels.beside(array(value)))
    _, height, width, channels = frames.shape
    return _one(
        tag=tag,
        image=Summary.Image(
            height=height, width=width, colorspace=channels, encoded_image_string=pixels.gif(frames, fps)
        ),
    )


def audio(tag: str, value: Any, sample_rate: int) -> Summary:
    """Samples in [-1, 1] of one channel, as 16 bits."""
    samples = array(value).squeeze()
    if samples.ndim != 1:
        fail(ValueError, f"add_audio: one channel is needed; got a tensor of shape {array(value).shape}")
    samples = (samples.clip(-1, 1) * np.iinfo(np.int16).max).astype("<i2")
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(sample_rate)
        writer.writeframes(samples.tobytes())
    return _one(
        tag=tag,
        audio=Summary.Audio(
            sample_rate=sample_rate,
            num_channels=1,
            length_frames=len(samples),
            encoded_audio_string=file.getvalue(),
            content_type="audio/wav",
        ),
    )


def text(tag: str, value: str) -> Summary:
    """Text in Markdown."""
    metadata = _plugin("text", TextPluginData(version=0).SerializeToString())
    return _one(tag=f"{tag}/text_summary", tensor=_string(value, (1,)), metadata=metadata)


def custom_scalars(layout: dict[str, dict[str, Sequence[Any]]]) -> Summary:
    """Which scalars are shown together: category -> chart -> ("Margin" or "Multiline", tags)."""
    categories = []
    for category, charts in layout.items():
        made = []
        for title, (kind, tags, *_) in charts.items():
            if kind == "Margin":
                if len(tags) != 3:
                    fail(
                        ValueError,
                        f"add_custom_scalars: a margin has three tags: value, lower, upper; got {tags}",
                    )
                series = layout_pb2.MarginChartContent.Series(value=tags[0], lower=tags[1], upper=tags[2])
                content = {"margin": layout_pb2.MarginChartContent(series=[series])}
            else:
                content = {"multiline": layout_pb2.MultilineChartContent(tag=list(tags))}
            made.append(layout_pb2.Chart(title=title, **content))
        categories.append(layout_pb2.Category(title=category, chart=made))
    return _one(
        tag="custom_scalars__config__",
        tensor=_string(layout_pb2.Layout(category=categories).SerializeToString()),
        metadata=_plugin("custom_scalars"),
    )


def hparams(
    parameters: dict[str, Any], metrics: dict[str, Any], domains: dict[str, list[Any]] | None
) -> tuple[Summary, Summary, Summary]:
    """An experiment's hyperparameters and metrics, and this run's: experiment, start of the run, end of the run."""
    for name, given in (("hparam_dict", parameters), ("metric_dict", metrics)):
        if not isinstance(given, dict):
            fail(TypeError, f"add_hparams: {name} must be a dict; got {type(given).__name__}")
    infos = []
    start = plugin_data_pb2.SessionStartInfo()
    for name, value in parameters.items():
        if value is None:
            continue
        kind, set_field = _kind_of_parameter(name, value)
        setattr(start.hparams[name], set_field, value.item() if hasattr(value, "item") else value)
        info = api_pb2.HParamInfo(name=name, type=kind)
        for choice in (domains or {}).get(name, ()):
            setattr(info.domain_discrete.values.add(), set_field, choice)
        infos.append(info)
    experiment = api_pb2.Experiment(
        hparam_infos=infos,
        metric_infos=[api_pb2.MetricInfo(name=api_pb2.MetricName(tag=name)) for name in metrics],
    )
    end = plugin_data_pb2.SessionEndInfo(status=api_pb2.Status.Value("STATUS_SUCCESS"))
    data = plugin_data_pb2.HParamsPluginData

    def said(tag: str, **content: Any) -> Summary:
        return _one(
            tag=f"_hparams_/{tag}",
            metadata=_plugin("hparams", data(version=0, **content).SerializeToString()),
        )

    return (
        said("experiment", experiment=experiment),
        said("session_start_info", session_start_info=start),
        said("session_end_info", session_end_info=end),
    )


def _kind_of_parameter(name: str, value: Any) -> tuple[Any, str]:
    """The type of a hyperparameter and the field of a value that holds it."""
    if isinstance(value, (bool, np.bool_)):
        return api_pb2.DataType.Value("DATA_TYPE_BOOL"), "bool_value"
    if isinstance(value, str):
        return api_pb2.DataType.Value("DATA_TYPE_STRING"), "string_value"
    if isinstance(value, (int, float, np.number)) or (hasattr(value, "detach") and value.numel() == 1):
        return api_pb2.DataType.Value("DATA_TYPE_FLOAT64"), "number_value"
    fail(
        ValueError,
        f"add_hparams: {name!r} must be int, float, str, bool or a tensor of one; got {type(value).__name__}",
    )


def pr_curve(tag: str, labels: Any, predictions: Any, num_thresholds: int, weights: Any) -> Summary:
    """Precision over recall of predictions in [0, 1] of labels 0 and 1, at thresholds that lie evenly."""
    count = min(num_thresholds, 127)
    truth = array(labels).reshape(-1).astype(np.float64)
    scores = array(predictions).reshape(-1)
    weighed = np.ones_like(truth) if weights is None else array(weights).reshape(-1).astype(np.float64)
    place = np.floor(scores * np.float32(count - 1)).astype(np.int64)

    def at_least(weight: Any) -> Any:  # what lies at each threshold or above it
        found = np.bincount(place.clip(0, count - 1), weight, count)
        return np.cumsum(found[::-1])[::-1]

    hits, wrong = at_least(truth * weighed), at_least((1 - truth) * weighed)
    least = 1e-7
    return pr_curve_raw(
        tag,
        hits,
        wrong,
        wrong[0] - wrong,
        hits[0] - hits,
        hits / np.maximum(least, hits + wrong),
        hits / np.maximum(least, hits[0]),
        count,
    )


def pr_curve_raw(
    tag: str, tp: Any, fp: Any, tn: Any, fn: Any, precision: Any, recall: Any, num_thresholds: int
) -> Summary:
    """The same from counts at thresholds."""
    count = min(num_thresholds, 127)
    data = np.stack([array(v).astype(np.float32) for v in (tp, fp, tn, fn, precision, recall)])
    content = PrCurvePluginData(version=0, num_thresholds=count).SerializeToString()
    return _one(tag=tag, tensor=_proto(data), metadata=_plugin("pr_curves", content))


def mesh(tag: str, vertices: Any, colors: Any, faces: Any, config: dict[str, Any] | None) -> Summary:
    """Points (N, P, 3), and of the same objects colours (N, P, 3) of 0 to 255 and triangles (N, F, 3)."""
    settings = json.dumps(config or {}, sort_keys=True)
    kinds = MeshPluginData.ContentType
    given = [
        (array(value), kind)
        for value, kind in ((vertices, kinds.VERTEX), (faces, kinds.FACE), (colors, kinds.COLOR))
        if value is not None
    ]
    components = mesh_metadata.get_components_bitmask([kind for _, kind in given])
    parts = []
    for values, kind in given:
        metadata = mesh_metadata.create_summary_metadata(
            tag, None, kind, components, values.shape, None, json_config=settings
        )
        name = mesh_metadata.get_instance_name(tag, kind)
        parts.append(Summary.Value(tag=name, tensor=_proto(values), metadata=metadata))
    return Summary(value=parts)
