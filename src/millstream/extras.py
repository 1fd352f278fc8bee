"""Packages that only some programs need: imported when they are used; a missing one is told with how to install it."""

from __future__ import annotations

import importlib
from typing import Any

from millstream.errors import UsageError


def import_extra(module: str, extra: str, needs: str) -> Any:
    """Return a module of a package that is not a dependency; what it has is not known to a type checker.

    Args:
        extra: What pip calls it: `millstream[EXTRA]`.
        needs: What needs which package, as the message begins: `Kafka needs the package confluent-kafka`.

    Raises:
        UsageError: It is not installed; says how to install it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UsageError(f"{needs}: pip install 'millstream[{extra}]'") from error
