"""Names that PyTorch has and flambeau does not have yet: they can be imported, and using one says so."""

from __future__ import annotations

from typing import Any

from .errors import fail


def functions(module: str, what: str, *names: str) -> dict[str, Any]:
    """Functions of a module by name; calling one raises NotImplementedError."""

    def function(name: str) -> Any:
        def absent(*args: Any, **options: Any) -> Any:
            fail(NotImplementedError, f"{module}.{name}: {what} is not there yet")

        absent.__name__ = absent.__qualname__ = name
        absent.__doc__ = f"Refused: {what} is not there yet."
        return absent

    return {name: function(name) for name in names}


def classes(module: str, what: str, *names: str) -> dict[str, Any]:
    """Classes of a module by name, for isinstance and annotations; making an object raises NotImplementedError."""

    def refuse(cls: type, *args: Any, **options: Any) -> Any:
        fail(NotImplementedError, f"{module}.{cls.__name__}: {what} is not there yet")

    return {name: type(name, (), {"__new__": refuse, "__module__": f"flambeau.{module}"}) for name in names}
