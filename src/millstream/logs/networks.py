"""Networks such as `10.0.0.0/8` as regular expressions over the text of an address: what columns can be asked.

An address of IPv6 is matched in the form of RFC 5952, which has small letters and no leading zeros.
"""

from __future__ import annotations

import ipaddress

from millstream.errors import UsageError

_HEX = "0123456789abcdef"


def network_pattern(text: str) -> str:
    """Return the regular expression that the addresses of a network match, and no others.

    Raises:
        UsageError: It is no network, or one of IPv6 that no expression tells: with a group of zeros in its prefix.
    """
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError as error:
        raise UsageError(f"{text!r} is no network: {error}; give one such as 10.0.0.0/8 or 2001:db8::/32") from error
    if isinstance(network, ipaddress.IPv4Network):
        return _pattern_4(network)
    return _pattern_6(network, text)


def _pattern_4(network: ipaddress.IPv4Network) -> str:
    whole, bits = divmod(network.prefixlen, 8)
    octets = [str(octet) for octet in network.network_address.packed[:whole]]
    if bits:
        first = network.network_address.packed[whole]
        octets.append(f"(?:{'|'.join(str(octet) for octet in range(first, first + 2 ** (8 - bits)))})")
    octets += [r"\d{1,3}"] * (4 - len(octets))
    return "^" + r"\.".join(octets) + "$"


def _pattern_6(network: ipaddress.IPv6Network, text: str) -> str:
    if network.prefixlen == 128:
        return f"^{network.network_address}$"
    if network.prefixlen == 0:
        return "^[0-9a-f:.]*:[0-9a-f:.]*$"
    whole, bits = divmod(network.prefixlen, 16)
    groups = [int.from_bytes(network.network_address.packed[2 * i : 2 * i + 2], "big") for i in range(whole)]
    found = [f"{group:x}" for group in groups]
    if bits:
        first = int.from_bytes(network.network_address.packed[2 * whole : 2 * whole + 2], "big")
        groups.append(first)
        if first >= 0x1000:
            found.append(_digits(first, 16 - bits))
    if any(group == 0 for group in groups) or len(found) < len(groups):
        raise UsageError(
            f"the network {text!r} has zeros in its prefix, which an address may leave out in more than one way; "
            "write a regular expression, such as source_ip ~ '^2001:db8:0:'"
        )
    return f"^{':'.join(found)}" + (":" if whole + bool(bits) < 8 else "$")


def _digits(first: int, free: int) -> str:
    """Return what the four hexadecimal digits of a group may be, the last `free` bits of which are free."""
    text = f"{first:04x}"
    kept, part = divmod(16 - free, 4)
    made = text[:kept]
    if part:
        low = int(text[kept], 16)
        made += f"[{_HEX[low : low + 2 ** (4 - part)]}]"
        kept += 1
    return made + "[0-9a-f]" * (4 - kept)
