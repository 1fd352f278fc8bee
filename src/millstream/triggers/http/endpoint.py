"""A path that requests come to, as a program declares it."""

from __future__ import annotations

import hashlib
import re
import secrets
import weakref
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import timedelta
from typing import Any, ClassVar, Final, Literal
from urllib.parse import parse_qsl, urlencode

import msgspec

from millstream.durations import duration_us
from millstream.errors import LimitExceededError, UsageError
from millstream.log.log import Log
from millstream.records import time_from_us
from millstream.triggers.calling import called_with
from millstream.triggers.http.desk import Desk
from millstream.triggers.http.refusal import Refused
from millstream.triggers.http.request import SECRET_HEADERS, Request
from millstream.triggers.http.signatures import Verifier
from millstream.triggers.protocol import EventSource, Handling, Trigger, name_of
from millstream.triggers.sizes import size_bytes

SIZE: Final = "1MB"
"""Of a body unless told: web hooks send up to some 100 kB; GitHub's largest are 25 MB, of which few exist."""

SIZE_BYTES_MAX: Final = 12 * 1024 * 1024
"""A body is kept in one record, whose limit is 16 MB with its headers; larger ones are uploads."""

KEY_CHARACTERS_MAX: Final = 255
"""Of an idempotency key, which is kept as long as the window; Stripe has the same limit."""

WORKERS: Final = 8
"""Of a handler that answers: requests that wait for something (a database) should not wait for one another as well."""

METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")

Replies = Literal["handler", "accepted"]


class Incoming(msgspec.Struct, frozen=True):
    """A request as it came in, its body read."""

    method: str
    path: str
    params: dict[str, str]
    query: str
    headers: dict[str, str]
    body: bytes
    client: str
    now_us: int


class Entry(msgspec.Struct, frozen=True):
    """An event to be written."""

    event: Any
    id: str
    unique: bool
    """A second one with this id, within the window, is the same."""


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """What a request has to pass, and how it is answered."""

    methods: tuple[str, ...]
    size_max: int
    verifier: Verifier | None = None
    public: bool = False
    rate: float | None = None
    reply: Replies = "handler"
    idempotency: str | None = None
    """A header, in lower case."""
    window_us: int = 86_400_000_000
    wait_us: int = 30_000_000
    body: Any = None
    """The type that the body has to be, as JSON."""


class HttpTrigger(Trigger):
    """Requests to a path; see `http.post`."""

    kind = "http"
    event: ClassVar[type] = Request
    time_field = "time"
    one_handler = "its return value is the answer; give work that needs none to a queue, @app.queue(trigger)"

    def __init__(self, path: str, rules: Rules, *, name: str | None) -> None:
        self.path = path
        self.rules = rules
        self._pattern = _pattern_of(path)
        self._desks: weakref.WeakKeyDictionary[Log, Desk] = weakref.WeakKeyDictionary()
        super().__init__(name or name_of("-".join(method.lower() for method in _spoken(rules.methods)), path))

    def source(self, log: Log) -> EventSource | None:
        return None

    def handling(self, log: Log, function: Callable[..., Any], group: str, *, batches: bool, later: bool) -> Handling:
        if self.rules.reply == "accepted":
            return Handling(called_with(function))
        if batches or later:
            what = "coalesce" if batches else "debounce"
            raise UsageError(f'{self!r}: {what}= answers nobody; give the trigger reply="accepted" with it')
        desk = Desk(
            log,
            self.topic_name,
            group,
            id_of=self.id_of,
            digest_of=self.digest_of,
            window_us=self.rules.window_us if self.keeps_answers else None,
        )
        self._desks[log] = desk
        return Handling(called_with(function), desk.ended, WORKERS)

    def desk(self, log: Log) -> Desk | None:
        """Return what knows the answers of the handler; None where nobody waits for them."""
        return self._desks.get(log)

    @property
    def keeps_answers(self) -> bool:
        return self.rules.idempotency is not None

    def match(self, path: str) -> dict[str, str] | None:
        """Return what stands for the parts in braces; None where the path is another."""
        found = self._pattern.fullmatch(path)
        return None if found is None else found.groupdict()

    def check(self, incoming: Incoming) -> None:
        """Raise Refused unless the request is signed, and its body is of the type, where that is asked for."""
        rules = self.rules
        if rules.verifier is not None:
            rules.verifier.check(incoming.headers, incoming.body, incoming.now_us)
        if rules.body is not None:
            try:
                msgspec.json.decode(incoming.body, type=rules.body)
            except msgspec.ValidationError as error:
                message, _, where = str(error).partition(" - at ")
                raise Refused(400, "bad_body", message, where=where.strip("`") or "body") from error
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise Refused(400, "bad_json", f"the body is not JSON: {error}") from error

    def entries(self, incoming: Incoming) -> Sequence[Entry]:
        """Return the events of a request that passed.

        Raises:
            Refused: It is none.
        """
        key = self._key(incoming.headers)
        request = Request(
            id=key or secrets.token_hex(8),
            method=incoming.method,
            path=incoming.path,
            params=incoming.params,
            query=_without_token(incoming.query),
            headers={name: text for name, text in incoming.headers.items() if name not in SECRET_HEADERS},
            body=incoming.body,
            time=time_from_us(incoming.now_us),
            client=incoming.client,
        )
        return [Entry(request, request.id, key is not None)]

    def id_of(self, event: Any) -> str:
        return str(event.id)

    def digest_of(self, event: Any) -> bytes:
        """Return what tells two bodies apart that came with one key; empty where that does not matter."""
        return digest(event.body)

    def _key(self, headers: Mapping[str, str]) -> str | None:
        if self.rules.idempotency is None:
            return None
        key = headers.get(self.rules.idempotency)
        if key is not None and not 0 < len(key) <= KEY_CHARACTERS_MAX:
            message = f"an idempotency key has 1 to {KEY_CHARACTERS_MAX} characters, this one {len(key)}"
            raise Refused(400, "bad_key", message, where=self.rules.idempotency)
        return key


def digest(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=16).digest()


def rules_of(
    methods: Collection[str],
    *,
    secret: str | bytes | Sequence[str | bytes] | None,
    signature: str | None,
    idempotency: str | None,
    window: timedelta | str | float,
    size_max: int | str,
    reply: Replies,
    wait: timedelta | str | float,
    public: bool,
    rate: float | None,
    body: Any = None,
    streamed: bool = False,
) -> Rules:
    """Return what was declared, checked.

    Raises:
        UsageError: A setting is out of range, or two do not go together.
    """
    if signature is not None and secret is None:
        raise UsageError(f"signature={signature!r} needs the secret that both sides have: give secret=")
    if reply not in ("handler", "accepted"):
        raise UsageError(f'reply is {reply!r}; give "handler" or "accepted"')
    if rate is not None and rate <= 0:
        raise UsageError(f"rate is {rate!r}; give how many requests a second one client may send, above 0")
    size = size_bytes(size_max)
    if size > SIZE_BYTES_MAX and not streamed:
        raise LimitExceededError("size_max", limit=SIZE_BYTES_MAX, size=size, hint="take larger bodies by http.upload")
    return Rules(
        methods=tuple(methods),
        size_max=size,
        verifier=None if secret is None else Verifier.of(secret, signature),
        public=public,
        rate=rate,
        reply=reply,
        idempotency=None if idempotency is None else idempotency.lower(),
        window_us=duration_us(window),
        wait_us=duration_us(wait),
        body=body,
    )


def _spoken(methods: Sequence[str]) -> Sequence[str]:
    return ["any"] if tuple(methods) == METHODS else methods


def _pattern_of(path: str) -> re.Pattern[str]:
    """Return what matches a path with `{name}` for one part of it.

    Raises:
        UsageError: It is no path.
    """
    if not path.startswith("/") or any(character in path for character in "?#") or path.strip() != path:
        raise UsageError(f'{path!r} is no path; give one such as "/signup" or "/orders/{{id}}"')
    names = re.findall(r"\{([^{}]*)\}", path)
    if len(set(names)) != len(names) or not all(name.isidentifier() for name in names):
        raise UsageError(f"{path!r}: what stands in braces is a name, and each another one, as in /orders/{{id}}")
    parts = re.split(r"\{([^{}]*)\}", path)
    pieces = [re.escape(part) if at % 2 == 0 else f"(?P<{part}>[^/]+)" for at, part in enumerate(parts)]
    return re.compile("".join(pieces))


def _without_token(query: str) -> str:
    if "token=" not in query:
        return query
    return urlencode([(name, text) for name, text in parse_qsl(query, keep_blank_values=True) if name != "token"])
