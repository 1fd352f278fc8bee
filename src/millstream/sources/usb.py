"""The USB devices that are plugged in now, by /sys, and how they differ from those that were last seen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import msgspec

SYS: Final = Path("/sys")
BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
TEXT_BYTES_MAX: Final = 4096
"""Of a file of /sys: its pages have so many."""
DEVICES_MAX: Final = 4096


class UsbDevice(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One device, as it describes itself."""

    path: str
    """Below /sys."""
    vendor_id: str | None = None
    """Four hexadecimal digits, as those of the product."""
    product_id: str | None = None
    serial: str | None = None
    vendor: str | None = None
    """In words, as the product."""
    product: str | None = None
    number: int | None = None
    """On its bus; another one each time that it is plugged in, until the system is booted."""

    @property
    def identity(self) -> tuple[str | None, str | None, str | None]:
        return self.vendor_id, self.product_id, self.serial


class Seen(msgspec.Struct, frozen=True):
    """What was plugged in at the last look."""

    boot: str = ""
    devices: dict[str, UsbDevice] = {}
    """By place, such as `1-2`: second port of the first bus."""

    def encode(self) -> bytes:
        return _ENCODER.encode(self)

    def has(self, place: str, device: UsbDevice, boot: str) -> bool:
        """Return whether this device was here already, and has not been unplugged since."""
        known = self.devices.get(place)
        if known is None or known.identity != device.identity:
            return False
        return boot != self.boot or None in (known.number, device.number) or known.number == device.number


_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(Seen)


def decode_seen(data: bytes | None) -> Seen | None:
    """Return what was seen; None where nothing was, or by another version."""
    try:
        return None if data is None else _DECODER.decode(data)
    except msgspec.DecodeError:
        return None


def devices_now(sys: Path = SYS) -> dict[str, UsbDevice]:
    """Return the devices that are plugged in, by place; hubs of the machine itself (`usb1`) among them."""
    try:
        places = sorted(path for path in (sys / "bus/usb/devices").iterdir() if ":" not in path.name)
    except OSError:
        return {}  # no USB here
    return {path.name: device for path in places[:DEVICES_MAX] if (device := device_at(path, sys)) is not None}


def device_at(path: Path, sys: Path = SYS) -> UsbDevice | None:
    """Return the device of a directory in /sys; None where there is none (any more)."""
    vendor_id = _text(path / "idVendor")
    if vendor_id is None:
        return None
    number = _text(path / "devnum")
    try:
        below = "/" + path.resolve().relative_to(sys.resolve()).as_posix()
    except (OSError, ValueError):
        below = str(path)
    return UsbDevice(
        path=below,
        vendor_id=vendor_id.lower(),
        product_id=(_text(path / "idProduct") or "").lower() or None,
        serial=_text(path / "serial"),
        vendor=_text(path / "manufacturer"),
        product=_text(path / "product"),
        number=int(number) if number is not None and number.isascii() and number.isdecimal() else None,
    )


def device_of(values: Mapping[str, str], sys: Path = SYS) -> UsbDevice:
    """Return the device of a message: what udev says of it, else /sys, else what the kernel says."""
    found = device_at(sys / values["DEVPATH"].lstrip("/"), sys) or UsbDevice(path=values["DEVPATH"])
    # PRODUCT is vendor/product/release, in hexadecimal without zeros in front.
    ids = [part.zfill(4).lower() for part in values.get("PRODUCT", "").split("/")]
    number = values.get("DEVNUM", "")
    return UsbDevice(
        path=values["DEVPATH"],
        vendor_id=found.vendor_id or values.get("ID_VENDOR_ID") or (ids[0] if len(ids) == 3 else None),
        product_id=found.product_id or values.get("ID_MODEL_ID") or (ids[1] if len(ids) == 3 else None),
        serial=found.serial or values.get("ID_SERIAL_SHORT"),
        vendor=found.vendor or values.get("ID_VENDOR_FROM_DATABASE") or values.get("ID_VENDOR"),
        product=found.product or values.get("ID_MODEL_FROM_DATABASE") or values.get("ID_MODEL"),
        number=int(number) if number.isascii() and number.isdecimal() else found.number,
    )


def changes(seen: Seen, now: Mapping[str, UsbDevice], boot: str) -> Iterator[tuple[str, str, UsbDevice]]:
    """Yield what happened between two looks: `remove` or `add`, place, device."""
    for place, device in seen.devices.items():
        if place not in now or not seen.has(place, now[place], boot):
            yield "remove", place, device
    for place, device in now.items():
        if not seen.has(place, device, boot):
            yield "add", place, device


def boot_id(path: Path = BOOT_ID) -> str:
    """Return what is another at each boot."""
    return _text(path) or ""


def _text(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return file.read(TEXT_BYTES_MAX).decode(errors="backslashreplace").strip() or None
    except OSError:
        return None
