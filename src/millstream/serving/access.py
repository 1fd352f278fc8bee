"""Who may come in: the names this server answers to, and the token it wants.

On loopback the Host header is the protection: a page of a foreign site can make a browser resolve that site's name to
127.0.0.1 ("DNS rebinding"), but it cannot make the browser send another Host. On other addresses a token is needed too.
"""

from __future__ import annotations

import hmac
import secrets
import socket
from ipaddress import ip_address
from typing import Final

import msgspec

from millstream.errors import SettingsError

TOKEN_CHARACTERS_MIN: Final = 16
"""A token is the only lock on an address that others reach; 16 random characters cannot be guessed."""

TOKEN_BYTES: Final = 24
"""Of a generated token: 192 bits, 32 characters."""


class Access(msgspec.Struct, frozen=True):
    """What a request is compared with."""

    names: frozenset[str]
    """Host names and addresses in lower case, without port."""
    any_address: bool = False
    """An address instead of a name in the Host header is fine, whichever: addresses cannot be rebound."""
    token: str | None = None
    """None: not needed."""
    any_name: bool = False
    """Any Host header is fine; only together with a token."""

    @classmethod
    def on(cls, host: str, token: str | None = None) -> Access:
        """Return the rules for a server that binds to `host`.

        Loopback needs no token (one that is given is asked for). Elsewhere one is generated where none is given.

        Raises:
            SettingsError: The token is too short or has characters that no header can carry.
        """
        if token is not None:
            _check_token(token)
        names = {"localhost", "127.0.0.1", "::1", host.lower().rstrip(".")}
        if is_loopback(host):
            return cls(frozenset(names), token=token)
        names.add(socket.gethostname().lower())
        return cls(frozenset(names), any_address=True, token=token or secrets.token_urlsafe(TOKEN_BYTES))

    def by_any_name(self) -> Access:
        """Return rules that ask for the token alone, whatever name the server is called by."""
        assert self.token is not None
        return msgspec.structs.replace(self, any_name=True)

    def answers_to(self, host_header: str) -> bool:
        """Say whether a Host header names this server. The port is free: tunnels and containers change it."""
        name = host_name(host_header)
        if name is None:
            return False
        return self.any_name or name in self.names or (self.any_address and _is_address(name))

    def token_is(self, given: str) -> bool:
        """Compare in a time that does not depend on the characters."""
        return self.token is None or hmac.compare_digest(self.token.encode(), given.encode("utf-8", "surrogateescape"))


def is_loopback(host: str) -> bool:
    """Say whether only this machine reaches an address or name."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower().rstrip(".") == "localhost"


def host_name(host_header: str) -> str | None:
    """Return the name of `name`, `name:port`, `1.2.3.4:port` or `[::1]:port` in lower case; None for anything else."""
    if host_header.startswith("["):
        name, bracket, port = host_header[1:].partition("]")
        if not bracket or (port and not port.startswith(":")):
            return None
        port = port[1:]
    else:
        name, _, port = host_header.partition(":")
    if not name or (port and not (port.isascii() and port.isdigit())):
        return None
    return name.lower().rstrip(".")


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _check_token(token: str) -> None:
    if len(token) < TOKEN_CHARACTERS_MIN:
        raise SettingsError(f"the token has {len(token)} characters; give at least {TOKEN_CHARACTERS_MIN}")
    if not all(character.isascii() and (character.isalnum() or character in "-._~") for character in token):
        raise SettingsError("the token may only have letters, digits and - . _ ~")
