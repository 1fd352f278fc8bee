"""Names of a package that are imported when they are first used.

A package uses it below `if not TYPE_CHECKING`: to a type checker a module with `__getattr__` has every name there is.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def getattr_of(package: str, names_of: Mapping[str, Sequence[str]]) -> Callable[[str], Any]:
    """Return the `__getattr__` of a package; each name is looked up once, then the package has it.

    Args:
        names_of: For each module the names that the package takes from it, also of modules in it.

    Source: PEP 562.
    """
    module_of = {name: module for module, names in names_of.items() for name in names}

    def find(name: str) -> Any:
        module = module_of.get(name)
        if module is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        # What `from module import name` does: unlike `importlib.import_module` it also finds a module of that name.
        value = getattr(__import__(module, fromlist=[name]), name)
        setattr(sys.modules[package], name, value)
        return value

    return find
