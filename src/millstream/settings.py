"""What the environment says, read in one place and passed on as values.

| variable | means | without it |
|---|---|---|
| `MILLSTREAM_URL` | where the log is: a file, `sqlite:///path`, `memory://` | `./millstream.db` |
| `MILLSTREAM_DURABILITY` | when an append returns: `fsync` or `relaxed` | `fsync` |
| `MILLSTREAM_HTTP` | where http triggers are answered: `HOST:PORT`, `:PORT`, `[::1]:PORT` | `127.0.0.1:8080` |
| `MILLSTREAM_HTTP_TOKEN` | what requests to them must carry | none on loopback |
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from millstream.errors import SettingsError

URL_DEFAULT: Final = "millstream.db"
DURABILITIES: Final = ("fsync", "relaxed")
HTTP_HOST: Final = "127.0.0.1"
"""Only this machine reaches it."""
HTTP_PORT: Final = 8080


class Settings(msgspec.Struct, frozen=True):
    """Settings of a process; what a program passes to `App` goes before them."""

    url: str = URL_DEFAULT
    durability: str = "fsync"
    http_host: str = HTTP_HOST
    http_port: int = HTTP_PORT
    http_token: str | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Settings:
        """Return the settings of an environment such as `os.environ`; an empty variable counts as not set.

        Raises:
            SettingsError: A variable holds a value that is not allowed; names the variable and what is.
        """
        durability = environment.get("MILLSTREAM_DURABILITY") or "fsync"
        if durability not in DURABILITIES:
            raise SettingsError(
                f"$MILLSTREAM_DURABILITY is {durability!r}; give one of {', '.join(map(repr, DURABILITIES))}"
            )
        host, port = HTTP_HOST, HTTP_PORT
        if address := environment.get("MILLSTREAM_HTTP"):
            host, port = host_and_port(address, "$MILLSTREAM_HTTP", HTTP_PORT)
        return cls(
            url=environment.get("MILLSTREAM_URL") or URL_DEFAULT,
            durability=durability,
            http_host=host,
            http_port=port,
            http_token=environment.get("MILLSTREAM_HTTP_TOKEN") or None,
        )


def host_and_port(text: str, name: str, example: int) -> tuple[str, int]:
    """Return host and port of `127.0.0.1:9464`, `[::1]:9464`, `:9464`, `9464`; loopback without a host.

    Raises:
        SettingsError: None of these; says so of `name`.
    """
    host, _, port = text.rpartition(":")
    if not (port.isascii() and port.isdigit() and int(port) <= 65535):
        raise SettingsError(f"{name} is {text!r}; give an address such as {HTTP_HOST}:{example}")
    return host.removeprefix("[").removesuffix("]") or HTTP_HOST, int(port)
