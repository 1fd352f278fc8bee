"""`--metrics`: monitors are answered while a command runs."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

import msgspec

from millstream.cli.output import print_json
from millstream.errors import UsageError

if TYPE_CHECKING:
    from millstream.log.log import Log


class Monitoring(msgspec.Struct, frozen=True):
    """What was said of monitors on the command line."""

    address: str | None
    token: str | None
    stall: str

    def check(self) -> None:
        """Raise UsageError where the options do not go together."""
        if self.token is not None and self.address is None:
            raise UsageError("--metrics-token is for --metrics; say where with it, such as --metrics 0.0.0.0:9464")


@contextmanager
def monitored(
    log: Log,
    monitoring: Monitoring,
    *,
    queues: Collection[tuple[str, str]] = (),
    streams: Collection[tuple[str, str]] = (),
    batches: Collection[str] = (),
    listeners: Collection[str] = (),
    as_json: bool,
    told: TextIO | None = None,
) -> Iterator[None]:
    """Answer monitors meanwhile, where an address is given.

    Args:
        queues: Topic and group of those of this process: what does not move among them makes it unhealthy; likewise
            topic and name of streams, names of batches, topics of listeners.
        told: Where it is said where they are answered; None: standard output.
    """
    if monitoring.address is None:
        yield
        return
    from millstream.web.operations import address_of, serve_operations

    out = sys.stdout if told is None else told
    host, port = address_of(monitoring.address)
    with serve_operations(
        log,
        queues,
        host=host,
        port=port,
        token=monitoring.token,
        stall=monitoring.stall,
        streams=streams,
        batches=batches,
        listeners=listeners,
    ) as serving:
        if as_json and told is None:
            print_json({"metrics": f"{serving.url}/metrics", "token": serving.token})
        else:
            print(f"metrics at {serving.url}/metrics, health at {serving.url}/health", file=out)
            if serving.token is not None and monitoring.token is None:
                print(f"with the header Authorization: Bearer {serving.token}", file=out)
        out.flush()
        yield
