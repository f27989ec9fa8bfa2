"""torch.onnx: export to ONNX is not there yet."""

from .absent import functions

globals().update(functions("onnx", "export to ONNX", "export", "dynamo_export"))


def is_in_onnx_export() -> bool:
    """Whether a model is being exported: no."""
    return False
