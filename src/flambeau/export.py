"""torch.export: capturing a whole model is not there yet."""

from .absent import classes, functions

_WHAT = "capturing a whole model"
globals().update(classes("export", _WHAT, "Dim", "ExportedProgram"))
globals().update(
    functions("export", _WHAT, "export", "export_for_training", "load", "register_dataclass", "save")
)
