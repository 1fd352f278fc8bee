"""One record of the Windows event log, whichever way it was written down.

| written as | by |
|---|---|
| `{"Event": {"System": {...}, "EventData": {...}}}` | the readers of .evtx files: the package `evtx`, evtx_dump |
| `<Event xmlns='...'><System>...</System><EventData>...` | Windows: EvtRender, `wevtutil query-events`, forwarding |

All values are text here, as XML has no other; the same record says the same both ways. A value without a name is
`param1`, `param2`, ...; a name that comes again is `Name_1`, ...; what is inside of another is `Outer.Inner`.

Source: MS-EVEN6, 2.2.13 (Event); learn.microsoft.com/windows/win32/wes/eventschema-schema.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final
from xml.parsers import expat

import msgspec

VALUES_MAX: Final = 500
"""Of one record; its own format holds no more by far. More are in `raw` only."""
DEPTH_MAX: Final = 32
"""Elements inside of one another: data is three or four deep."""
AUDIT_FAILURE: Final = 0x10_0000_0000_0000
AUDIT_SUCCESS: Final = 0x20_0000_0000_0000

_DECODER: Final = msgspec.json.Decoder(dict[str, Any])
_BEFORE: Final = "\ufeff \t\r\n"
"""What may stand in front of an event: a byte order mark, white space."""
_XML_START: Final = re.compile(r"(?:<\?xml[^>]{0,200}\?>\s*)?(?=<Event[\s>])")
_ATTRIBUTES: Final = "#attributes"
_TEXT: Final = "#text"


class WindowsRecord(msgspec.Struct, frozen=True):
    """What a record says; a text is empty where it does not."""

    provider: str
    event_id: int
    data: Mapping[str, str]
    """EventData or UserData: name -> value."""
    channel: str = ""
    computer: str = ""
    time: str = ""
    record_id: int | None = None
    level: int | None = None
    keywords: int = 0
    process_id: int | None = None
    user_sid: str = ""
    message: str = ""
    """As the provider words it (RenderingInfo): only where Windows was asked for it."""

    @property
    def audit(self) -> bool | None:
        """Whether what was audited succeeded; None for what is no audit."""
        if self.keywords & AUDIT_FAILURE:
            return False
        return True if self.keywords & AUDIT_SUCCESS else None


def read_record(text: str) -> WindowsRecord | None:
    """Return the record that a line says; None for a line of another shape."""
    event = _json_event(text) if text.lstrip().startswith("{") else _xml_event(text)
    if event is None:
        return None
    system = event.get("System")
    if not isinstance(system, Mapping):
        return None
    event_id = _number(_said(system.get("EventID")))
    provider = _attribute(system, "Provider", "Name") or _attribute(system, "Provider", "EventSourceName")
    if event_id is None or not provider:
        return None
    return WindowsRecord(
        provider=provider,
        event_id=event_id,
        data=_data(event),
        channel=_said(system.get("Channel")),
        computer=_said(system.get("Computer")),
        time=_attribute(system, "TimeCreated", "SystemTime"),
        record_id=_number(_said(system.get("EventRecordID"))),
        level=_number(_said(system.get("Level"))),
        keywords=_number(_said(system.get("Keywords"))) or 0,
        process_id=_number(_attribute(system, "Execution", "ProcessID")),
        user_sid=_attribute(system, "Security", "UserID"),
        message=_message(event),
    )


# --- JSON -----------------------------------------------------------------------------------------------------------


def _json_event(text: str) -> Mapping[str, Any] | None:
    try:
        found = _DECODER.decode(text).get("Event")
    except (msgspec.DecodeError, RecursionError):
        return None
    return found if isinstance(found, Mapping) else None


def _attribute(system: Mapping[str, Any], name: str, attribute: str) -> str:
    """Return an attribute of an element; evtx_dump may write those of `X` as `X_attributes`."""
    element = system.get(name)
    attributes = element.get(_ATTRIBUTES) if isinstance(element, Mapping) else system.get(f"{name}_attributes")
    return _said(attributes.get(attribute)) if isinstance(attributes, Mapping) else ""


def _said(value: Any) -> str:
    """Return a value as XML would have it; an element's text where it is one."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, Mapping):
        return _said(value.get(_TEXT))
    if isinstance(value, list):
        return " ".join(map(_said, value))
    return ""


def _number(text: str) -> int | None:
    """Return a decimal or hexadecimal number that fits in 64 bits."""
    try:
        number = int(text, 16) if text[:2] in ("0x", "0X") else int(text) if len(text) < 21 else -1
    except ValueError:
        return None
    return number if 0 <= number < 2**64 else None


def _data(event: Mapping[str, Any]) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for section in ("EventData", "UserData"):
        inside = event.get(section)
        if section == "UserData" and isinstance(inside, Mapping):
            # One element of the provider's own naming around all values.
            inner = [value for name, value in inside.items() if isinstance(value, Mapping) and name != _ATTRIBUTES]
            inside = inner[0] if len(inner) == 1 else inside
        if isinstance(inside, Mapping):
            for name, value in _values(inside, ""):
                if len(found) >= VALUES_MAX:
                    return found
                _add(found, name, value)
    return found


def _values(inside: Mapping[str, Any], prefix: str, depth: int = 0) -> Iterator[tuple[str, str]]:
    if depth > DEPTH_MAX:
        return
    for name, value in inside.items():
        if name in (_ATTRIBUTES, f"{prefix.rpartition('.')[0]}_attributes"):
            for attribute, text in value.items() if isinstance(value, Mapping) else ():
                if not attribute.startswith("xmlns"):
                    yield prefix + attribute, _said(text)
        elif name == "Data" and not prefix:
            texts = value.get(_TEXT) if isinstance(value, Mapping) else value
            for text in texts if isinstance(texts, list) else [texts]:
                yield "param", _said(text)
        elif isinstance(value, Mapping):
            yield from _values(value, f"{prefix}{name}.", depth + 1)
        elif name != _TEXT:
            yield prefix + name, _said(value)
        elif prefix:
            yield prefix.rstrip("."), _said(value)


def _add(found: dict[str, str], name: str, value: str) -> None:
    """Add a value; the first without a name is `param1`, and a second `Name` is `Name_1`."""
    count = 1
    wanted = "param1" if name == "param" else name
    while wanted in found:
        count += 1
        wanted = f"param{count}" if name == "param" else f"{name}_{count - 1}"
    found[wanted] = value


def _message(event: Mapping[str, Any]) -> str:
    rendering = event.get("RenderingInfo")
    return _said(rendering.get("Message")).strip() if isinstance(rendering, Mapping) else ""


# --- XML ------------------------------------------------------------------------------------------------------------


class _NotWantedError(Exception):
    """A document type: events have none, and entities that expand are an attack."""


class _Reader:
    """Reads one `<Event>` into the shape that it has as JSON."""

    def __init__(self) -> None:
        self.root: dict[str, Any] = {}
        self._open: list[dict[str, Any]] = [self.root]
        self._texts: list[list[str]] = [[]]
        self._counts: list[dict[str, int]] = [{}]
        """How often each name came, of the elements that are open."""

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if len(self._open) > DEPTH_MAX:
            raise _NotWantedError
        element: dict[str, Any] = {}
        kept = {key: value for key, value in attributes.items() if not key.startswith("xmlns")}
        if name == "Data" and "Name" in kept:
            name = kept.pop("Name")
        if kept:
            element[_ATTRIBUTES] = kept
        parent = self._open[-1]
        if name == "Data" and len(self._open) == 3:
            parent.setdefault("Data", {_TEXT: []})[_TEXT].append(element)
        else:
            counts = self._counts[-1]
            count = counts[name] = counts.get(name, -1) + 1
            parent[f"{name}_{count}" if count else name] = element
        self._open.append(element)
        self._texts.append([])
        self._counts.append({})

    def end(self, name: str) -> None:
        element, text = self._open.pop(), "".join(self._texts.pop())
        self._counts.pop()
        if text.strip() or not element:
            element[_TEXT] = text

    def text(self, data: str) -> None:
        self._texts[-1].append(data)

    def refuse(self, *_: Any) -> None:
        raise _NotWantedError


def _xml_event(text: str) -> Mapping[str, Any] | None:
    text = text.lstrip(_BEFORE)
    start = _XML_START.match(text)
    if start is None:
        return None
    reader = _Reader()
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    parser.StartDoctypeDeclHandler = reader.refuse
    parser.EntityDeclHandler = reader.refuse
    try:
        # As bytes of a known encoding, whatever the declaration says; a reader of XML would make `\n` of `\r\n`.
        inside = text[start.end() :].rstrip().replace("\r", "&#13;")
        parser.Parse(inside.encode("utf-8", "replace"), True)
    except (expat.ExpatError, _NotWantedError, ValueError):
        return None
    event = reader.root.get("Event")
    return event if isinstance(event, Mapping) else None
