r"""Logs of applications: a time and a level at the beginning, in whatever order and brackets.

| written by | example |
|---|---|
| log4j, logback, Spring Boot | `2026-03-01 10:00:00,123 [main] INFO  com.shop.Till - message` |
| Python, Gunicorn, Celery | `2026-03-01 10:00:00,123 - shop.till - WARNING - message` |
| Elasticsearch, Kafka, ZooKeeper | `[2026-03-01T10:00:00,123][INFO ][o.e.n.Node] [node-1] message` |
| Spark, Hadoop | `26/03/01 10:00:00 INFO executor.Executor: message` |
| Monolog (Laravel, Symfony) | `[2026-03-01 10:00:00] local.ERROR: message {"a":1}` |
| PHP, PHP-FPM | `[01-Mar-2026 10:00:00 UTC] PHP Warning:  message in /a.php on line 3` |
| zap, Caddy; hclog (Vault, Consul) | `2026-03-01T10:00:00.123Z [INFO]  core: message` |
| RabbitMQ, Home Assistant, Tomcat | `2026-03-01 10:00:00.123 [info] <0.7.0> message` |
| glog, klog (Kubernetes) | `W0301 10:00:00.123456       7 reflector.go:12] message` |
| Android's logcat | `03-01 10:00:00.123  1702  2395 W Tag: message` |
| Redis | `7:M 01 Mar 2026 10:00:00.123 # message` |
| Ruby, Rails | `W, [2026-03-01T10:00:00.123456 #7]  WARN -- shop: message` |
| MongoDB before 4.4 | `2026-03-01T10:00:00.123+0000 W NETWORK  [conn1] message` |
| SQL Server | `2026-03-01 10:00:00.12 Logon       Login failed for user 'sa'. [CLIENT: 10.0.0.1]` |
| vdsm | `MainThread::INFO::2026-03-01 10:00:00,123::vdsm::71::vds::(run) message` |
| Python without a time | `WARNING:shop.till:message` |

The name of the logger is the program; a thread, a place in the source are in `fields`. What follows of a stack trace
comes as events of its own, with the time of the line before.

Source: the layouts that each project's documentation gives as its default.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, tzinfo
from typing import Any, Final

from millstream.parsers.event_parser import ReadLine
from millstream.parsers.levels import severity_from
from millstream.parsers.log_event import Kind
from millstream.parsers.messages.tables import read_message
from millstream.parsers.times import AT_START, parse_time

_UPPER: Final = (
    "TRACE|DEBUG|INFO|NOTICE|WARN|WARNING|ERROR|FATAL|CRITICAL|ALERT|EMERGENCY|EMERG|SEVERE|PANIC|CRIT|ERR|FINE|FINER"
    "|FINEST|CONFIG|VERBOSE|DPANIC|CRT|ERRO|EROR|WRN|INF|DBG|STATS"
)
_TIME: Final = re.compile(rf"\[?(?P<time>{AT_START})(?P<rest>.*)", re.DOTALL)
_LEVEL: Final = re.compile(
    # In capitals between any signs; in small letters where brackets, colons, bars or tabs are around it.
    rf"(?:^|(?<=[\s\[(:|<.,/-]))(?P<upper>{_UPPER})(?=$|[\s\])>:|,*/-])"
    rf"|(?:^\s*|[\[(<|:\t]\s*)(?P<lower>(?i:{_UPPER}))\s*(?=[\])>|:\t])"
    rf"|^\s+(?P<word>(?i:{_UPPER}))\s"
)
_BEFORE: Final = re.compile(r"\[(?P<inner>[^\]]{0,300})(?:\]|$)|\((?P<round>[^)]{0,300})\)|(?P<word>[^\s\[(]{1,300})")
_SYSLOG_TAG: Final = re.compile(r"\s?[^\s:\[]{1,300} [^\s:\[]{1,128}\[\d{1,10}\](?::|$)")
"""A host and a program: such a line is syslog's, and the level that of its message."""
_BEFORE_MAX: Final = 300
"""Characters between the time and the level; what is further away is part of a sentence."""
_WORDS_MAX: Final = 2
_AFTER: Final = re.compile(
    r"(?:/(?P<process>[\w-]{1,60})\])?[\s\])>|:,*]*"
    r"(?P<parts>(?:(?:\[[^\]\n]{0,200}\]|\([^)\s]{1,200}\)|<[^>\s]{1,100}>)\s*){0,4})"
    r"(?:(?P<pid>\d{1,10}) --- )?(?P<more>(?:\[[^\]\n]{0,200}\]\s*){0,2})"
    r"(?:(?P<logger>[A-Za-z_][\w.$/<>\[\]-]{0,200})(?::(?P<line>\d{1,6}))?(?P<end>(?:\s{0,40}(?: -| :)|:) |\t))?"
    r"(?P<message>.*)",
    re.DOTALL,
)
_BRACKETED: Final = re.compile(r"\[([^\]]*)\]|\(([^)]*)\)|<([^>]*)>")
_DASHES: Final = re.compile(r"^(?:--?-?|:|\|)\s+")

_LETTERS: Final = {
    "V": "debug", "D": "debug", "I": "info", "W": "warning", "E": "error", "F": "fatal", "C": "critical", "N": "notice",
}  # fmt: skip
_REDIS: Final = {".": "debug", "-": "info", "*": "notice", "#": "warning"}

_CLOCK: Final = r"\d\d:\d\d:\d\d(?:[.,]\d{1,9})?"
_GLOG: Final = re.compile(
    rf"(?P<letter>[IWEF])(?P<year>\d{{4}})?(?P<month>\d\d)(?P<day>\d\d) (?P<clock>{_CLOCK}) +(?P<pid>\d{{1,20}}) "
    r"(?P<place>[^\]\s]{1,200})\] (?P<message>.*)",
    re.DOTALL,
)
_LOGCAT: Final = re.compile(
    rf"(?:(?P<year>\d{{4}})-)?(?P<month>\d\d)-(?P<day>\d\d) (?P<clock>{_CLOCK}) +(?P<pid>\d{{1,10}}) "
    rf"+(?P<tid>\d{{1,10}}) "
    r"(?P<letter>[VDIWEFS]) (?P<logger>[^:]{0,100}): ?(?P<message>.*)",
    re.DOTALL,
)
_REDIS_LINE: Final = re.compile(
    rf"(?P<pid>\d{{1,10}}):(?P<role>[XCSM]) (?P<time>\d\d [A-Z][a-z]{{2}} (?:\d{{4}} )?{_CLOCK}) (?P<sign>[.*#-]) "
    r"(?P<message>.*)",
    re.DOTALL,
)
_RUBY: Final = re.compile(
    rf"[DIWEFA], \[(?P<time>\d{{4}}-\d\d-\d\dT{_CLOCK}) #(?P<pid>\d{{1,10}})\] +(?P<level>[A-Z]{{3,7}}) -- "
    r"(?P<logger>[^:]{0,100}): (?P<message>.*)",
    re.DOTALL,
)
_MONGO: Final = re.compile(
    rf"(?P<time>\d{{4}}-\d\d-\d\dT{_CLOCK}(?:Z|[+-]\d{{4}})) (?P<letter>[DIWEF])\d? (?P<logger>[A-Z_-]{{1,20}}) +"
    r"\[(?P<thread>[^\]]{1,100})\] (?P<message>.*)",
    re.DOTALL,
)
_SQL_SERVER: Final = re.compile(
    rf"(?P<time>\d{{4}}-\d\d-\d\d {_CLOCK}) (?P<logger>Logon|Server|Backup|spid\d{{1,6}}s?) +(?P<message>.*)", re.DOTALL
)
_SQL_SERVER_LOGIN: Final = re.compile(
    r"Login (?P<outcome>failed|succeeded) for user '(?P<user>[^']{0,200})'\..*?(?:\[CLIENT: "
    r"(?P<address>[^\]]{1,60})\].*)?",
    re.DOTALL,
)
_VDSM: Final = re.compile(
    rf"(?P<thread>[^:\s]{{1,100}})::(?P<level>[A-Z]{{3,8}})::(?P<time>\d{{4}}-\d\d-\d\d {_CLOCK})::"
    r"(?P<logger>[^:\s]{1,100})::(?P<line>\d{1,6})::(?P<message>.*)",
    re.DOTALL,
)
_PHP: Final = re.compile(
    r"\[(?P<time>\d\d-[A-Z][a-z]{2}-\d{4} \d\d:\d\d:\d\d(?: [A-Za-z/_+-]{1,40})?)\] PHP "
    r"(?P<level>Warning|Notice|Fatal error|Parse error|Deprecated|Strict Standards|Catchable fatal error|Recoverable "
    r"fatal error|Stack trace|   ?\d{1,4}): {0,2}(?P<message>.*)",
    re.DOTALL,
)
_WITHOUT_TIME: Final = re.compile(
    r"(?P<level>DEBUG|INFO|WARNING|ERROR|CRITICAL):(?P<logger>[\w.]{1,100}):(?P<message>.*)", re.DOTALL
)
_DOVECOT_TIME: Final = re.compile(r"(?P<time>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d) (?P<rest>.*)", re.DOTALL)
_PROCESS: Final = re.compile(r"(?:\[(?:pid )?|pid )(?P<pid>\d{1,10})\]? ")
_SERVERS: Final = ("vsftpd", "openvpn", "dovecot", "rsyncd", "smbd", "pure-ftpd", "fail2ban", "exim")
_SHAPES: Final = (_GLOG, _LOGCAT, _REDIS_LINE, _RUBY, _MONGO, _SQL_SERVER, _VDSM, _PHP, _WITHOUT_TIME)


def application_reader(zone: tzinfo | None = None) -> ReadLine:
    """Return what reads one line; see `EventParser`."""

    def read(text: str, now: datetime) -> Mapping[str, Any] | None:
        text = text.rstrip()
        for shape in _SHAPES:
            match = shape.fullmatch(text)
            if match is not None:
                return _of_shape(match.groupdict(), now, zone)
        return _by_level(text, now, zone)

    return read


def timed_reader(zone: tzinfo | None = None) -> ReadLine:
    """Return what reads a line that begins with a time, in brackets or not, and has any text behind.

    Servers that write a file of their own instead of syslog have their messages understood: see `_SERVERS`.
    """

    def read(text: str, now: datetime) -> Mapping[str, Any] | None:
        match = _TIME.match(text) or _DOVECOT_TIME.match(text)
        time = parse_time(match["time"], now=now, zone=zone) if match else None
        if match is None or time is None:
            return None
        message = match["rest"].lstrip("]:;,| \t-").strip()
        return {"time": time, "message": message, **_server(message)}

    return read


def _server(message: str) -> dict[str, Any]:
    """Return what a message says if it is one of a server; with the server as the program."""
    process = _PROCESS.match(message)
    said_by = {"pid": int(process["pid"])} if process is not None else {}
    text = message[process.end() :] if process is not None else message
    for program in _SERVERS:
        found = read_message(program, text)
        if found:
            return {"program": program, **said_by, **found}
    return {}


def _of_shape(parts: dict[str, str | None], now: datetime, zone: tzinfo | None) -> dict[str, Any]:
    letter, sign = parts.get("letter"), parts.get("sign")
    level = _LETTERS.get(letter) if letter else _REDIS.get(sign) if sign else parts.get("level")
    fields = {name: parts[name] for name in ("thread", "tid", "place", "line", "role") if parts.get(name)}
    pid = parts.get("pid")
    said: dict[str, Any] = {
        "time": parse_time(_time_text(parts), now=now, zone=zone),
        "severity": severity_from(level.split()[0] if level else None),
        "program": (parts.get("logger") or "").strip() or None,
        "pid": int(pid) if pid and len(pid) <= 10 else None,
        "message": (parts["message"] or "").strip(),
        "fields": fields or None,
    }
    login = _SQL_SERVER_LOGIN.fullmatch(said["message"]) if said["program"] == "Logon" else None
    return said if login is None else said | _login(login)


def _time_text(parts: dict[str, str | None]) -> str | None:
    """Return the time of a shape; one without a year is written as syslog writes it, for the year to be found."""
    month = parts.get("month")
    if month is None:
        return parts.get("time")
    if parts.get("year"):
        return f"{parts['year']}-{month}-{parts['day']} {parts['clock']}"
    names = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
    return f"{names[int(month) - 1]} {parts['day']} {parts['clock']}" if 1 <= int(month) <= 12 else None


def _login(match: re.Match[str]) -> dict[str, Any]:
    success = match["outcome"] == "succeeded"
    address = match["address"]
    return {
        "kind": Kind.LOGIN,
        "action": "login" if success else "login_failed",
        "success": success,
        "user": match["user"] or None,
        "source_ip": None if address in (None, "<local machine>", "<named pipe>") else address,
    }


def _by_level(text: str, now: datetime, zone: tzinfo | None) -> dict[str, Any] | None:
    """Return what a line says that has a time and then, not far behind, a level; None for another."""
    match = _TIME.match(text)
    if match is None:
        return None
    rest = match["rest"]
    level = _LEVEL.search(rest[:_BEFORE_MAX])
    if level is None:
        return None
    time = parse_time(match["time"], now=now, zone=zone)
    before = _before(rest[: level.start()].lstrip("]"))
    if time is None or before is None:
        return None
    after = _AFTER.fullmatch(rest[level.end() :])
    if after is None:
        return None
    said = before | _behind(after)
    threads = [*before["threads"], *said.pop("threads")]
    fields = {"line": after["line"]} if after["line"] and said["program"] == after["logger"] else {}
    if threads:
        fields["thread"] = " ".join(threads)
    severity = severity_from(level["upper"] or level["lower"] or level["word"])
    if rest.startswith(" fail2ban."):
        said |= {"message": rest.strip(), **read_message("fail2ban", rest.strip())}
        fields = {}
    return {**said, "time": time, "severity": severity, "fields": fields or None}


def _before(text: str) -> dict[str, Any] | None:
    """Return what stands between the time and the level: a logger, a process, threads; None for a sentence."""
    found: dict[str, Any] = {"program": None, "pid": None, "threads": []}
    if _SYSLOG_TAG.match(text):
        return None
    words = 0
    for match in _BEFORE.finditer(text):
        inner = match["inner"] if match["inner"] is not None else match["round"]
        word = (inner if inner is not None else match["word"]).strip(" .:,-|[]()/#")
        if not word:
            continue
        if word.isascii() and word.isdecimal() and len(word) <= 10:
            found["pid"] = int(word)
        elif inner is not None:
            found["threads"].append(word)
        else:
            words += 1
            found["program"] = found["program"] or word
    return found if words <= _WORDS_MAX else None


def _behind(after: re.Match[str]) -> dict[str, Any]:
    """Return what stands behind the level: threads, a logger, the message."""
    found: dict[str, Any] = {"threads": [after["process"]] if after["process"] else []}
    for match in _BRACKETED.finditer(after["parts"] + after["more"]):
        part = next(group for group in match.groups() if group is not None).strip()
        if part.isascii() and part.isdecimal() and len(part) <= 10 and "pid" not in found:
            found["pid"] = int(part)
        elif part:
            found["threads"].append(part)
    if after["pid"]:
        found["pid"] = int(after["pid"])
    message, logger = after["message"], after["logger"]
    # `Till - sold` and `shop.Till: sold` name a logger; `Error: it broke` is the message itself.
    if logger and (after["end"] not in (": ", "\t") or re.search(r"[.$/]|::", logger)):
        found["program"] = logger
    elif logger:
        message = after[0][after.start("logger") :]
    found.setdefault("program", None)
    if found["program"] is None:
        del found["program"]
    found["message"] = _DASHES.sub("", message.strip()).strip()
    return found
