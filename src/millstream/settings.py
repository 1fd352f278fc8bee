"""What the environment says, read in one place and passed on as values.

| variable | means | without it |
|---|---|---|
| `MILLSTREAM_URL` | where the log is: a file, `sqlite:///path`, `memory://` | `./millstream.db` |
| `MILLSTREAM_DURABILITY` | when an append returns: `fsync` or `relaxed` | `fsync` |
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from millstream.errors import SettingsError

URL_DEFAULT: Final = "millstream.db"
DURABILITIES: Final = ("fsync", "relaxed")


class Settings(msgspec.Struct, frozen=True):
    """Settings of a process; what a program passes to `App` goes before them."""

    url: str = URL_DEFAULT
    durability: str = "fsync"

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
        return cls(url=environment.get("MILLSTREAM_URL") or URL_DEFAULT, durability=durability)
