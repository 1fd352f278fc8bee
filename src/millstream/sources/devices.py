"""Devices that are plugged in and out: live from udev or the kernel, and by /sys what changed while nobody looked.

A device is told of once. What was seen last is kept with the positions; a message about a device that is there already,
such as `udevadm trigger` sends for all of them at every boot, tells nothing new.
"""

from __future__ import annotations

import errno
import select
import threading
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from millstream.clock import Clock, SystemClock
from millstream.errors import SourceError
from millstream.parsers.devices import device_reader
from millstream.parsers.event_parser import EventParser, LogEventParser
from millstream.records import time_from_us
from millstream.sources import uevents
from millstream.sources.source import Line, Note, Reading
from millstream.sources.troubles import Troubles
from millstream.sources.usb import SYS, Seen, UsbDevice, boot_id, changes, decode_seen, device_of, devices_now

POSITION: Final = b"devices:usb"
ORIGIN: Final = "udev"
MESSAGES_MAX: Final = 1000
"""Of one reading."""
USB: Final = "usb"
_ACTIONS: Final = ("add", "remove")
"""Of USB devices; the others (bind, change, ...) follow on one of them."""
_STOP_CHECK_S: Final = 0.5


class DeviceSource:
    """Devices of some subsystems of the kernel; of `usb` whole devices only, not the interfaces that they have."""

    def __init__(
        self,
        *,
        subsystems: Sequence[str] = (USB,),
        follow: bool = True,
        sys: Path = SYS,
        udev_runs: Path = uevents.UDEV_RUNS,
        clock: Clock | None = None,
    ) -> None:
        """Follow devices.

        Args:
            subsystems: Such as `usb`, `block`, `net`, `bluetooth`. What changed while nobody looked is known of usb.
            follow: Go on with what comes; False: end with what changed since the last time.
            sys: Where sysfs is.
            udev_runs: Exists while udev runs, whose messages say more than the kernel's.
        """
        self._subsystems = frozenset(subsystems)
        self._follow = follow
        self._sys = sys
        self._udev_runs = udev_runs
        self._clock = clock or SystemClock()
        self._running = False
        self._seen = Seen()
        self._troubles = Troubles()

    @property
    def name(self) -> str:
        return "devices"

    def following(self) -> Sequence[str]:
        return (ORIGIN,) if self._running else ()

    def troubles(self) -> Sequence[str]:
        return self._troubles.sentences()

    def parser(self, origin: str) -> LogEventParser:
        return EventParser(origin, device_reader(), format="devices")

    def read(
        self, positions: Mapping[bytes, bytes], stop: threading.Event, note: Note
    ) -> Generator[Reading, None, None]:
        # Listened to before the look: what is plugged in between is in both, and told of once.
        try:
            heard = uevents.open_socket(uevents.UDEV if self._udev_runs.exists() else uevents.KERNEL)
        except SourceError as error:
            self._troubles.have(str(error))
            note(str(error))
            yield from self._compared(decode_seen(positions.get(POSITION)))
            return
        with heard:
            yield from self._compared(decode_seen(positions.get(POSITION)))
            self._running = self._follow
            try:
                while self._follow and not stop.is_set():
                    if not select.select([heard], [], [], _STOP_CHECK_S)[0]:
                        continue
                    try:
                        lines = list(self._lines(heard))
                    except OSError as error:
                        if error.errno != errno.ENOBUFS:
                            raise
                        note("messages about devices were lost: there were too many; USB devices are looked at anew")
                        yield from self._compared(self._seen)
                        continue
                    if lines:
                        yield self._reading(lines)
            finally:
                self._running = False

    def _compared(self, seen: Seen | None) -> Iterator[Reading]:
        """Yield what changed since the last look; at the very first start, what is there."""
        if USB not in self._subsystems:
            return
        now, boot = devices_now(self._sys), boot_id()
        if seen is None:
            found = [("present", place, device) for place, device in now.items()]
        else:
            found = list(changes(seen, now, boot))
        self._seen = Seen(boot, now)
        if found:
            yield self._reading([self._usb_line(action, place, device, "sysfs") for action, place, device in found])

    def _lines(self, heard: Any) -> Iterator[Line]:
        for _ in range(MESSAGES_MAX):
            values = uevents.receive(heard)
            if values is None:
                return
            subsystem = values.get("SUBSYSTEM", "")
            if subsystem not in self._subsystems:
                continue
            if subsystem != USB:
                yield self._line(values["ACTION"], values["DEVPATH"].rpartition("/")[2], {"properties": values})
            elif values.get("DEVTYPE") == "usb_device" and values["ACTION"] in _ACTIONS:
                yield from self._usb(values)

    def _usb(self, values: Mapping[str, str]) -> Iterator[Line]:
        action, place, boot = values["ACTION"], values["DEVPATH"].rpartition("/")[2], boot_id()
        devices = dict(self._seen.devices)
        known = devices.pop(place, None)
        device = device_of(values, self._sys)
        if action == "add":
            if self._seen.has(place, device, boot):
                return
            devices[place] = device
        self._seen = Seen(boot, devices)
        # Of a device that is gone the kernel says no more than where it was.
        told = known if action == "remove" and known is not None else device
        yield self._usb_line(action, place, told, "netlink", properties=values)

    def _usb_line(self, action: str, place: str, device: UsbDevice, by: str, **more: Any) -> Line:
        return self._line(action, place, {"usb": msgspec.structs.asdict(device), "by": by, **more})

    def _line(self, action: str, place: str, said: Mapping[str, Any]) -> Line:
        now = time_from_us(self._clock.now_us()).isoformat()
        return Line(ORIGIN, msgspec.json.encode({"device_event": action, "place": place, "time": now, **said}))

    def _reading(self, lines: Sequence[Line]) -> Reading:
        return Reading(lines, {POSITION: self._seen.encode()})
