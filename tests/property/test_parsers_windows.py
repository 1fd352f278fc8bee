"""Records of Windows: what is written is read, as JSON and as XML alike; nothing is too odd."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.windows_events import as_json, as_xml

from millstream.parsers.event_parser import EventParser
from millstream.parsers.formats import FORMATS
from millstream.parsers.windows import MEANINGS
from millstream.parsers.windows_devices import device_name
from millstream.parsers.windows_record import read_record

NOW = datetime(2026, 4, 7, 12, 0, tzinfo=UTC)

# What XML can say: no control characters but tab and line ends, no surrogates.
texts = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"], exclude_characters="\ufffe\uffff")
    | st.sampled_from("\t\n\r<&>'\""),
    max_size=20,
)  # fmt: skip
names = st.from_regex(r"[A-Z][A-Za-z]{2,12}", fullmatch=True).filter(lambda name: name != "Data")
values = st.one_of(
    texts.filter(lambda text: text.strip() or not text),
    st.sampled_from(
        ["-", "%%2313", "0xc000006a", "S-1-5-18", "::ffff:10.0.0.1", "65536", "CORP\\ann", "CN=x,DC=y", "\\\\PC"]
    ),
)
data = st.dictionaries(names, values, max_size=8)
options = st.fixed_dictionaries(
    {},
    optional={
        "provider": texts.filter(str.strip),
        "channel": st.sampled_from(["Security", "Microsoft-Windows-Sysmon/Operational"]),
        "keywords": st.integers(0, 2**64 - 1),
        "record_id": st.integers(0, 2**64 - 1),
        "level": st.integers(0, 255),
        "computer": texts.filter(lambda text: text.strip() or not text),
    },
)


@given(st.integers(0, 65535), data, options)
def test_record_that_is_written_is_read_the_same_from_json_and_xml(
    number: int, found: dict[str, str], written: dict[str, Any]
) -> None:
    # White space at the ends of an attribute, and line ends in it, are not XML's to keep.
    written["provider"] = " ".join(written.get("provider", "P").split())
    one, other = (read_record(write(number, found, **written).decode()) for write in (as_json, as_xml))
    assert one is not None
    assert one == other
    assert one.data == found
    assert (one.event_id, one.provider, one.keywords) == (
        number,
        written["provider"],
        written.get("keywords", one.keywords),
    )
    assert (one.record_id, one.level) == (written.get("record_id", 7), written.get("level", 0))


known = st.sampled_from(sorted(MEANINGS))
said = sorted({name for one in MEANINGS.values() for text in one.said_by.values() for name in text.split()})
said_values = st.dictionaries(
    st.sampled_from([*said, "Status", "SubStatus", "param2", "Binary", "Major", "Minor", "TargetUserSid", "DeviceId"]),
    values | st.sampled_from(["27", "23", "6", "00", "USB\\VID_0781&PID_5583\\x", "running", "1" * 40]),
)


@given(known, said_values, st.integers(0, 2**64 - 1))
def test_known_event_is_an_event_whatever_its_values_are(
    which: tuple[str, int], found: dict[str, str], keywords: int
) -> None:
    provider, number = which
    parser = FORMATS["windows"].parser("x")
    assert isinstance(parser, EventParser)
    [event] = parser.events([as_json(number, found, provider=provider, keywords=keywords)], now=NOW)
    assert event.action is not None
    assert event.fields is not None
    assert event.fields["event_id"] == number


pieces = st.sampled_from(
    ["<Event", ">", "<System>", "</System>", "</Event>", "<EventData>", "<Data Name='a'>", "</Data>",
     "<Provider Name='P'/>", "<EventID>1</EventID>", "&lt;", "&#0;", "&x;", "<!DOCTYPE a>", "<![CDATA[", "]]>",
     "<?xml?>", "\ufeff", '{"Event":', '{"System":', '"EventID":1', '"Provider":{"#attributes":{"Name":"P"}}', "}",
     ",", "[", "null", "#text", "\x00"]
)  # fmt: skip


@given(
    st.lists(pieces | texts, max_size=20).map("".join) | st.binary(max_size=40).map(lambda data: data.decode("latin-1"))
)
def test_no_line_is_too_odd(text: str) -> None:
    parser = FORMATS["windows"].parser("x")
    assert isinstance(parser, EventParser)
    [event] = parser.events([text.encode()], now=NOW)
    assert event.raw == text


@given(
    st.lists(st.sampled_from(["USB", "\\", "#", "&", "VID_0781", "PID_5583", "USBSTOR", "Disk", "Ven_", "Prod_x"])).map(
        "".join
    )
    | texts
)
def test_no_name_of_a_device_is_too_odd(text: str) -> None:
    device_name(text)
