"""What SIGHUP means to `millstream logs`: its configuration is read anew, and taken where it can be used."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from millstream.errors import MillstreamError, UsageError

if TYPE_CHECKING:
    from millstream.logs.config import Config


class Reload:
    """Reads the configuration anew when it is asked to."""

    def __init__(self, configure: Callable[[], Config]) -> None:
        self._configure = configure
        self._found: Config | None = None
        self.count = 0
        """How often another configuration was begun with."""

    def ask(self) -> bool:
        """Read it anew; return whether it can be used. What is wrong with it is said, and the one at work stays."""
        try:
            self._found = self._configure()
        except (MillstreamError, OSError) as error:
            _say(f"the configuration is not read anew, the one at work stays: {error}")
            return False
        _say("the configuration is read anew")
        return True

    def run(self, config: Config, once: Callable[[Config], int]) -> int:
        """Run with a configuration, and with each further one that is asked for; return the exit code of the last.

        Args:
            once: Returns when it is to stop, or `ask` returned True.

        Raises:
            UsageError: The first configuration cannot be used. Of a further one that is said, and the one before it
                goes on.
        """
        before: Config | None = None
        while True:
            try:
                code = once(config)
            except UsageError as error:
                if before is None:
                    raise
                _say(f"the new configuration cannot be used, the one before it goes on: {error}")
                config, before = before, None
                continue
            found, self._found = self._found, None
            if found is None:
                return code
            config, before = found, config
            self.count += 1


def has_terminal() -> bool:
    """Return whether somebody looks on: then SIGHUP says that the terminal is closed."""
    return any(_is_terminal(descriptor) for descriptor in (0, 1, 2))


def _is_terminal(descriptor: int) -> bool:
    try:
        return os.isatty(descriptor)
    except OSError:
        return False


def _say(sentence: str) -> None:
    print(" ".join(sentence.split()), file=sys.stderr, flush=True)
