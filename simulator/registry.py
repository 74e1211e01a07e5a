"""Finds the simulated vendors: each folder of `systems/` that has a `system.py` is one.

`system.py` gives `SYSTEM`, the vendor's values; `api.py` gives `API`, how it answers;
`announce.py`, where the vendor sends webhooks, gives `deliveries`; `books.py`, where the vendor
lets other things happen to a document than most do, gives `BOOKS`.
"""

import importlib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from simulator.system import System


def _found() -> dict[str, System]:
    folders = sorted(path.parent.name for path in Path(__file__).parent.glob("systems/*/system.py"))
    found = {
        name: importlib.import_module(f"simulator.systems.{name}.system").SYSTEM for name in folders
    }
    return dict(sorted(found.items(), key=lambda entry: entry[1].place))


#: Every simulated vendor by its name, in its place.
VENDORS: Final[Mapping[str, System]] = MappingProxyType(_found())


def api(name: str) -> Any:
    """The class of a vendor's API (`wire.Vendor`), which is made with the world.

    Raises:
        KeyError: If there is no such vendor.
    """
    if name not in VENDORS:
        raise KeyError(name)
    return importlib.import_module(f"simulator.systems.{name}.api").API


def books_class(name: str) -> Any:
    """The class of a vendor's books (`books.py` of its folder); None: the usual one."""
    if not (Path(__file__).parent / "systems" / name / "books.py").exists():
        return None
    return importlib.import_module(f"simulator.systems.{name}.books").BOOKS


def announcing() -> tuple[str, ...]:
    """The vendors that send webhooks, in their order."""
    folder = Path(__file__).parent / "systems"
    return tuple(name for name in VENDORS if (folder / name / "announce.py").exists())


def announce(name: str) -> Any:
    """The module of a vendor's webhooks.

    Raises:
        KeyError: If the vendor sends none.
    """
    if name not in announcing():
        raise KeyError(name)
    return importlib.import_module(f"simulator.systems.{name}.announce")
