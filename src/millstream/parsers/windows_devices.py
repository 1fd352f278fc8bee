r"""What the name of a device on Windows says.

| of | such as | says |
|---|---|---|
| a USB device | `USB\VID_0781&PID_5583\4C530001` | the ids of vendor and product, the serial number |
| one function of it | `USB\VID_046D&PID_C52B&MI_01\7&1D4&0&0001` | the ids |
| a USB disk | `USBSTOR\Disk&Ven_SanDisk&Prod_Ultra&Rev_1.00\4C530001&0` | names, the serial number |
| what is made of one | `SWD\WPDBUSENUM\_??_USBSTOR#Disk&Ven_SanDisk&Prod_Ultra#4C530001&0#{53f5...}` | the same |

A serial number with `&` as its second letter was made up by Windows, as the device has none: it is not told.

Source: learn.microsoft.com/windows-hardware/drivers/install, "Device instance IDs", "Standard USB identifiers".
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

_USB: Final = re.compile(
    r"(?:USB|HID)[\\#]VID_(?P<vendor>[0-9A-F]{4})&PID_(?P<product>[0-9A-F]{4})(?P<function>&MI_[0-9A-F]{2})?[^\\#]{0,200}"
    r"(?:[\\#](?P<serial>[^\\#]{1,200}))?",
    re.IGNORECASE,
)
_DISK: Final = re.compile(
    r"(?:USBSTOR|SCSI)[\\#][^&\\#]{1,40}&VEN_(?P<vendor>[^&\\#]{0,40})&PROD_(?P<product>[^&\\#]{0,60})[^\\#]{0,200}"
    r"(?:[\\#](?P<serial>[^\\#]{1,200}))?",
    re.IGNORECASE,
)
_NAME_MAX: Final = 2000


class DeviceName(msgspec.Struct, frozen=True):
    """What the name says; None for what it does not."""

    vendor: str | None = None
    product: str | None = None
    serial: str | None = None
    is_usb: bool = False
    """Whether it is a whole USB device: plugged in at once, named once."""
    is_part: bool = False
    """Whether it is part of, or made of, a device that has a name of its own."""


def device_name(text: str) -> DeviceName:
    """Return what the instance id of a device says."""
    text = text[:_NAME_MAX]
    bus = re.split(r"[\\#]", text, maxsplit=1)[0].upper()
    match = _USB.search(text)
    if match is not None:
        whole = bus == "USB" and match["function"] is None
        serial = _serial(match["serial"]) if match["function"] is None else None
        return DeviceName(match["vendor"].lower(), match["product"].lower(), serial, is_usb=whole, is_part=not whole)
    match = _DISK.search(text)
    if match is not None:
        vendor, product = (match[name].replace("_", " ").strip() or None for name in ("vendor", "product"))
        return DeviceName(vendor, product, _serial(match["serial"]), is_part=bus != "SCSI")
    return DeviceName(is_part=bus in ("HID", "SWD", "STORAGE", "WPDBUSENUMROOT", "USBPRINT", "UMB"))


def _serial(text: str | None) -> str | None:
    if text is None or text[1:2] == "&":
        return None
    # The number behind it counts what shares it: disks of one card reader.
    return re.sub(r"&\d{1,3}$", "", text) or None
