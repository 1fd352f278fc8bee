"""Devices as `sources/devices.py` hands them on: what was plugged in or out, a line.

    {"device_event":"add","place":"1-2","time":"2026-03-01T10:00:00Z","usb":{"vendor_id":"0781","product_id":"5581",...}}

| event | action |
|---|---|
| add, remove | added, removed |
| present | present: was there at the very first start |
| others | as the kernel has them: change, bind, online, ... |

`device_vendor` and `device_product` are the numbers in hexadecimal, as in what the kernel logs of the same device: a
rule on both sources sees one device. Its names are in the message and in `fields`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

from millstream.parsers.log_event import Kind
from millstream.parsers.times import parse_time

_DECODER: Final = msgspec.json.Decoder(dict[str, Any])
_ACTIONS: Final = {"add": "added", "remove": "removed"}


def device_reader() -> Any:
    """Return what reads one line; see `EventParser`."""

    def read(text: str, now: datetime) -> Mapping[str, Any] | None:
        if '"device_event"' not in text[:64]:
            return None
        try:
            said = _DECODER.decode(text)
        except (msgspec.DecodeError, RecursionError):
            return None
        event, place = _text(said, "device_event"), _text(said, "place")
        if event is None or place is None:
            return None
        usb, properties = _object(said, "usb"), _object(said, "properties")
        subsystem = "usb" if usb else _text(properties, "SUBSYSTEM") or "device"
        action = _ACTIONS.get(event, event)
        vendor_id = _text(usb, "vendor_id") or _text(properties, "ID_VENDOR_ID")
        product_id = _text(usb, "product_id") or _text(properties, "ID_MODEL_ID")
        return {
            "time": parse_time(_text(said, "time"), now=now),
            "program": "udev",
            "kind": Kind.DEVICE,
            "action": action,
            "device": f"{subsystem} {place}",
            "device_vendor": vendor_id,
            "device_product": product_id,
            "device_serial": _text(usb, "serial") or _text(properties, "ID_SERIAL_SHORT"),
            "message": _sentence(f"{subsystem} {place}", action, _names(usb, properties), vendor_id, product_id),
            "fields": {name: value for name, value in said.items() if name not in ("device_event", "time")},
        }

    return read


def _names(usb: Mapping[str, Any], properties: Mapping[str, Any]) -> str:
    vendor = _text(usb, "vendor") or _text(properties, "ID_VENDOR")
    product = _text(usb, "product") or _text(properties, "ID_MODEL")
    return " ".join(name for name in (vendor, product) if name)


def _sentence(device: str, action: str, names: str, vendor_id: str | None, product_id: str | None) -> str:
    numbers = f" ({vendor_id}:{product_id})" if vendor_id and product_id else ""
    return f"{device} {action}{f': {names}' if names else ''}{numbers}"


def _object(said: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = said.get(name)
    return value if isinstance(value, dict) else {}


def _text(said: Mapping[str, Any], name: str) -> str | None:
    value = said.get(name)
    return value if isinstance(value, str) and value else None
