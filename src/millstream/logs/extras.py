"""Packages that only some sources and outputs need: whether they are installed, asked before anything starts.

An output whose package is missing would be tried again and again, and a source would be one note among others.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Final

from millstream.errors import UsageError
from millstream.logs.listeners import EvtxListener, KafkaListener, Listener, NatsListener
from millstream.logs.outputs import KafkaOutput, NatsOutput, Output, TableOutput

_MODULES: Final = {"kafka": "confluent_kafka", "nats": "nats", "postgres": "psycopg", "evtx": "evtx"}
"""Extra -> the module that it installs."""


def check_installed(table: Listener | Output, what: str) -> None:
    """Look whether what a source or an output needs is installed.

    Args:
        what: How a message calls it.

    Raises:
        UsageError: It is not; says how to install it.
    """
    extra = extra_of(table)
    if extra is not None and not is_installed(extra):
        raise UsageError(f"{what}: it needs a package that is not installed: pip install 'millstream[{extra}]'")


def extra_of(table: Listener | Output) -> str | None:
    """Return the extra that a source or an output needs; None where it needs none."""
    match table:
        case KafkaListener() | KafkaOutput():
            return "kafka"
        case NatsListener() | NatsOutput():
            return "nats"
        case EvtxListener():
            return "evtx"
        case TableOutput() if table.url.startswith(("postgresql:", "postgres:")):
            return "postgres"
    return None


def is_installed(extra: str) -> bool:
    """Return whether the module of an extra can be imported."""
    return find_spec(_MODULES[extra]) is not None
