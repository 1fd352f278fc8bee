"""A line or a few of each format, and pieces that are special in one: what fuzzing begins with."""

from __future__ import annotations

from typing import Final

LINES: Final = tuple(
    line.encode()
    for line in (
        '10.0.0.1 - ann [10/Oct/2026:13:55:36 +0200] "GET /a\\"b HTTP/1.1" 200 2326 '
        '"https://example.com/" "curl/8.5"',
        "[Sun Mar 01 10:00:00.123456 2026] [ssl:error] [pid 7:tid 9] [client 10.0.0.1:50229] AH01618: not found",
        '2026/03/01 10:00:00 [error] 7#9: *23 open() failed, client: 10.0.0.1, server: example.com, request: "GET /"',
        "type=USER_LOGIN msg=audit(1772359200.123:456): pid=7 uid=0 msg='op=login acct=\"ann\" "
        "addr=10.0.0.1 res=failed'",
        "CEF:0|vendor|product|1.0|100|name|5|src=10.0.0.1 suser=ann msg=a=b \\= c",
        "LEEF:2.0|vendor|product|1.0|event|^|src=10.0.0.1^usrName=ann",
        '2026-03-01 10:00:00.123 UTC [7] ann@shop FATAL:  password authentication failed for user "ann"',
        "2026-03-01T10:00:00.123456Z 8 [Note] [MY-010926] [Server] Access denied for user 'ann'@'10.0.0.1'",
        "#Fields: date time c-ip cs-method sc-status",
        "2026-03-01 10:00:00 10.0.0.1 GET 200",
        '{"__REALTIME_TIMESTAMP":"1772359200000000","MESSAGE":"hi","_PID":"7","PRIORITY":"3"}',
        '{"ts":1772359200.5,"level":"error","msg":"no room","fields":{"message":"x"},"a":[1,{"b":null}]}',
        'ts=2026-03-01T10:00:00Z level=warn msg="a \\"b\\" c" took=3ms cached',
        "<38>1 2026-03-01T10:00:00.5Z web sshd 7 ID47 [a@1 b=\"c\\]\"][d] Failed password for ann "
        "from 10.0.0.1 port 22 ssh2",
        "<13>Mar  1 10:00:00 web sudo:  ann : TTY=pts/0 ; PWD=/home/ann ; USER=root ; COMMAND=/usr/bin/id -u",
        "2026-03-01T10:00:00.123456+01:00 web kernel: [ 12.3] usb 1-2: New USB device found, "
        "idVendor=0781, idProduct=5581",
    )
)  # fmt: skip

PIECES: Final = tuple(
    piece.encode("utf-8", "surrogateescape")
    for piece in (
        '"', "\\", '\\"', "'", " ", "\t", "=", "a=", "a=b ", ":", ": ", "|", ",", ";", "[", "]", "(", ")",
        "{", "}", "<", ">",
        "-", "--", ".", "/", "0", "9", "1.", "10.0.0.1", "::", "a", "A", "INFO ", "[a] ", "(a) ", '"a" ',
        " - ", "a.b", "\x00",
        "ä", "\x85", "\u2028", "\udcff", "\r", '{"a":', "[[", "\\x", "\\u", "%", "#", "@", "~", "*", "a b ",
        "a, ", "a: b, ",
        "Mar  1 10:00:00 ", "2026-03-01 10:00:00 ", "T10:00:00Z", "9999999999999999999999", "1e999", "NaN",
        "true", "null",
    )
)  # fmt: skip
"""Each is also repeated thousands of times, so runs of every kind are among what is tried."""
