"""Devices: what changed while nobody looked, and messages as the kernel and udev send them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from millstream.parsers.formats import FORMATS
from millstream.parsers.log_event import LogEvent
from millstream.sources.devices import DeviceSource

LO = Path("/sys/class/net/lo/uevent")
PROCESS = Path(__file__).with_name("devices_process.py")
PATH = "/devices/pci0000:00/usb1/1-2"


def plug(sysfs: Path, place: str, number: int, **more: str) -> None:
    """Make what the kernel shows of a device."""
    device = sysfs / "devices/pci0000:00/usb1" / place
    device.mkdir(parents=True)
    texts = {"idVendor": "0781", "idProduct": "5581", "devnum": str(number), **more}
    for name, text in texts.items():
        (device / name).write_text(text + "\n")
    bus = sysfs / "bus/usb/devices"
    bus.mkdir(parents=True, exist_ok=True)
    (bus / place).symlink_to(device)
    (bus / f"{place}:1.0").mkdir()


def unplug(sysfs: Path, place: str) -> None:
    (sysfs / "bus/usb/devices" / place).unlink()
    (sysfs / "bus/usb/devices" / f"{place}:1.0").rmdir()
    shutil.rmtree(sysfs / "devices/pci0000:00/usb1" / place)


def events(lines: list[bytes]) -> list[LogEvent]:
    return FORMATS["devices"].parser("udev").events(lines, now=datetime.now(UTC))


def look(sysfs: Path, positions: dict[bytes, bytes]) -> list[tuple[str | None, str | None, str | None]]:
    """Return what a process would store that starts now and ends at once."""
    found: list[LogEvent] = []
    for reading in DeviceSource(sys=sysfs, follow=False).read(dict(positions), threading.Event(), pytest.fail):
        found += events([line.data for line in reading.lines])
        positions |= {key: value for key, value in reading.positions.items() if value is not None}
    return [(event.action, event.device, event.device_serial) for event in found]


@pytest.mark.skipif(sys.platform != "linux", reason="netlink is Linux's")
def test_what_was_plugged_in_and_out_while_nobody_looked_is_told_once(tmp_path: Path) -> None:
    positions: dict[bytes, bytes] = {}
    plug(tmp_path, "1-1", 2, serial="A")
    assert look(tmp_path, positions) == [("present", "usb 1-1", "A")]
    assert look(tmp_path, positions) == []
    plug(tmp_path, "1-2", 3, serial="B", manufacturer="SanDisk", product="Ultra")
    assert look(tmp_path, positions) == [("added", "usb 1-2", "B")]
    unplug(tmp_path, "1-1")
    assert look(tmp_path, positions) == [("removed", "usb 1-1", "A")]
    unplug(tmp_path, "1-2")
    plug(tmp_path, "1-2", 4, serial="B")
    assert look(tmp_path, positions) == [("removed", "usb 1-2", "B"), ("added", "usb 1-2", "B")]
    assert look(tmp_path, positions) == []


@pytest.mark.skipif(not os.access(LO, os.W_OK), reason="only root on Linux can make the kernel send a message")
def test_a_message_of_the_kernel_is_heard(tmp_path: Path) -> None:
    source = DeviceSource(subsystems=["net"], sys=tmp_path, udev_runs=tmp_path / "no")
    stop, lines = threading.Event(), []

    def send() -> None:
        while not source.following():
            stop.wait(0.01)
        LO.write_text("add")
        LO.write_text("change")

    sender = threading.Thread(target=send)
    sender.start()
    for reading in source.read({}, stop, pytest.fail):
        lines += [line.data for line in reading.lines if json.loads(line.data)["place"] == "lo"]
        if len(lines) >= 2:
            stop.set()
    sender.join()
    assert [(event.action, event.device) for event in events(lines)][:2] == [("added", "net lo"), ("change", "net lo")]


def may_unshare() -> bool:
    return shutil.which("unshare") is not None and not subprocess.run(["unshare", "-n", "true"], check=False).returncode


@pytest.mark.skipif(not may_unshare(), reason="only root on Linux can make a network namespace, in which to be udev")
def test_messages_of_udev_are_heard_and_what_is_there_is_not_told_again(tmp_path: Path) -> None:
    plug(tmp_path, "1-1", 2, serial="A")
    usb = {"SUBSYSTEM": "usb", "DEVTYPE": "usb_device"}
    stick = {
        "DEVPATH": PATH, **usb, "PRODUCT": "781/5581/100", "DEVNUM": "007", "ID_SERIAL_SHORT": "B",
        "ID_VENDOR": "SanDisk", "ID_MODEL": "Ultra",
    }  # fmt: skip
    messages = [
        {"ACTION": "add", "DEVPATH": "/devices/pci0000:00/usb1/1-1", **usb, "DEVNUM": "002"},  # udevadm trigger
        {"ACTION": "add", **stick},
        {"ACTION": "add", **stick, "DEVPATH": PATH + "/1-2:1.0", "DEVTYPE": "usb_interface"},
        {"ACTION": "bind", **stick},
        {"ACTION": "add", "DEVPATH": "/devices/x/sda", "SUBSYSTEM": "block"},
        {"ACTION": "remove", "DEVPATH": PATH, **usb},
        {"ACTION": "add", **stick, "DEVPATH": "/devices/pci0000:00/usb1/last"},
    ]
    command = ["unshare", "-n", sys.executable, str(PROCESS), str(tmp_path), json.dumps(messages)]
    out = subprocess.run(command, capture_output=True, check=True, timeout=50)
    told = events(out.stdout.splitlines())
    assert [(event.action, event.device, event.device_serial) for event in told] == [
        ("present", "usb 1-1", "A"),
        ("added", "usb 1-2", "B"),
        ("removed", "usb 1-2", "B"),
        ("added", "usb last", "B"),
    ]
    assert told[1].message == "usb 1-2 added: SanDisk Ultra (0781:5581)"
    assert out.stderr == b""
