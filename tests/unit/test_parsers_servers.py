"""What servers and the firewall say: mail, files, networks."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from millstream.parsers.log_event import Kind
from millstream.parsers.messages.tables import field_types, read_message, read_messages

LOGIN = {"kind": Kind.LOGIN, "action": "login", "success": True}
FAILED = {"kind": Kind.LOGIN, "action": "login_failed", "success": False}
LOGOUT = {"kind": Kind.LOGOUT, "action": "logout"}
IP, PORT = {"source_ip": "203.0.113.9"}, {"source_port": 4000}
ANN = {"user": "ann"}
BOB = {"target_user": "bob@b.com"}
MAIL, EXIM = {"session": "4F9D6A"}, {"session": "1abcde-000001-AB"}

SAID: list[tuple[str, str, dict[str, Any]]] = [
    (
        "postfix/smtpd",
        "warning: unknown[203.0.113.9]: SASL LOGIN authentication failed: UGFzc3dvcmQ6",
        FAILED | IP | {"method": "LOGIN"},
    ),
    (
        "postfix/submission/smtpd",
        "warning: a.b[203.0.113.9]: SASL PLAIN authentication failed: (reason unavailable), sasl_username=ann",
        FAILED | IP | ANN | {"method": "PLAIN"},
    ),
    (
        "postfix/smtpd",
        "4F9D6A: client=a.b[203.0.113.9], sasl_method=PLAIN, sasl_username=ann",
        LOGIN | IP | ANN | {"method": "PLAIN"} | MAIL,
    ),
    ("postfix/smtpd", "4F9D6A: client=a.b[203.0.113.9]", IP | MAIL | {"action": "mail_received"}),
    ("postfix/pickup", "4F9D6A: uid=1000 from=<ann>", ANN | MAIL | {"action": "mail_received"}),
    ("postfix/qmgr", "4F9D6A: from=<ann>, size=1234, nrcpt=1 (queue active)", ANN | MAIL | {"action": "mail_queued"}),
    ("postfix/qmgr", "4F9D6A: removed", MAIL | {"action": "mail_removed"}),
    (
        "postfix/qmgr",
        "4F9D6A: from=<ann>, status=expired, returned to sender",
        ANN | MAIL | {"action": "mail_bounced", "success": False},
    ),
    (
        "postfix/smtp",
        "4F9D6A: to=<bob@b.com>, orig_to=<b>, relay=mx.b.com[203.0.113.9]:25, delay=1.2, dsn=2.0.0, "
        "status=sent (250 2.0.0 Ok: queued as 7)",
        BOB | MAIL | {"action": "mail_sent", "success": True},
    ),
    (
        "postfix/local",
        "4F9D6A: to=<bob@b.com>, relay=local, delay=1, delays=1/0/0/0, dsn=5.1.1, status=bounced (unknown user)",
        BOB | MAIL | {"action": "mail_bounced", "success": False},
    ),
    (
        "postfix/smtp",
        "4F9D6A: to=<bob@b.com>, relay=none, delay=1, dsn=4.4.1, status=deferred (connect to b.com: timed out)",
        BOB | MAIL | {"action": "mail_deferred"},
    ),
    (
        "exim",
        "1abcde-000001-AB <= a@a.com H=(pc) [203.0.113.9]:4000 P=esmtpsa X=TLS1.3 A=dovecot_plain:ann S=7 id=x",
        LOGIN | IP | PORT | ANN | EXIM | {"method": "dovecot_plain"},
    ),
    (
        "exim",
        "1abcde-000001-AB <= ann H=mx.b.com [203.0.113.9]:4000 P=esmtps S=7",
        IP | PORT | ANN | EXIM | {"action": "mail_received"},
    ),
    ("exim4", "1abcde-000001-AB <= ann U=ann P=local S=7", ANN | EXIM | {"action": "mail_received"}),
    (
        "exim",
        '1abcde-000001-AB => bob@b.com R=dnslookup T=remote_smtp H=mx.b.com [203.0.113.9] C="250 OK"',
        BOB | EXIM | {"action": "mail_sent", "success": True},
    ),
    ("exim", "1abcde-000001-AB == bob@b.com R=dnslookup defer (-53)", BOB | EXIM | {"action": "mail_deferred"}),
    (
        "exim",
        "1abcde-000001-AB ** bob@b.com R=dnslookup: Unrouteable address",
        BOB | EXIM | {"action": "mail_bounced", "success": False},
    ),
    ("exim", "1abcde-000001-AB Completed", EXIM | {"action": "mail_removed"}),
    (
        "exim",
        "dovecot_login authenticator failed for (pc) [203.0.113.9]:4000: 535 Incorrect data (set_id=ann)",
        FAILED | IP | PORT | ANN | {"method": "dovecot_login"},
    ),
    (
        "exim",
        "plain authenticator failed for [203.0.113.9]: 535 Incorrect authentication data",
        FAILED | IP | {"method": "plain"},
    ),
    (
        "exim",
        "H=(pc) [203.0.113.9]:4000 F=<ann> rejected RCPT <bob@b.com>: relay not permitted",
        IP | PORT | {"action": "mail_rejected"},
    ),
    (
        "kernel",
        "[ 12.3] wireguard: wg0: Receiving handshake initiation from peer 3 (203.0.113.9:4000)",
        IP | PORT | {"device": "wg0", "session": "3", "action": "peer_connecting"},
    ),
    (
        "kernel",
        "wireguard: wg0: Handshake for peer 3 ([2001:db8::9]:4000) did not complete after 5 seconds, retrying (try 2)",
        PORT | {"source_ip": "2001:db8::9", "device": "wg0", "session": "3", "action": "peer_unreachable"},
    ),
    (
        "kernel",
        "wireguard: wg0: Invalid handshake initiation from 203.0.113.9:4000",
        IP | PORT | {"device": "wg0", "action": "peer_refused", "success": False},
    ),
    ("postfix/smtpd", "connect from unknown[203.0.113.9]", IP | {"action": "connection_opened"}),
    (
        "postfix/smtpd",
        "NOQUEUE: reject: RCPT from unknown[203.0.113.9]: 554 5.7.1 <x@y>: Relay access denied",
        IP | {"action": "mail_rejected"},
    ),
    (
        "dovecot",
        "imap-login: Login: user=<ann>, method=PLAIN, rip=203.0.113.9, lip=10.0.0.1, mpid=7, TLS, session=<x>",
        LOGIN | IP | ANN | {"method": "PLAIN", "service": "imap"},
    ),
    (
        "dovecot",
        "pop3-login: Aborted login (auth failed, 1 attempts in 2 secs): user=<ann>, method=PLAIN, rip=203.0.113.9, "
        "lip=10.0.0.1",
        FAILED | IP | ANN | {"method": "PLAIN", "service": "pop3"},
    ),
    (
        "dovecot",
        "imap-login: Disconnected: Connection closed (auth failed, 3 attempts in 9 secs): user=<ann>, method=PLAIN, "
        "rip=203.0.113.9, lip=10.0.0.1, TLS",
        FAILED | IP | ANN | {"method": "PLAIN", "service": "imap"},
    ),
    (
        "dovecot",
        "imap-login: Login aborted: Logged out (auth failed, 1 attempts in 2 secs) (auth_failed): user=<ann>, "
        "method=PLAIN, rip=203.0.113.9, lip=10.0.0.1",
        FAILED | IP | ANN | {"method": "PLAIN", "service": "imap"},
    ),
    (
        "dovecot",
        "imap-login: Disconnected (no auth attempts in 0 secs): user=<>, rip=203.0.113.9, lip=10.0.0.1",
        IP | {"action": "disconnected", "service": "imap"},
    ),
    (
        "dovecot",
        "imap(ann)<7><abc>: Disconnected: Logged out in=9 out=7",
        LOGOUT | ANN | {"service": "imap"},
    ),
    ("vsftpd", '[ann] OK LOGIN: Client "::ffff:203.0.113.9"', LOGIN | IP | ANN),
    ("vsftpd", '[ann] FAIL LOGIN: Client "203.0.113.9"', FAILED | IP | ANN),
    ("proftpd", "web (203.0.113.9[203.0.113.9]) - USER ann: Login successful.", LOGIN | IP | ANN),
    ("proftpd", "web (203.0.113.9[203.0.113.9]) - USER ann (Login failed): Incorrect password", FAILED | IP | ANN),
    (
        "proftpd",
        "web (a.b[203.0.113.9]) - USER ann: no such user found from a.b [203.0.113.9] to 10.0.0.1:21",
        FAILED | IP | ANN,
    ),
    ("pure-ftpd", "(?@203.0.113.9) [INFO] ann is now logged in", LOGIN | IP | ANN),
    ("pure-ftpd", "(?@203.0.113.9) [WARNING] Authentication failed for user [ann]", FAILED | IP | ANN),
    ("pure-ftpd", "(ann@203.0.113.9) [INFO] Logout.", LOGOUT | IP | ANN),
    (
        "rsyncd",
        "auth failed on module data from a.b (203.0.113.9) for ann: password mismatch",
        FAILED | IP | ANN | {"service": "data", "source_name": "a.b"},
    ),
    (
        "rsyncd",
        "rsync to data/ from ann@a.b (203.0.113.9)",
        LOGIN | IP | ANN | {"service": "data/", "source_name": "a.b"},
    ),
    (
        "smbd",
        r"Auth: [SMB2,(null)] user [DOM]\[ann] at [Sun, 01 Mar 2026 10:00:00 UTC] with [NTLMv2] status [NT_STATUS_OK] "
        r"workstation [PC] remote host [ipv4:203.0.113.9:4000] became [DOM]\[ann] [S-1-5]. local host "
        r"[ipv4:10.0.0.1:445]",
        LOGIN | IP | PORT | ANN | {"method": "NTLMv2", "source_name": "PC"},
    ),
    (
        "smbd",
        r"Auth: [SMB2,(null)] user [DOM]\[ann] at [x] with [NTLMv2] status [NT_STATUS_WRONG_PASSWORD] workstation [PC] "
        r"remote host [ipv4:203.0.113.9:4000] mapped to [DOM]\[ann]. local host [ipv4:10.0.0.1:445]",
        FAILED | IP | PORT | ANN | {"method": "NTLMv2", "source_name": "PC"},
    ),
    (
        "openvpn",
        "203.0.113.9:4000 [ann] Peer Connection Initiated with [AF_INET]203.0.113.9:4000",
        LOGIN | IP | PORT | ANN,
    ),
    (
        "ovpn-server",
        "203.0.113.9:4000 TLS Auth Error: Auth Username/Password verification failed for peer",
        FAILED | IP | PORT,
    ),
    (
        "openvpn",
        "ann/203.0.113.9:4000 SIGTERM[soft,remote-exit] received, client-instance exiting",
        LOGOUT | IP | PORT | ANN,
    ),
    (
        "dropbear",
        "Password auth succeeded for 'ann' from 203.0.113.9:4000",
        LOGIN | IP | PORT | ANN | {"method": "password"},
    ),
    (
        "dropbear",
        "Pubkey auth succeeded for 'ann' with ssh-ed25519 key SHA256:x from 203.0.113.9:4000",
        LOGIN | IP | PORT | ANN | {"method": "publickey"},
    ),
    (
        "dropbear",
        "Bad password attempt for 'ann' from 203.0.113.9:4000",
        FAILED | IP | PORT | ANN | {"method": "password"},
    ),
    ("dropbear", "Login attempt for nonexistent user from 203.0.113.9:4000", FAILED | IP | PORT),
    ("fail2ban.actions", "NOTICE [sshd] Ban 203.0.113.9", IP | {"action": "banned", "service": "sshd"}),
    (
        "fail2ban",
        "fail2ban.actions        [7]: NOTICE  [sshd] Unban 203.0.113.9",
        IP | {"action": "unbanned", "service": "sshd"},
    ),
    (
        "dnsmasq-dhcp",
        "DHCPACK(eth0) 10.0.0.7 00:1b:44:11:3a:b7 laptop",
        {"action": "address_leased", "source_ip": "10.0.0.7", "device": "00:1b:44:11:3a:b7", "source_name": "laptop"},
    ),
    (
        "dhcpd",
        "DHCPACK on 10.0.0.7 to 00:1b:44:11:3a:b7 (laptop) via eth0",
        {"action": "address_leased", "source_ip": "10.0.0.7", "device": "00:1b:44:11:3a:b7", "source_name": "laptop"},
    ),
    (
        "named",
        "client @0x7f 203.0.113.9#4000 (example.com): query: example.com IN A +E(0)K (10.0.0.1)",
        IP | PORT | {"action": "dns_query"},
    ),
    (
        "NetworkManager",
        "<info>  [1772359200.1234] device (wlan0): Activation: successful, device activated.",
        {"action": "network_connected", "device": "wlan0"},
    ),
    (
        "wpa_supplicant",
        "wlan0: CTRL-EVENT-DISCONNECTED bssid=00:1b:44:11:3a:b7 reason=3",
        {"action": "network_disconnected", "device": "wlan0"},
    ),
    (
        "kernel",
        "[ 12.3] [UFW BLOCK] IN=eth0 OUT= MAC=00:1b SRC=203.0.113.9 DST=10.0.0.1 LEN=40 TOS=0x00 PREC=0x00 TTL=5 ID=7 "
        "PROTO=TCP SPT=4000 DPT=22 WINDOW=1024 RES=0x00 SYN URGP=0",
        IP | PORT | {"action": "packet_blocked"},
    ),
    (
        "kernel",
        "nft drop: IN=eth0 OUT= MAC=00:1b SRC=203.0.113.9 DST=10.0.0.1 LEN=84 TTL=5 ID=7 PROTO=ICMP TYPE=8 CODE=0",
        IP | {"action": "packet_logged"},
    ),
]


@pytest.mark.parametrize(("program", "message", "fields"), SAID)
def test_message_of_a_server_means(program: str, message: str, fields: dict[str, Any]) -> None:
    found = read_message(program, message)
    assert {name: value for name, value in found.items() if value is not None} == fields


def test_columns_of_servers_say_what_lines_say() -> None:
    frame = read_messages(
        pl.Series([program for program, _, _ in SAID]), pl.Series([message for _, message, _ in SAID])
    )
    rows = [{name: value for name, value in row.items() if value is not None} for row in frame.to_dicts()]
    assert rows == [fields for _, _, fields in SAID]
    assert dict(frame.schema) == field_types()
