"""torch.utils.tensorboard: events that TensorBoard shows, written through the package of that name (an extra)."""

try:
    import tensorboard as _tensorboard  # noqa: F401
except ImportError as error:
    raise ImportError(
        "torch.utils.tensorboard: the package tensorboard is needed; hint: pip install 'flambeau[tensorboard]'"
    ) from error

from tensorboard.summary.writer.record_writer import RecordWriter

from .writer import FileWriter, SummaryWriter

__all__ = ["FileWriter", "RecordWriter", "SummaryWriter"]
