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
        "Mar  1 10:00:00 web dovecot: imap-login: Disconnected: Connection closed (auth failed, 3 attempts in 9 secs): "
        "user=<ann>, method=PLAIN, rip=203.0.113.9, lip=10.0.0.1, TLS",
        "Mar  1 10:00:00 web smbd[7]: Auth: [SMB2,(null)] user [D]\\[ann] at [x] with [NTLMv2] status [NT_STATUS_OK] "
        "workstation [PC] remote host [ipv4:203.0.113.9:4000] became [D]\\[ann]",
        "Mar  1 10:00:00 web kernel: [ 1.2] [UFW BLOCK] IN=eth0 OUT= MAC=00:1b SRC=203.0.113.9 DST=10.0.0.1 LEN=40 "
        "PROTO=TCP SPT=4000 DPT=22",
        'Sun Mar  1 10:00:00 2026 [pid 2] [ann] FAIL LOGIN: Client "203.0.113.9"',
        "2026-03-01 10:00:00 203.0.113.9:4000 [ann] Peer Connection Initiated with [AF_INET]203.0.113.9:4000",
        "2026-03-01 10:00:00,123 [main] INFO  com.shop.Till:12 - it works",
        "[2026-03-01T10:00:00,123][INFO ][o.e.n.Node     ] [node-1] it works",
        "2026-03-01T10:00:00.123Z  INFO 7 --- [shop] [main] c.e.App : it works",
        "[01-Mar-2026 10:00:00 UTC] PHP Warning:  it works",
        "W0301 10:00:00.123456       7 reflector.go:12] it works",
        "03-01 10:00:00.123  1702  2395 W Tag: it works",
        "7:M 01 Mar 2026 10:00:00.123 # it works",
        "W, [2026-03-01T10:00:00.123456 #7]  WARN -- shop: it works",
        "2026-03-01T10:00:00.123+0000 W NETWORK  [conn1] it works",
        "2026-03-01 10:00:00.12 Logon       Login failed for user 'sa'. Reason: it. [CLIENT: 203.0.113.9]",
        "MainThread::INFO::2026-03-01 10:00:00,123::vds::71::it works",
        "WARNING:shop.till:it works",
        '[2026-03-01T10:00:00.123Z] "GET /a HTTP/2" 503 UH 154 9 22 10 "203.0.113.9, 10.0.0.1" "curl" "id" '
        '"shop" "b:80"',
        "1772359200.123    921 10.0.0.1 TCP_MISS/200 507 GET http://a.com/ ann HIER_DIRECT/10.0.2.1 text/html",
        "https 2026-03-01T10:00:00.123456Z app/lb/1 203.0.113.9:2817 10.0.2.1:80 0.086 0.048 0.037 404 404 34 366 "
        '"GET https://example.com:443/ HTTP/1.1" "curl/8" ECDHE TLSv1.2 arn "Root=1" "example.com" "-" 0 - "f" "-" "-"',
        "a" * 64 + ' photos [01/Mar/2026:10:00:00 +0000] 203.0.113.9 ann 3E57 REST.GET.OBJECT a.png "GET /a HTTP/1.1" '
        '200 - 11 12 7 6 "-" "aws-cli" -',
        "[pid: 88185|app: 0|req: 1/1] 127.0.0.1 (ann) {38 vars in 696 bytes} [Sun Mar 13 22:49:12 2016] POST /a => "
        "generated 47 bytes in 0 msecs (HTTP/1.1 200) 9 headers in 343 bytes (1 switches on core 0)",
        "<134>2026-03-01T10:00:00+00:00 lb haproxy[7]: 203.0.113.9:33317 [01/Mar/2026:10:00:00.123] web shop/s1 "
        '10/0/30/69/109 502 27 - - SH-- 1/1/1/1/0 0/0 {a.com} "GET /a HTTP/1.1"',
        "203.0.113.9:33313 [01/Mar/2026:10:00:00.123] fnt bck/srv1 0/0/5007 212 -- 0/0/0/0/3 0/0",
        "#separator \\x09",
        "#fields\tts\tuid\tid.orig_h",
        "1772359200.000000\tC1\t203.0.113.9",
        "2026-03-01T10:00:00.123456789Z stdout F ERROR: it broke",
        '{"log":"it works\\n","stream":"stdout","time":"2026-03-01T10:00:00.123456789Z"}',
        "time,level,user,message",
        '2026-03-01T10:00:00Z,warning,ann,"late, by ""much"""',
        "time: 2026-03-01 10:00:00 UTC, level=warn; user=\"ann\", note: 'a, b'; message = late by 7",
        "@4000000069a40e2a00000000 tcpserver: status",
        "# Time: 2026-03-01T10:00:00.123456Z\n# User@Host: ann[ann] @ web [10.0.0.1]  Id:     8\n"
        "# Query_time: 2.5  Lock_time: 0.1 Rows_sent: 1\nuse shop;\nSET timestamp=1772359197;\nSELECT 1;",
        '{"@t":"2026-03-01T10:00:00Z","@mt":"Paid {Amount:0.00} by {@User}","Amount":3,"User":"ann"}',
        '{"logName":"a/b","httpRequest":{"requestMethod":"GET","requestUrl":"/a","status":404},"severity":300}',
        '{"reqId":"x","level":2,"app":"core","user":"--","message":"Login failed: ann (Remote IP: 203.0.113.9)"}',
        '{"request":{"method":"GET","uri":"/a","headers":{"User-Agent":["x"]}},"status":200,"duration":0.1}',
        '{"eventVersion":"1","eventSource":"a","eventName":"ConsoleLogin","userIdentity":{"userName":"ann"}}',
        '{"auditID":"x","verb":"list","user":{"username":"ann"},"sourceIPs":["::1"],"responseStatus":{"code":403}}',
        "10:00:00.123 [main] WARN  com.shop.Till - late",
        "[10:00:00] [Server thread/INFO]: ann joined",
        "Audit Failure,3/1/2026 10:00:00 AM,Microsoft-Windows-Security-Auditing,4625,Logon,\"It failed.\n\nSubject:\n"
        '\tAccount Name:\t\tann\n\tLogon Type:\t3"',
        "Mar  1 10:00:00 mx postfix/smtp[7]: 4F9D6A: to=<bob@b.com>, relay=b, dsn=2.0.0, status=sent (250 Ok)",
        "Mar  1 10:00:00 mx exim[7]: 1abcde-000001-AB <= a@a.com H=(pc) [203.0.113.9]:4000 P=esmtpsa A=plain:ann S=7",
        "Mar  1 10:00:00 mx exim[7]: plain authenticator failed for (pc) [203.0.113.9]:4000: 535 No (set_id=ann)",
        "260301 11:00:00\t    8 Connect\tann@10.0.0.1 on shop using TCP/IP",
        "20260301 10:00:00,db1,ann,10.0.0.1,8,12,QUERY,shop,'SELECT a, b',0",
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
        "a, ", "a: b, ", "# Thread_id: 1  ", " @ ", "A: 1 ", "\n", "A=", ": 535 ", "status=", ", ",
        "Mar  1 10:00:00 ", "2026-03-01 10:00:00 ", "T10:00:00Z", "9999999999999999999999", "1e999", "NaN",
        "true", "null",
    )
)  # fmt: skip
"""Each is also repeated thousands of times, so runs of every kind are among what is tried."""
