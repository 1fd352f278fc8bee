"""Devices: messages of the kernel and of udev, and what they mean."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from millstream.parsers.formats import FORMATS
from millstream.parsers.log_event import Kind
from millstream.sources import uevents
from millstream.sources.usb import Seen, UsbDevice, changes, device_of

NOW = datetime(2026, 4, 7, 12, 0, tzinfo=UTC)
TEN = datetime(2026, 3, 1, 10, 0, tzinfo=UTC)
PATH = "/devices/pci0000:00/0000:00:14.0/usb1/1-2"
STICK = UsbDevice(
    path=PATH, vendor_id="0781", product_id="5581", serial="4C53", vendor="SanDisk", product="Ultra", number=5
)


def test_a_stick_that_is_plugged_in() -> None:
    line = msgspec.json.encode(
        {"device_event": "add", "place": "1-2", "time": "2026-03-01T10:00:00Z", "usb": msgspec.structs.asdict(STICK)}
    )
    [event] = FORMATS["devices"].parser("udev").events([line], now=NOW)
    assert (event.time, event.kind, event.action, event.device) == (TEN, Kind.DEVICE, "added", "usb 1-2")
    assert (event.device_vendor, event.device_product, event.device_serial) == ("0781", "5581", "4C53")
    assert event.message == "usb 1-2 added: SanDisk Ultra (0781:5581)"
    assert (event.program, event.format, event.raw) == ("udev", "devices", line.decode())


def test_the_kernel_and_udev_and_the_log_of_the_kernel_name_a_device_alike() -> None:
    kernel = {"DEVPATH": PATH, "PRODUCT": "781/5581/100", "DEVNUM": "005"}
    udev = kernel | {"ID_VENDOR_ID": "0781", "ID_MODEL_ID": "5581", "ID_VENDOR": "SanDisk", "ID_SERIAL_SHORT": "4C53"}
    assert device_of(kernel).identity == ("0781", "5581", None)
    assert device_of(udev).identity == ("0781", "5581", "4C53")
    [logged] = (
        FORMATS["syslog"]
        .parser("kern.log")
        .events(
            [b"2026-03-01T10:00:00Z web kernel: usb 1-2: New USB device found, idVendor=0781, idProduct=5581, b=1"],
            now=NOW,
        )
    )
    assert (logged.device, logged.device_vendor, logged.device_product) == ("usb 1-2", "0781", "5581")


def test_what_changed_between_two_looks() -> None:
    other = msgspec.structs.replace(STICK, serial="9999")
    again = msgspec.structs.replace(STICK, number=6)
    seen = Seen("boot 1", {"1-2": STICK})
    assert list(changes(seen, {"1-2": STICK}, "boot 1")) == []
    assert list(changes(seen, {}, "boot 1")) == [("remove", "1-2", STICK)]
    assert list(changes(seen, {"1-2": other}, "boot 1")) == [("remove", "1-2", STICK), ("add", "1-2", other)]
    # Unplugged and plugged in again: it has another number. After a boot all have.
    assert list(changes(seen, {"1-2": again}, "boot 1")) == [("remove", "1-2", STICK), ("add", "1-2", again)]
    assert list(changes(seen, {"1-2": again}, "boot 2")) == []


names = st.text(st.sampled_from("ABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789"), min_size=1, max_size=20)
values = (
    st.text(max_size=20)
    .filter(lambda text: "\0" not in text)
    .map(lambda text: text.encode("utf-8", "replace").decode())
)


@given(st.dictionaries(names, values, max_size=10), st.booleans())
def test_a_message_is_read_as_it_was_sent(more: dict[str, str], udev: bool) -> None:
    sent = more | {"ACTION": "add", "DEVPATH": PATH}
    assert uevents.parse(uevents.message(sent, udev=udev)) == sent


@given(
    st.binary(max_size=200), st.sampled_from([b"", b"libudev\0", b"libudev\0\xfe\xed\xca\xfe", b"add@/x\0ACTION=add\0"])
)
def test_any_bytes_are_a_message_or_none(data: bytes, start: bytes) -> None:
    found = uevents.parse(start + data)
    assert found is None or {"ACTION", "DEVPATH"} <= found.keys()


def test_a_message_of_another_version_of_udev_is_none() -> None:
    whole = uevents.message({"ACTION": "add", "DEVPATH": PATH}, udev=True)
    assert uevents.parse(whole) is not None
    assert uevents.parse(whole[:8] + b"\0\0\0\0" + whole[12:]) is None
