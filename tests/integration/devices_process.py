"""Run in a network namespace of its own: sends what udev sends to all listeners there, and prints what is heard.

Usage: devices_process.py SYS MESSAGES; messages are JSON, objects of names and values.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
from pathlib import Path

from millstream.sources import uevents
from millstream.sources.devices import DeviceSource


def main(sysfs: Path, messages: list[dict[str, str]]) -> None:
    source = DeviceSource(sys=sysfs, udev_runs=sysfs)
    stop = threading.Event()
    sender = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 15)

    def send() -> None:
        while not source.following():
            stop.wait(0.01)
        for values in messages:
            sender.sendto(uevents.message(values, udev=True), (0, uevents.UDEV))

    thread = threading.Thread(target=send)
    thread.start()
    for reading in source.read({}, stop, lambda note: print(note, file=sys.stderr)):
        for line in reading.lines:
            print(line.data.decode(), flush=True)
            if '"last"' in line.data.decode():
                stop.set()
    thread.join()


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(sys.argv[2]))
