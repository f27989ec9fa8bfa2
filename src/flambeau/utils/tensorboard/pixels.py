"""Arrays of pixels for TensorBoard: layouts, grids, boxes drawn, PNG and GIF (through Pillow)."""

from __future__ import annotations

import io
from typing import Any

from ...errors import fail
from ...late import np

_COLUMNS = 8  # of a grid of images


def array(x: Any) -> Any:
    """An array of a tensor, an array, a number or a list of numbers."""
    if hasattr(x, "detach"):
        x = x.detach().cpu()
        return (x.float() if str(x.dtype).endswith("bfloat16") else x).resolve_conj().numpy()
    return np.asarray(x)


def grid(images: Any, columns: int = _COLUMNS) -> Any:
    """One image (height, width, 3) of images (N, 1 or 3, height, width), row by row; what is left over is black."""
    count, channels, height, width = images.shape
    if channels == 1:
        images = np.concatenate([images] * 3, 1)
    columns = min(columns, count)
    rows = -(-count // columns)
    cells = np.zeros((rows * columns, 3, height, width), images.dtype)
    cells[:count] = images[:, :3]
    return (
        cells.reshape(rows, columns, 3, height, width)
        .transpose(0, 3, 1, 4, 2)
        .reshape(rows * height, columns * width, 3)
    )


def rows_first(image: Any, layout: str) -> Any:
    """(height, width, 3) of an image whose dimensions layout names: CHW, HWC, HW, NCHW or NHWC in any order."""
    layout = layout.upper()
    if len(set(layout)) != len(layout) or not {"H", "W"} <= set(layout) <= set("NCHW"):
        fail(ValueError, f"add_image: dataformats must name each of N, C, H, W at most once; got {layout!r}")
    if len(layout) != image.ndim:
        fail(
            ValueError,
            f"add_image: dataformats {layout!r} names {len(layout)} dimensions; got a tensor of shape "
            f"{tuple(image.shape)}",
        )
    if len(layout) == 4:
        return grid(image.transpose([layout.index(d) for d in "NCHW"]))
    if len(layout) == 2:
        image = image.transpose([layout.index(d) for d in "HW"])
        return np.stack([image] * 3, 2)
    image = image.transpose([layout.index(d) for d in "HWC"])
    return np.concatenate([image] * 3, 2) if image.shape[2] == 1 else image


def in_bytes(image: Any) -> Any:
    """Values of 0 to 255: those of uint8 as they are, others are taken to lie in [0, 1]."""
    scale = 1 if image.dtype == np.uint8 else 255
    return (image.astype(np.float32) * scale).clip(0, 255).astype(np.uint8)


def with_boxes(image: Any, boxes: Any, labels: list[str] | None) -> Any:
    """The bytes of an image with boxes (left, top, right, bottom) drawn in red, and what each is called."""
    from PIL import Image, ImageDraw

    drawn = Image.fromarray(image)
    draw = ImageDraw.Draw(drawn)
    for i, box in enumerate(boxes):
        left, top, right, bottom = (float(v) for v in box)
        draw.line(
            [(left, top), (left, bottom), (right, bottom), (right, top), (left, top)], width=2, fill="Red"
        )
        if labels is not None:
            _, _, width, height = draw.textbbox((0, 0), labels[i])
            draw.rectangle([(left, bottom - height), (left + width, bottom)], fill="Red")
            draw.text((left, bottom - height), labels[i], fill="Black")
    return np.asarray(drawn)


def png(image: Any, rescale: float = 1) -> bytes:
    """An image of bytes as a file."""
    from PIL import Image

    made = Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image)
    if rescale != 1:
        made = made.resize((int(made.width * rescale), int(made.height * rescale)), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    made.save(file, format="PNG")
    return file.getvalue()


def gif(frames: Any, fps: float) -> bytes:
    """Frames (time, height, width, 3) of bytes as a moving image."""
    from PIL import Image

    first, *others = (Image.fromarray(f) for f in frames)
    file = io.BytesIO()
    first.save(file, "GIF", save_all=True, append_images=others, duration=int(1000 / fps), loop=0)
    return file.getvalue()


def beside(videos: Any) -> Any:
    """Frames (time, height, width, 3) of videos (N, time, 1 or 3, height, width) shown in a grid."""
    columns = 1 << ((len(videos).bit_length() - 1) // 2)
    return np.stack([grid(videos[:, t], max(columns, 1)) for t in range(videos.shape[1])])


def figures(figures: Any, close: bool) -> Any:
    """Pixels of figures of matplotlib: (3, height, width), or of a list (N, 3, height, width)."""
    from matplotlib import pyplot
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    def pixels(figure: Any) -> Any:
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        drawn = np.asarray(canvas.buffer_rgba())[:, :, :3].transpose(2, 0, 1).copy()
        if close:
            pyplot.close(figure)
        return drawn

    return np.stack([pixels(f) for f in figures]) if isinstance(figures, list) else pixels(figures)
