"""torch.library: registering operators of one's own is not there yet; autograd.Function is."""

from .absent import classes, functions

_WHAT = "registering operators (use autograd.Function)"
globals().update(classes("library", _WHAT, "Library"))
globals().update(
    functions(
        "library",
        _WHAT,
        *("custom_op", "define", "impl", "opcheck", "register_autograd", "register_fake", "register_kernel"),
        *("register_vmap", "triton_op", "wrap_triton"),
    )
)
