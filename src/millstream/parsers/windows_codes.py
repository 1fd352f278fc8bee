"""The numbers of the Windows event log, in words.

Source: learn.microsoft.com, "4624(S)" (logon types), "4625(F)" (status codes), "4768(S, F)" and RFC 4120, 7.5.9
(Kerberos), "Well-known SIDs"; winnt.h; msobjs.dll (the parameters `%%1234` of the security log: those that matter).
"""

from __future__ import annotations

from typing import Final

LOGON_TYPES: Final = {
    "0": "system",
    "2": "interactive",
    "3": "network",
    "4": "batch",
    "5": "service",
    "7": "unlock",
    "8": "network_cleartext",
    "9": "new_credentials",
    "10": "remote_interactive",
    "11": "cached_interactive",
    "12": "cached_remote_interactive",
    "13": "cached_unlock",
}

STATUS: Final = {
    0xC000005E: "no logon server",
    0xC0000064: "unknown user",
    0xC000006A: "wrong password",
    0xC000006D: "wrong name or password",
    0xC000006E: "account restriction",
    0xC000006F: "outside of allowed hours",
    0xC0000070: "workstation not allowed",
    0xC0000071: "password expired",
    0xC0000072: "account disabled",
    0xC00000DC: "server in the wrong state",
    0xC0000133: "clocks differ",
    0xC000015B: "logon type not granted",
    0xC000018C: "no trust between domains",
    0xC000018D: "no trust with the computer's account",
    0xC0000192: "logon service not started",
    0xC0000193: "account expired",
    0xC0000224: "password has to be changed",
    0xC0000225: "not found",
    0xC0000234: "account locked",
    0xC00002EE: "an error during the logon",
    0xC0000371: "no password for the account here",
    0xC0000413: "authentication firewall",
}
"""NTSTATUS of a refused logon."""

KERBEROS: Final = {
    0x1: "client entry expired",
    0x2: "server entry expired",
    0x6: "unknown user",
    0x7: "unknown service",
    0x9: "no key",
    0xC: "not allowed by policy",
    0xD: "option not possible",
    0xE: "encryption not supported",
    0xF: "checksum not supported",
    0x10: "no certificate",
    0x12: "account disabled, expired or locked",
    0x17: "password expired",
    0x18: "wrong password",
    0x19: "more authentication wanted",
    0x1F: "integrity check failed",
    0x20: "ticket expired",
    0x25: "clocks differ",
    0x44: "wrong realm",
}
"""What Kerberos answers."""

PARAMETERS: Final = {
    "%%1793": "<value not set>",
    "%%1794": "<never>",
    "%%1797": "all",
    "%%1832": "identification",
    "%%1833": "impersonation",
    "%%1840": "delegation",
    "%%1842": "yes",
    "%%1843": "no",
    "%%1936": "full",
    "%%1937": "elevated",
    "%%1938": "limited",
    "%%2304": "an error during the logon",
    "%%2305": "account expired",
    "%%2306": "logon service not active",
    "%%2307": "account locked",
    "%%2308": "logon type not granted",
    "%%2309": "password expired",
    "%%2310": "account disabled",
    "%%2311": "outside of allowed hours",
    "%%2312": "workstation not allowed",
    "%%2313": "wrong name or password",
    "%%14592": "inbound",
    "%%14593": "outbound",
}

SIDS: Final = {
    "S-1-0-0": "",
    "S-1-5-7": "ANONYMOUS LOGON",
    "S-1-5-18": "SYSTEM",
    "S-1-5-19": "LOCAL SERVICE",
    "S-1-5-20": "NETWORK SERVICE",
    "S-1-5-32-544": "Administrators",
    "S-1-5-32-545": "Users",
    "S-1-5-32-546": "Guests",
    "S-1-5-32-547": "Power Users",
    "S-1-5-32-551": "Backup Operators",
    "S-1-5-32-555": "Remote Desktop Users",
    "S-1-5-32-573": "Event Log Readers",
    "S-1-5-32-580": "Remote Management Users",
}

_NOBODY: Final = frozenset({"S-1-5-7", "S-1-5-18", "S-1-5-19", "S-1-5-20"})
_NOBODY_STARTS: Final = ("S-1-5-80-", "S-1-5-82-", "S-1-5-83-", "S-1-5-90-", "S-1-5-96-")
"""Services, application pools, virtual machines, the window manager, font drivers."""


def is_nobody(name: str, sid: str) -> bool:
    """Return whether an account is the system's own, a service's, a computer's (`WEB$`) or no account at all."""
    return name.endswith("$") or sid in _NOBODY or sid.startswith(_NOBODY_STARTS)


def reason_of(*codes: str) -> str | None:
    """Return what the first code that says something says; None where none does."""
    for code in codes:
        if code in PARAMETERS:
            return PARAMETERS[code]
        number = _number(code)
        found = STATUS.get(number) if number > 0xFFFF else KERBEROS.get(number)
        if found is not None:
            return found
    return None


def is_zero(code: str) -> bool:
    """Return whether a code means success."""
    return _number(code) == 0


def _number(code: str) -> int:
    try:
        number = int(code, 16) if code[:2] in ("0x", "0X") else int(code)
    except ValueError:
        return -1
    return number & 0xFFFFFFFF
