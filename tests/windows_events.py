"""Records of the Windows event log as tests write them: JSON as readers of .evtx files do, XML as Windows does."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from xml.sax.saxutils import escape, quoteattr

AUDIT_SUCCESS = 0x8020000000000000
AUDIT_FAILURE = 0x8010000000000000
SECURITY = "Microsoft-Windows-Security-Auditing"


def as_json(
    event_id: int,
    data: Mapping[str, Any],
    *,
    provider: str = SECURITY,
    channel: str = "Security",
    keywords: int = AUDIT_SUCCESS,
    record_id: int = 7,
    level: int = 0,
    time: str = "2026-03-01T10:00:00.1234567Z",
    computer: str = "PC1",
    user_sid: str = "",
    user_data: str = "",
) -> bytes:
    """Return a record as one line; `user_data` is the name of the element around values that are UserData."""
    system = {
        "Provider": {"#attributes": {"Name": provider}},
        "EventID": event_id,
        "Version": 0,
        "Level": level,
        "Keywords": hex(keywords),
        "TimeCreated": {"#attributes": {"SystemTime": time}},
        "EventRecordID": record_id,
        "Execution": {"#attributes": {"ProcessID": 700, "ThreadID": 4}},
        "Channel": channel,
        "Computer": computer,
        "Security": {"#attributes": {"UserID": user_sid}} if user_sid else None,
    }
    inside = {"UserData": {user_data: {"#attributes": {"xmlns": "x"}, **data}}} if user_data else {"EventData": data}
    return json.dumps({"Event": {"#attributes": {"xmlns": "x"}, "System": system, **inside}}).encode()


def as_xml(
    event_id: int,
    data: Mapping[str, Any],
    *,
    provider: str = SECURITY,
    channel: str = "Security",
    keywords: int = AUDIT_SUCCESS,
    record_id: int = 7,
    level: int = 0,
    time: str = "2026-03-01T10:00:00.1234567Z",
    computer: str = "PC1",
    user_sid: str = "",
    user_data: str = "",
    message: str = "",
) -> bytes:
    """Return the same record as one line of XML."""
    if user_data:
        values = "".join(f"<{name}>{escape(str(value))}</{name}>" for name, value in data.items())
        inside = f"<UserData><{user_data} xmlns='x'>{values}</{user_data}></UserData>"
    else:
        values = "".join(f"<Data Name={quoteattr(name)}>{escape(str(value))}</Data>" for name, value in data.items())
        inside = f"<EventData>{values}</EventData>"
    security = f"<Security UserID={quoteattr(user_sid)}/>" if user_sid else "<Security/>"
    rendering = (
        f"<RenderingInfo Culture='en-US'><Message>{escape(message)}</Message></RenderingInfo>" if message else ""
    )
    return (
        "<Event xmlns='http://schemas.microsoft.com/win/2004/08/events/event'><System>"
        f"<Provider Name={quoteattr(provider)}/><EventID>{event_id}</EventID><Version>0</Version>"
        f"<Level>{level}</Level><Keywords>{hex(keywords)}</Keywords><TimeCreated SystemTime={quoteattr(time)}/>"
        f"<EventRecordID>{record_id}</EventRecordID><Execution ProcessID='700' ThreadID='4'/>"
        f"<Channel>{escape(channel)}</Channel><Computer>{escape(computer)}</Computer>{security}</System>"
        f"{inside}{rendering}</Event>"
    ).encode()
