"""torch.__config__: how the package was built; it was not, kernels are made as programs run."""

from __future__ import annotations


def show() -> str:
    """Versions, and the processor that kernels are made for."""
    import llvmlite

    from .codegen import target
    from .version import __version__

    return f"flambeau {__version__}\n  - kernels by llvmlite {llvmlite.__version__} for {target.host().cpu}\n"


def parallel_info() -> str:
    """The threads that kernels run on."""
    from .settings import get_num_threads

    return f"threads of the pool: {get_num_threads()}\n"
