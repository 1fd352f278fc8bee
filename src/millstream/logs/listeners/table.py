"""What all kinds of `[[source]]` share."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from pathlib import Path
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
    for name, path in (("certificate", certificate), ("key", key), ("clients", clients)):
        _check_readable(name, path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        # With a word for a key that is locked nobody is asked for one, while we may run without a terminal.
        context.load_cert_chain(certificate, key, password="")
    except (OSError, ssl.SSLError) as error:
        its = f"key {key!r}" if key is not None else "the key in it"
        raise UsageError(
            f"certificate {certificate!r} and {its} cannot be used: {error}; "
            "give both in PEM, the key without a password"
        ) from error
    if clients is not None:
        try:
            context.load_verify_locations(clients)
        except (OSError, ssl.SSLError) as error:
            raise UsageError(f"clients is {clients!r}, which has no certificates in PEM: {error}") from error
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _check_readable(name: str, path: str | None) -> None:
    try:
        if path is not None:
            Path(path).read_bytes()
    except OSError as error:
        raise UsageError(f"{name} is {path!r}, which cannot be read: {error.strerror}") from error


def address_of(text: str, what: str) -> tuple[str, int]:
    """Return host and port of `PORT`, `HOST:PORT` or `[IPV6]:PORT`; without a host only this machine reaches it.

    Raises:
        UsageError: It is none of these.
    """
    host, _, port = text.rpartition(":")
    if not port.isdecimal() or not 0 <= int(port) <= 65535:
        raise UsageError(f"{what} is {text!r}; give a port, or host and port, such as 0.0.0.0:514")
    return host.strip("[]") or "127.0.0.1", int(port)
