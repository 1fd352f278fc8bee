"""What a user agent is: browser, system, device, from the text that a client sends of itself."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec

from millstream.errors import UsageError
from millstream.logs.steps.members import with_new_member
from millstream.logs.steps.step import Step, StepTable
from millstream.logs.where import column_of

if TYPE_CHECKING:
    import polars as pl
    from ua_parser import OS, Device, Result, UserAgent

BROWSER: Final = "browser"
SYSTEM: Final = "system"
DEVICE: Final = "device"
NAMES: Final = (BROWSER, SYSTEM, DEVICE)
"""What is added to `fields`."""

TEXTS_MAX: Final = 20_000
"""That are remembered; the oldest go first. About 30 MB at the most."""
CHARACTERS_MAX: Final = 1024
"""Of a text, that are looked at: a client can send what it wants, and some of it takes long."""

Found = tuple[str | None, str | None, str | None]
"""What is known of a text by `NAMES`, as JSON."""


class UserAgentTable(StepTable, frozen=True, kw_only=True, tag="useragent"):
    """Browser, system and device of a user agent, into `fields`."""

    field: str = "fields.user_agent"
    """Where the text is."""

    def check(self) -> None:
        super().check()
        column_of(self.field, what="field")

    def open(self, environment: Mapping[str, str]) -> Step:
        return UserAgents(column_of(self.field), _parser())


class UserAgents(Step):
    """What user agents are, each text looked at once."""

    def __init__(self, text: pl.Expr, parse: Callable[[str], Result]) -> None:
        """Find out what user agents are.

        Args:
            text: Where the text is, in a frame of events.
        """
        self._text = text
        self._parse = parse
        self._lock = threading.Lock()
        self._known: OrderedDict[str, Found] = OrderedDict()

    def apply(self, frame: pl.DataFrame, *, now: datetime) -> pl.DataFrame:
        import polars as pl

        texts = frame.select(self._text.cast(pl.String).str.head(CHARACTERS_MAX)).to_series()
        different = texts.drop_nulls().unique().to_list()
        if not different:
            return frame
        found = self._of_texts(different)
        fields = frame.get_column("fields")
        for place, name in enumerate(NAMES):
            values = pl.Series([one[place] for one in found], dtype=pl.String)
            fields = with_new_member(fields, name, texts.replace_strict(different, values, default=None))
        return frame.with_columns(fields)

    def _of_texts(self, texts: Sequence[str]) -> list[Found]:
        with self._lock:
            return [self._of_text(text) for text in texts]

    def _of_text(self, text: str) -> Found:
        found = self._known.get(text)
        if found is None:
            found = self._known[text] = _found(self._parse(text))
            if len(self._known) > TEXTS_MAX:
                self._known.popitem(last=False)
        else:
            self._known.move_to_end(text)
        return found


def _found(result: Result) -> Found:
    return _browser(result.user_agent), _system(result.os), _device(result.device)


def _browser(found: UserAgent | None) -> str | None:
    return None if found is None else _json(name=found.family, version=_version(found.major, found.minor, found.patch))


def _system(found: OS | None) -> str | None:
    return None if found is None else _json(name=found.family, version=_version(found.major, found.minor, found.patch))


def _device(found: Device | None) -> str | None:
    return None if found is None else _json(name=found.family, brand=found.brand, model=found.model)


def _version(*parts: str | None) -> str | None:
    """Return the parts up to the first that is not known, with points between them."""
    known = parts[: parts.index(None)] if None in parts else parts
    return ".".join(part for part in known if part is not None) or None


def _json(**values: Any) -> str:
    return msgspec.json.encode({name: value for name, value in values.items() if value is not None}).decode()


def _parser() -> Callable[[str], Result]:
    try:
        import ua_parser
    except ImportError as error:
        raise UsageError("user agents are told apart by ua-parser: pip install 'millstream[useragent]'") from error
    # What is built once for all is the fastest of the kinds that are installed.
    return ua_parser.parse
