"""The network: OpenVPN, Dropbear, fail2ban, DHCP and DNS servers, NetworkManager, wpa_supplicant.

Source: openvpn, src/openvpn/ssl_verify.c and multi.c; dropbear, src/svr-auth*.c; fail2ban, server/actions.py and
filter.py; dnsmasq, src/rfc2131.c and cache.c; ISC dhcpd, server/dhcp.c; bind, lib/ns/query.c; NetworkManager,
src/core/devices/nm-device.c; wpa_supplicant, wpa_ctrl.h.
"""

from __future__ import annotations

from typing import Final

from millstream.parsers.log_event import Kind
from millstream.parsers.messages.pam import LOGIN, LOGIN_FAILED, LOGOUT, pam_shapes
from millstream.parsers.messages.shape import Table, shape

_PEER: Final = r"(?P<source_ip>[0-9.]+|\[?[0-9a-fA-F:]+\]?):(?P<source_port>[0-9]{1,5})"

OPENVPN: Final = Table(
    frozenset({"openvpn", "ovpn-server", "openvpn-server", "ovpn"}),
    (
        shape("", rf"{_PEER} \[(?P<user>[^\]]*)\] Peer Connection Initiated with .*", action="login", **LOGIN),
        shape("", rf"{_PEER} TLS Auth Error: .*", action="login_failed", **LOGIN_FAILED),
        shape("", rf"{_PEER} VERIFY ERROR: .*", action="login_failed", method="certificate", **LOGIN_FAILED),
        shape(
            "",
            rf"{_PEER} TLS: Username/Password authentication succeeded for username '(?P<user>[^']*)'.*",
            action="authenticated",
            method="password",
        ),
        shape(
            "",
            rf"(?P<user>[^/ ]+)/{_PEER} SIG[A-Z]+[0-9]?\[[^\]]*\] received, client-instance (?:exiting|restarting)",
            action="logout",
            **LOGOUT,
        ),
        shape("", rf"{_PEER} SIG[A-Z]+[0-9]?\[[^\]]*\] received, client-instance .*", action="disconnected"),
        shape(
            "Initialization Sequence Completed", kind=Kind.SERVICE, action="started", service="openvpn", success=True
        ),
        *pam_shapes("openvpn"),
    ),
)

DROPBEAR: Final = Table(
    frozenset({"dropbear"}),
    (
        shape(
            "Password auth succeeded for ", rf"'(?P<user>.*)' from {_PEER}", action="login", method="password", **LOGIN
        ),
        shape(
            "Pubkey auth succeeded for ",
            rf"'(?P<user>[^']*)' with .* from {_PEER}",
            action="login",
            method="publickey",
            **LOGIN,
        ),
        shape(
            "PAM password auth succeeded for ",
            rf"'(?P<user>.*)' from {_PEER}",
            action="login",
            method="password",
            **LOGIN,
        ),
        shape(
            "Bad password attempt for ",
            rf"'(?P<user>.*)' from {_PEER}",
            action="login_failed",
            method="password",
            **LOGIN_FAILED,
        ),
        shape(
            "Bad PAM password attempt for ",
            rf"'(?P<user>.*)' from {_PEER}",
            action="login_failed",
            method="password",
            **LOGIN_FAILED,
        ),
        shape(
            "Login attempt for nonexistent user ",
            rf"(?:'(?P<user>.*)' )?from {_PEER}",
            action="login_failed",
            **LOGIN_FAILED,
        ),
        shape("Exit (", rf"(?P<user>[^)]+)\) from <{_PEER}>: .*", action="logout", **LOGOUT),
        shape("Exit before auth from ", rf"<{_PEER}>: .*", action="disconnected"),
        shape("Child connection from ", _PEER, action="connection_opened"),
    ),
)

_JAIL: Final = r"(?:fail2ban\.[a-z]+[ ]*\[[0-9]+\]: )?[A-Z]+[ ]+\[(?P<service>[^\]]+)\] "

FAIL2BAN: Final = Table(
    frozenset({"fail2ban", "fail2ban.actions", "fail2ban.filter", "fail2ban-server"}),
    (
        shape("", rf"{_JAIL}(?:Restore )?Ban (?P<source_ip>[^ ]+)", action="banned"),
        shape("", rf"{_JAIL}Unban (?P<source_ip>[^ ]+)", action="unbanned"),
        shape("", rf"{_JAIL}Found (?P<source_ip>[^ ]+)(?: - .*)?", action="attempt_found"),
    ),
)

_MAC: Final = r"(?P<device>[0-9a-fA-F:]{17,60})"

DHCP: Final = Table(
    frozenset({"dnsmasq-dhcp", "dhcpd"}),
    (
        shape("DHCPACK(", rf"[^)]+\) (?P<source_ip>[^ ]+) {_MAC}(?: (?P<source_name>[^ ]+))?", action="address_leased"),
        shape("DHCPRELEASE(", rf"[^)]+\) (?P<source_ip>[^ ]+) {_MAC}(?: .*)?", action="address_released"),
        shape(
            "DHCPACK on ",
            rf"(?P<source_ip>[^ ]+) to {_MAC}(?: \((?P<source_name>[^)]*)\))? via .*",
            action="address_leased",
        ),
        shape("DHCPRELEASE of ", rf"(?P<source_ip>[^ ]+) from {_MAC} .*", action="address_released"),
    ),
)

DNS: Final = Table(
    frozenset({"dnsmasq", "named", "unbound"}),
    (
        shape("query[", r"[^\]]+\] [^ ]+ from (?P<source_ip>[^ ]+)", action="dns_query"),
        shape(
            "client ",
            r"(?:@0x[0-9a-f]+ )?(?P<source_ip>[^ #]+)#(?P<source_port>[0-9]{1,5}) \([^)]*\): (?:view [^ ]+: "
            r")?query: .*",
            action="dns_query",
        ),
        shape(
            "client ",
            r"(?:@0x[0-9a-f]+ )?(?P<source_ip>[^ #]+)#(?P<source_port>[0-9]{1,5})(?: \([^)]*\))?: .*denied.*",
            action="refused",
        ),
    ),
)

_NETWORK_MANAGER: Final = r"(?:<[a-z]+>[ ]+)?(?:\[[0-9.]+\] )?"

NETWORK_MANAGER: Final = Table(
    frozenset({"NetworkManager"}),
    (
        shape(
            "",
            rf"{_NETWORK_MANAGER}device \((?P<device>[^)]+)\): Activation: successful, device activated\.",
            action="network_connected",
        ),
        shape(
            "",
            rf"{_NETWORK_MANAGER}device \((?P<device>[^)]+)\): state change: activated -> .*",
            action="network_disconnected",
        ),
        shape(
            "",
            rf"{_NETWORK_MANAGER}device \((?P<device>[^)]+)\): Activation: failed for connection .*",
            action="network_failed",
        ),
    ),
)

WPA: Final = Table(
    frozenset({"wpa_supplicant"}),
    (
        shape("", r"(?P<device>[^ :]+): CTRL-EVENT-CONNECTED .*", action="network_connected"),
        shape("", r"(?P<device>[^ :]+): CTRL-EVENT-DISCONNECTED .*", action="network_disconnected"),
        shape("", r"(?P<device>[^ :]+): CTRL-EVENT-SSID-TEMP-DISABLED .*reason=WRONG_KEY.*", action="network_failed"),
    ),
)
