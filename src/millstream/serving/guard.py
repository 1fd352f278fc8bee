"""What every request passes first. Pure ASGI around the application; it alone talks to strangers.

In this order, cheapest first: rate, Host, Origin, token, size of the body. What fails is one error envelope; what
passes has its body read whole (it is small by then), so that nothing behind the guard waits for a slow sender.
"""

from __future__ import annotations

import asyncio
import math
from http.cookies import CookieError, SimpleCookie
from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from millstream.clock import Clock
from millstream.serving.access import Access
from millstream.serving.answers import RequestError
from millstream.serving.rates import Rate, RateLimit, client_name

BODY_BYTES_MAX: Final = 64 * 1024
"""What browsers let one beacon carry; no page has a reason to send more."""

BODY_SECONDS_MAX: Final = 10.0
"""A body of 64 KB takes this long on 50 kbit/s; slower than that is an attack or a broken line."""

READ_RATE: Final = Rate(per_second=100, burst=500)
"""A page with its pieces is some 20 requests; several people may share an address."""

WRITE_RATE: Final = Rate(per_second=50, burst=200)
"""A person clicks at most ten times a second; several may share an address."""

FAILED_TOKEN_RATE: Final = Rate(per_second=0.2, burst=20)
"""Room for typing errors, none for guessing."""

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})

SECURITY_HEADERS: Final = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; require-trusted-types-for 'script'",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


class Guard:
    """ASGI middleware; see the module."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        access: Access,
        clock: Clock,
        port: int,
        read_rate: Rate | None = READ_RATE,
        write_rate: Rate | None = WRITE_RATE,
        body_bytes_max: int | None = BODY_BYTES_MAX,
        body_seconds_max: float = BODY_SECONDS_MAX,
        origins: bool = True,
    ) -> None:
        """Args:
        read_rate: Of one client; None: as many as it likes. The same for writes.
        body_bytes_max: None: bodies are not read here, the application takes them as they come.
        origins: Refuse what pages of other sites ask for; not for what is signed, or meant for them.
        """
        self._app = app
        self._access = access
        # Cookies do not keep ports apart: two servers on one machine need two names.
        self._cookie = f"millstream_{port}"
        self._reads = None if read_rate is None else RateLimit(read_rate, clock=clock)
        self._writes = None if write_rate is None else RateLimit(write_rate, clock=clock)
        self._failed_tokens = RateLimit(FAILED_TOKEN_RATE, clock=clock)
        self._body_bytes_max = body_bytes_max
        self._body_seconds_max = body_seconds_max
        self._origins = origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return

        async def send_secured(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            entrance = self._check(scope)
            if entrance is None:
                receive = await self._read_body(scope, receive)
        except RequestError as error:
            entrance = error.response()
        if entrance is not None:
            await entrance(scope, receive, send_secured)
        else:
            await self._app(scope, receive, send_secured)

    def _check(self, scope: Scope) -> Response | None:
        """Return None for a request that may pass, or the answer to one that ends here; raise what is refused."""
        headers = Headers(scope=scope)
        client = client_name(scope["client"][0] if scope.get("client") else "")
        safe = scope["method"] in SAFE_METHODS
        self._check_rate(self._reads if safe else self._writes, client)
        self._check_host(headers)
        if self._origins:
            self._check_origin(headers, safe=safe, navigates=scope["method"] == "GET")
        return self._check_token(scope, headers, client)

    def _check_rate(self, limit: RateLimit | None, client: str) -> None:
        seconds = 0.0 if limit is None else limit.take(client)
        if limit is not None and seconds > 0:
            raise RequestError(
                429,
                "too_many_requests",
                f"more than {limit.rate.per_second:g} requests a second; try again in {seconds:.1f} s",
                where="client",
                headers={"retry-after": str(math.ceil(seconds))},
            )

    def _check_host(self, headers: Headers) -> None:
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self._access.answers_to(hosts[0]):
            raise RequestError(403, "wrong_host", "this server does not answer to that host name", where="Host")

    def _check_origin(self, headers: Headers, *, safe: bool, navigates: bool) -> None:
        """Refuse what a page of another site asks for. Programs that are no browsers send neither header."""
        navigation = navigates and headers.get("sec-fetch-mode") == "navigate"
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin") and not navigation:
            raise RequestError(403, "wrong_origin", "requests of other sites are not answered", where="Sec-Fetch-Site")
        origins = headers.getlist("origin")
        if safe or not origins:
            return
        origin = urlsplit(origins[0])
        if len(origins) != 1 or origin.scheme not in ("http", "https") or origin.netloc != headers["host"]:
            raise RequestError(403, "wrong_origin", "requests of other sites are not answered", where="Origin")

    def _check_token(self, scope: Scope, headers: Headers, client: str) -> Response | None:
        if self._access.token is None:
            return None
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        in_query = [value for name, value in query if name == "token"]
        if scheme.lower() == "bearer":
            given = bearer.strip()
        elif in_query and scope["method"] == "GET":
            given = in_query[0]
        else:
            given = self._cookie_value(headers)
        if given and self._access.token_is(given):
            return self._to_cookie(scope, query) if in_query and scope["method"] == "GET" else None
        if given:
            self._check_rate(self._failed_tokens, client)
        raise RequestError(
            401,
            "token_needed",
            "open the address that `millstream` printed, with its ?token=, or send `Authorization: Bearer <token>`",
            where="token",
            headers={"www-authenticate": "Bearer"},
        )

    def _cookie_value(self, headers: Headers) -> str:
        cookies: SimpleCookie = SimpleCookie()
        try:
            cookies.load(headers.get("cookie", ""))
        except CookieError:
            return ""
        return cookies[self._cookie].value if self._cookie in cookies else ""

    def _to_cookie(self, scope: Scope, query: list[tuple[str, str]]) -> Response:
        """Take the token out of the address, where histories and screenshots keep it, into a cookie."""
        rest = urlencode([(name, value) for name, value in query if name != "token"])
        # One slash: `//name` would be the address of another server.
        path = "/" + scope["path"].lstrip("/\\")
        response = Response(status_code=303, headers={"location": path + (f"?{rest}" if rest else "")})
        response.set_cookie(self._cookie, self._access.token or "", httponly=True, samesite="strict", path="/")
        return response

    async def _read_body(self, scope: Scope, receive: Receive) -> Receive:
        """Return a `receive` that has the whole body at hand."""
        limit = self._body_bytes_max
        if limit is None or scope["method"] in SAFE_METHODS:
            return receive
        too_large = RequestError(413, "too_large", f"the body is larger than {limit:,} bytes", where="body")
        length = Headers(scope=scope).get("content-length", "0")
        if length.isdigit() and int(length) > limit:
            raise too_large
        body = bytearray()
        try:
            async with asyncio.timeout(self._body_seconds_max):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise RequestError(400, "cut_off", "the body ended before its length", where="body")
                    body += message.get("body", b"")
                    if len(body) > limit:
                        raise too_large
                    if not message.get("more_body", False):
                        break
        except TimeoutError as error:
            raise RequestError(
                408, "too_slow", "the body did not arrive in time", where="body", headers={"connection": "close"}
            ) from error
        whole: list[Message] = [{"type": "http.request", "body": bytes(body), "more_body": False}]

        async def replay() -> Message:
            return whole.pop() if whole else await receive()

        return replay
