r"""Objects of JSON whose names are those of one product: what they say, in the words of one schema.

| told by its names | written by |
|---|---|
| `ecs.version`, `log.level`, dotted or nested | ECS: Elastic's loggers, Beats, Elasticsearch itself |
| `@t` | Serilog, compact (CLEF) |
| `short_message` and `version` | GELF: Graylog |
| `reqId`, `app` | Nextcloud, ownCloud |
| `logName` and a payload | Google Cloud Logging |
| `eventVersion`, `eventSource`, `eventName` | AWS CloudTrail |
| `auditID`, `verb` | Kubernetes, its audit log |
| `attr`, `ctx` | MongoDB from 4.4 on |
| a method, an address and a status of HTTP | access logs: `json_access` |

A shape says some fields of an event, and which of its names it took for them. What it leaves is read as names of any
JSON are: see `named`.

Source: elastic.co/guide/en/ecs; github.com/serilog/serilog-formatting-compact; go2docs.graylog.org, "GELF";
docs.nextcloud.com, "Logging"; cloud.google.com/logging/docs/reference/v2/rest/v2/LogEntry;
docs.aws.amazon.com/awscloudtrail, "CloudTrail record contents";
kubernetes.io/docs/reference/config-api/apiserver-audit.v1; mongodb.com/docs/manual/reference/log-messages.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from millstream.parsers.json_access import access_said
from millstream.parsers.levels import severity_from, severity_of_status
from millstream.parsers.log_event import Kind
from millstream.parsers.proxies import address_of
from millstream.parsers.system_event import Severity

Said = tuple[dict[str, Any], dict[str, Any]]
"""Fields of an event, and the names and values that are left."""

_IP: Final = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}|[0-9a-fA-F:]{0,30}:[0-9a-fA-F:.]{1,30}")


def shape_said(named: dict[str, Any]) -> Said:
    """Return what an object says because of whose it is, and the rest of it; nothing and the object for any other."""
    for mark in sorted(_MARKS & named.keys()):
        for marks, read in _SHAPES[mark]:
            if marks <= named.keys() and (found := read(named)) is not None:
                return found
    if "ecs.version" in named or "log.level" in named or _has_inside(named, "log", "level") or "ecs" in named:
        return _ecs(named)
    found = access_said(named)
    return ({}, named) if found is None else found


def _left(named: Mapping[str, Any], *taken: str) -> dict[str, Any]:
    return {name: value for name, value in named.items() if name not in taken}


def _has_inside(named: Mapping[str, Any], name: str, inner: str) -> bool:
    inside = named.get(name)
    return isinstance(inside, dict) and inner in inside


def _at(value: Any, *names: str) -> Any:
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _source(address: Any) -> dict[str, Any]:
    """Return where something came from: an address, or a name."""
    if not isinstance(address, str) or not address:
        return {}
    return {"source_ip" if _IP.fullmatch(address) else "source_name": address}


def _login(success: bool) -> dict[str, Any]:
    return {"kind": Kind.LOGIN, "action": "login" if success else "login_failed", "success": success}


_ECS_GROUPS: Final = ("log", "host", "process", "user", "source", "client", "event", "service", "ecs")
_ECS_TEXTS: Final = {"user": "user.name", "source_name": "source.domain", "host": "host.hostname"}
_OUTCOMES: Final = {"success": True, "failure": False}


def _ecs(named: dict[str, Any]) -> Said:
    flat: dict[str, Any] = {}
    for name, value in named.items():
        if name in _ECS_GROUPS and isinstance(value, dict):
            flat |= {f"{name}.{inner}": one for inner, one in value.items()}
        else:
            flat[name] = value
    said: dict[str, Any] = {}
    for field, name in _ECS_TEXTS.items():
        if (text := _text(flat.get(name))) is not None:
            said[field] = text
            del flat[name]
    for name in ("source.ip", "client.ip"):
        if isinstance(flat.get(name), str) and _IP.fullmatch(flat[name]):
            said["source_ip"] = flat.pop(name)
            break
    port = flat.get("source.port")
    if isinstance(port, int) and 0 < port < 65536:
        said["source_port"] = flat.pop("source.port")
    program = _text(flat.get("process.name")) or _text(flat.get("service.name")) or _text(flat.get("log.logger"))
    if program is not None:
        said["program"] = program
    return said | _ecs_meaning(flat), flat


def _ecs_meaning(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the fields `event.*` say."""
    categories, types = (_listed(flat.get(f"event.{name}")) for name in ("category", "type"))
    action, success = _text(flat.get("event.action")), _OUTCOMES.get(str(flat.get("event.outcome")))
    if "authentication" in categories and success is not None and "end" not in types:
        return _login(success)
    kind = Kind.LOGOUT if "authentication" in categories and "end" in types else None
    return {"kind": Kind.ACCOUNT if "iam" in categories else kind, "action": action, "success": success}


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


_HOLE: Final = re.compile(r"\{[@$]?(?P<name>[A-Za-z_][\w.]{0,80})(?:,[^{}:]{0,10})?(?::[^{}]{0,40})?\}")


def _clef(named: dict[str, Any]) -> Said | None:
    template, message = _text(named.get("@mt")), _text(named.get("@m"))
    said: dict[str, Any] = {
        "message": message or (_HOLE.sub(lambda hole: _filled(named, hole), template) if template else ""),
        "severity": severity_from(named.get("@l", "Information")),
    }
    if (program := _text(named.get("SourceContext"))) is not None:
        said["program"] = program
    rest = _left(named, "@t", "@m", "@l", "SourceContext")
    return said, {"@timestamp": named["@t"], **rest}


def _filled(named: Mapping[str, Any], hole: re.Match[str]) -> str:
    value = named.get(hole["name"])
    return hole[0] if value is None or isinstance(value, (dict, list)) else str(value)


def _gelf(named: dict[str, Any]) -> Said | None:
    # `_id` is not allowed in GELF; a name that is there already counts.
    rest = dict(named)
    for name in [name for name in named if name.startswith("_") and len(name) > 1]:
        if name[1:] not in rest:
            rest[name[1:]] = rest.pop(name)
    text = _text(named.get("full_message"))
    return {"message": text} if text else {}, _left(rest, "full_message", *(("short_message",) if text else ()))


_CLOUD_FAILED: Final = re.compile(
    r"Login failed: '?(?P<user>.{1,200}?)'? \(Remote IP: '?(?P<address>[^)'\s]{2,60})'?\)"
)
_CLOUD_LOGIN: Final = re.compile(r'Login successful: "(?P<user>[^"]{1,200})"')


def _nextcloud(named: dict[str, Any]) -> Said | None:
    said: dict[str, Any] = _source(named.get("remoteAddr"))
    user = named.get("user")
    if isinstance(user, str) and user not in ("", "--"):
        said["user"] = user
    message = str(named.get("message"))
    if (failed := _CLOUD_FAILED.search(message)) is not None:
        said |= _login(False) | {"user": failed["user"]} | _source(failed["address"])
    elif (opened := _CLOUD_LOGIN.search(message)) is not None:
        said |= _login(True) | {"user": opened["user"]}
    rest = {name: value for name, value in named.items() if name not in ("remoteAddr", "user") and value != "--"}
    return said, rest


def _google(named: dict[str, Any]) -> Said | None:
    payload = named.get("jsonPayload")
    audit = named.get("protoPayload")
    said: dict[str, Any] = {}
    text = named.get("textPayload") or _at(payload, "message") or _at(payload, "msg")
    if isinstance(audit, dict):
        said |= _source(_at(audit, "requestMetadata", "callerIp"))
        said["user"] = _text(_at(audit, "authenticationInfo", "principalEmail"))
        said["program"] = _text(audit.get("serviceName"))
        text = text or " ".join(str(audit[name]) for name in ("methodName", "resourceName") if audit.get(name))
    if isinstance(named.get("httpRequest"), dict) and (request := access_said(named["httpRequest"])) is not None:
        said |= {name: value for name, value in request[0].items() if name != "fields"}
        text = text or request[0]["message"]
    said["message"] = text if isinstance(text, str) else ""
    said["program"] = said.get("program") or _text(str(named["logName"]).rpartition("/")[2])
    said["severity"] = severity_from(named.get("severity"))
    return said, _left(named, "textPayload", "severity")


_CLOUDTRAIL_ACCOUNTS: Final = {
    "CreateUser": "user_added", "DeleteUser": "user_removed", "AddUserToGroup": "added_to_group",
}  # fmt: skip


def _cloudtrail(named: dict[str, Any]) -> Said | None:
    who, name, error = named.get("userIdentity"), str(named["eventName"]), _text(named.get("errorCode"))
    user = (
        _text(_at(who, "userName"))
        or _text(_at(who, "sessionContext", "sessionIssuer", "userName"))
        or _text(_at(who, "principalId"))
        or _text(_at(who, "invokedBy"))
    )
    said: dict[str, Any] = {
        "program": _text(named["eventSource"]),
        "message": " ".join(part for part in (name, error, _text(named.get("errorMessage"))) if part),
        "user": user,
        "severity": Severity.WARNING if error else Severity.INFO,
        **_source(named.get("sourceIPAddress")),
    }
    outcome = _at(named, "responseElements", "ConsoleLogin")
    if name == "ConsoleLogin" and outcome in ("Success", "Failure"):
        said |= _login(outcome == "Success") | {"method": "console"}
        said["severity"] = Severity.INFO if outcome == "Success" else Severity.WARNING
    elif name in _CLOUDTRAIL_ACCOUNTS:
        target = _text(_at(named, "requestParameters", "userName"))
        said |= {
            "kind": Kind.ACCOUNT,
            "action": _CLOUDTRAIL_ACCOUNTS[name],
            "success": not error,
            "target_user": target,
        }
    return said, {"@timestamp": named.get("eventTime"), **_left(named, "eventTime", "sourceIPAddress", "eventSource")}


def _kubernetes(named: dict[str, Any]) -> Said | None:
    code = _at(named, "responseStatus", "code")
    addresses = named.get("sourceIPs")
    words = (named["verb"], named.get("requestURI"), code)
    said: dict[str, Any] = {
        "program": "kube-apiserver",
        "message": " ".join(str(word) for word in words if word is not None),
        "user": _text(_at(named, "user", "username")),
        "target_user": _text(_at(named, "impersonatedUser", "username")),
        "severity": severity_of_status(code) if isinstance(code, int) else None,
        **_source(addresses[0] if isinstance(addresses, list) and addresses else None),
    }
    time = named.get("requestReceivedTimestamp") or named.get("stageTimestamp")
    rest = _left(named, "requestReceivedTimestamp", "user", "sourceIPs", "level")
    return said, {"@timestamp": time, **rest, "audit_level": named.get("level")}


_MONGO_LOGINS: Final = {
    "Authentication succeeded": True, "Successfully authenticated": True, "Authentication failed": False,
    "Failed to authenticate": False,
}  # fmt: skip


def _mongo(named: dict[str, Any]) -> Said | None:
    attributes, success = named.get("attr"), _MONGO_LOGINS.get(str(named.get("msg")))
    if success is None or not isinstance(attributes, dict):
        return {}, named
    remote = attributes.get("remote") or attributes.get("client")
    address, port = address_of(remote if isinstance(remote, str) else None)
    user = attributes.get("principalName") or attributes.get("user")
    said = _login(success) | {"source_ip": address, "source_port": port, "user": _text(user)}
    return said | {"method": _text(attributes.get("mechanism"))}, named


_Shape = tuple[frozenset[str], Callable[[dict[str, Any]], Said | None]]

_SHAPES: Final[Mapping[str, Sequence[_Shape]]] = {
    "@t": [(frozenset(), _clef)],
    "short_message": [(frozenset({"version"}), _gelf)],
    "reqId": [(frozenset({"app"}), _nextcloud)],
    "logName": [(frozenset({name}), _google) for name in ("textPayload", "jsonPayload", "protoPayload", "httpRequest")],
    "eventVersion": [(frozenset({"eventSource", "eventName"}), _cloudtrail)],
    "auditID": [(frozenset({"verb"}), _kubernetes)],
    "attr": [(frozenset({"ctx"}), _mongo)],
}
"""By a name that is there: others that must be as well, and what reads such an object."""
_MARKS: Final = frozenset(_SHAPES)
