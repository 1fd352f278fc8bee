"""Secrets and personal data out of events, before they reach the disk.

A line is kept in several fields: what a parser took from it, `fields`, and `raw`, the line itself. All are redacted, so
that a secret is in none. A line of JSON is redacted as what it says, not as what it looks like: an escape in it hides
nothing. Of a line that is not UTF-8 the exact bytes are given up where something was found in it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Literal

from millstream.errors import UsageError
from millstream.logs.names import part_of
from millstream.logs.steps.patterns import GROUPS, PATTERNS, Pattern
from millstream.logs.steps.redactor import Redactor
from millstream.logs.steps.step import TEXT_FIELDS, Step, StepTable, check_field
from millstream.logs.steps.tokens import KEY_BYTES_MIN, Replace, with_network, with_text, with_token

REDACTED: Final = (*TEXT_FIELDS, "fields")
_OWN: Final = "redacted"
"""How a pattern of a user's own is called where it has no name."""


class RedactTable(StepTable, frozen=True, kw_only=True, tag="redact"):
    """Secrets and personal data, replaced."""

    what: tuple[str, ...] = ()
    """Names of `PATTERNS` or `GROUPS`."""
    pattern: str | None = None
    """A regular expression of one's own; where it has a group with a name, that is replaced."""
    name: str = _OWN
    """What the pattern finds, for what stands in its place."""
    fields: tuple[str, ...] = REDACTED
    replace: Literal["name", "text", "token", "network"] = "name"
    text: str | None = None
    key_env: str | None = None
    key_file: str | None = None

    def check(self) -> None:
        super().check()
        if not self.what and self.pattern is None:
            raise UsageError(f"give what or pattern; what may have {', '.join((*PATTERNS, *GROUPS))}")
        for name in self.what:
            if name not in PATTERNS and name not in GROUPS:
                raise UsageError(f"what: there is no {name!r}; there is {', '.join((*PATTERNS, *GROUPS))}")
        for field in self.fields:
            if part_of(field) is None:
                check_field(field, "fields (or fields.NAME for a part of them)", REDACTED)
        if self.pattern is not None:
            try:
                if re.compile(self.pattern).match(""):
                    raise UsageError("pattern: it finds the empty text, everywhere")
            except re.error as error:
                raise UsageError(f"pattern: {self.pattern!r} is no regular expression: {error}") from error
        self._check_replacement()

    def _check_replacement(self) -> None:
        if (self.replace == "text") != (self.text is not None):
            raise UsageError('replace = "text" and text go together: give both, or none')
        keys = [key for key in (self.key_env, self.key_file) if key is not None]
        if self.replace == "token" and len(keys) != 1:
            raise UsageError('replace = "token" needs a key: give key_env, a variable\'s name, or key_file')
        if self.replace != "token" and keys:
            raise UsageError('key_env and key_file are for replace = "token"')
        if self.replace == "network" and (self.pattern is not None or not set(self._names()) <= {"ipv4", "ipv6"}):
            raise UsageError('replace = "network" is for addresses: what = ["ip"]')

    def open(self, environment: Mapping[str, str]) -> Step:
        patterns = [PATTERNS[name] for name in PATTERNS if name in self._names()]
        if self.pattern is not None:
            patterns.append(Pattern(self.name, re.compile(self.pattern), ""))
        by_name = self.replace in ("name", "text")
        return Redactor(patterns, self._replace(environment), self.fields, by_name=by_name)

    def _names(self) -> Sequence[str]:
        return [one for name in self.what for one in GROUPS.get(name, (name,))]

    def _replace(self, environment: Mapping[str, str]) -> Replace:
        match self.replace:
            case "token":
                return with_token(self._key(environment))
            case "network":
                return with_network(with_text(None))
            case _:
                return with_text(self.text)

    def _key(self, environment: Mapping[str, str]) -> bytes:
        if self.key_env is not None:
            key, where = environment.get(self.key_env, "").encode(), f"the variable {self.key_env}"
        else:
            assert self.key_file is not None
            where = f"key_file {self.key_file}"
            try:
                key = Path(self.key_file).read_bytes().strip()
            except OSError as error:
                raise UsageError(f"{where} cannot be read: {error.strerror}") from error
        if len(key) < KEY_BYTES_MIN:
            raise UsageError(f"{where} has {len(key)} bytes; a key has {KEY_BYTES_MIN} or more, made at random")
        return key
