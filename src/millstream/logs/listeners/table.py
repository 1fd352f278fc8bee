"""What all kinds of `[[source]]` share."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from typing import ClassVar, Final

import msgspec

from millstream.errors import UsageError
from millstream.sources.source import Source

LINES_FIRST: Final = 10_000
"""Of each file and the journal, at the very first start."""


class ListenerTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """What all kinds share. The fields of a kind are its keys in the file."""

    waits: ClassVar[bool] = False
    """Whether it waits for what others send, so that it has no end and `--no-follow` makes no sense."""

    def open(self, *, follow: bool = True) -> Sequence[Source]:
        """Return what reads; a source with a method `close` is closed at the end.

        Args:
            follow: False: end with what there is. Never given to a kind that `waits`.

        Raises:
            UsageError: It cannot be opened as it is described.
        """
        raise NotImplementedError

    def check(self) -> None:
        """Look at what does not show in types, without opening anything: `logs check` does this.

        Raises:
            UsageError: A key has a value that cannot be meant; says which, and what to give.
        """


def server_context(certificate: str | None, key: str | None, clients: str | None) -> ssl.SSLContext | None:
    """Return what a server speaks TLS with; None without a certificate.

    Raises:
        UsageError: A file cannot be used.
    """
    if certificate is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(certificate, key)
        if clients is not None:
            context.load_verify_locations(clients)
            context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ssl.SSLError) as error:
        raise UsageError(f"certificate, key or clients cannot be used: {error}") from error
    return context


def address_of(text: str, what: str) -> tuple[str, int]:
    """Return host and port of `PORT`, `HOST:PORT` or `[IPV6]:PORT`; without a host only this machine reaches it.

    Raises:
        UsageError: It is none of these.
    """
    host, _, port = text.rpartition(":")
    if not port.isdecimal() or not 0 <= int(port) <= 65535:
        raise UsageError(f"{what} is {text!r}; give a port, or host and port, such as 0.0.0.0:514")
    return host.strip("[]") or "127.0.0.1", int(port)
