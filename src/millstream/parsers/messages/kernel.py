"""The kernel: USB devices that are plugged in and out, packets that a firewall logs.

What it says of one device comes in several lines: the first gives its identity, those after it names and serial number.

Source: Linux, drivers/usb/core/hub.c (announce_device, show_string, usb_disconnect);
net/netfilter/nf_log_syslog.c; ufw, ufw-user rules.
"""

from __future__ import annotations

from typing import Final

from millstream.parsers.log_event import Kind
from millstream.parsers.messages.shape import Table, shape

_CLOCK: Final = r"(?:\[ *[0-9]+\.[0-9]+\] )?"
"""The time since the start of the machine, that some loggers leave in."""
_PORT: Final = rf"{_CLOCK}(?P<device>usb [0-9]+-[0-9.]+): "
_PACKET: Final = (
    r"IN=[^ ]* OUT=[^ ]* .*?SRC=(?P<source_ip>[0-9a-fA-F.:]+) (?:.*? SPT=(?P<source_port>[0-9]{1,5}) .*|.*)"
)
_WIREGUARD: Final = rf"{_CLOCK}wireguard: (?P<device>[^ :]+): "
_PEER: Final = r"\[?(?P<source_ip>[0-9a-fA-F.:]+?)\]?:(?P<source_port>[0-9]{1,5})"
_FROM_PEER: Final = rf"(?P<session>[0-9]+) \({_PEER}\)"
"""WireGuard knows its peers by numbers; it writes these lines where its messages for debugging are on."""
_PLUGGED: Final = {"kind": Kind.DEVICE, "action": "added"}

KERNEL: Final = Table(
    frozenset({"kernel"}),
    (
        shape(
            "",
            rf"{_PORT}New USB device found, idVendor=(?P<device_vendor>[0-9a-f]{{4}}), "
            r"idProduct=(?P<device_product>[0-9a-f]{4}).*",
            **_PLUGGED,
        ),
        shape("", rf"{_PORT}Product: (?P<device_product>.*)", action="described"),
        shape("", rf"{_PORT}Manufacturer: (?P<device_vendor>.*)", action="described"),
        shape("", rf"{_PORT}SerialNumber: (?P<device_serial>.*)", action="described"),
        shape("", rf"{_PORT}USB disconnect, device number [0-9]+", kind=Kind.DEVICE, action="removed"),
        shape("", rf"{_WIREGUARD}Receiving handshake initiation from peer {_FROM_PEER}", action="peer_connecting"),
        shape("", rf"{_WIREGUARD}Handshake for peer {_FROM_PEER} did not complete .*", action="peer_unreachable"),
        shape("", rf"{_WIREGUARD}Invalid handshake initiation from {_PEER}", action="peer_refused", success=False),
        shape("", rf"{_CLOCK}\[UFW BLOCK\] {_PACKET}", action="packet_blocked"),
        shape("", rf"{_CLOCK}\[UFW ALLOW\] {_PACKET}", action="packet_allowed"),
        shape("", rf"{_CLOCK}\[UFW [A-Z ]+\] {_PACKET}", action="packet_logged"),
        # What a rule of iptables or nftables puts in front is up to its writer.
        shape("", rf"{_CLOCK}(?:[^=]*[ :])?{_PACKET}", action="packet_logged"),
    ),
)
