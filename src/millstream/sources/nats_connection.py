"""A connection to NATS, used from threads: its client is asyncio's, so an event loop runs in a thread of its own.

Settings are those of `nats.connect`, given as `settings={"user_credentials": "/etc/nats.creds"}`, or in the environment
as `MILLSTREAM_NATS_USER`, `_PASSWORD`, `_TOKEN`, `_USER_CREDENTIALS`, `_NKEYS_SEED`, and `_TLS_CA`, `_TLS_CERT`,
`_TLS_KEY` (files). What was given in the program goes first.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Coroutine, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeVar

from millstream.errors import UsageError
from millstream.extras import import_extra

if TYPE_CHECKING:
    import asyncio

T = TypeVar("T")

ENVIRONMENT: Final = "MILLSTREAM_NATS_"
FROM_ENVIRONMENT: Final = ("user", "password", "token", "user_credentials", "nkeys_seed")
CONNECT_S: Final = 5.0
ANSWER_S: Final = 10.0
"""For the server to answer what it is asked."""
_SERVER: Final = re.compile(r"(?:\[[0-9A-Fa-f:.%]+\]|[A-Za-z0-9._-]+)(?::\d{1,5})?\Z")
_SCHEMES: Final = ("nats", "tls", "ws", "wss")
_TOKEN: Final = re.compile(r"[^\s.*>]+\Z")
_STREAM: Final = re.compile(r"[^\s.*>/\\]{1,255}\Z")


def nats_servers(url: str, what: str) -> list[str]:
    """Return the servers of `nats://HOST:PORT,HOST:PORT`.

    Raises:
        UsageError: It is no such URL, or has a password in it.
    """
    scheme, separator, rest = url.partition("://")
    if "@" in rest:
        raise UsageError(
            f"{what}: an address with a password ends up in logs; give settings={{'user': ..., 'password': ...}} or "
            f"${ENVIRONMENT}PASSWORD"
        )
    servers = rest.rstrip("/").split(",")
    if scheme not in _SCHEMES or not separator or not all(_SERVER.match(server) for server in servers):
        raise UsageError(f"{what}: {url!r} is no address; give one such as nats://127.0.0.1:4222")
    return [f"{scheme}://{server}" for server in servers]


def check_subject(subject: str, what: str, *, wild: bool) -> None:
    """Raise UsageError where NATS could have no such subject."""
    tokens = subject.split(".")
    for place, token in enumerate(tokens):
        fits = _TOKEN.match(token) is not None
        if wild and (token == "*" or (token == ">" and place == len(tokens) - 1)):
            fits = True
        if not fits:
            wildcards = ", * for one word and > for the rest" if wild else "; it is one subject, without * and >"
            raise UsageError(f"{what}: {subject!r} is no subject; words are joined by dots{wildcards}")


def check_stream(stream: str, what: str) -> None:
    """Raise UsageError where NATS could have no stream of that name."""
    if _STREAM.match(stream) is None:
        raise UsageError(f"{what}: {stream!r} is no name of a stream: no spaces, dots, slashes, * and >")


def nats_client() -> Any:
    """Return the module `nats`.

    Raises:
        UsageError: It is not installed.
    """
    return import_extra("nats", "nats", "NATS needs the package nats-py")


class NatsConnection:
    """One connection, and the loop that it lives on. Calls block their thread until there is an answer."""

    def __init__(
        self, servers: list[str], settings: Mapping[str, Any], environment: Mapping[str, str] | None = None
    ) -> None:
        """Connect.

        Raises:
            UsageError: The package is missing, or a setting is none.
            Exception: What the client raises where no server answers, or one refuses.
        """
        import asyncio

        client = nats_client()
        found = os.environ if environment is None else environment
        given = {
            name: value for name in FROM_ENVIRONMENT if (value := found.get(ENVIRONMENT + name.upper())) is not None
        }
        options = {**given, **_tls(found), **settings}
        self.complaint: str | None = None
        """What the client said last of its connection; None since it is well again."""
        self.dropped = 0
        """Messages that the client had no room for."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="millstream-nats", daemon=True)
        self._thread.start()
        self._connection: Any = None
        try:
            self._connection = self.call(
                client.connect(
                    servers,
                    **{
                        "name": "millstream",
                        "connect_timeout": CONNECT_S,
                        "max_reconnect_attempts": -1,
                        "reconnect_time_wait": 0.5,
                        "allow_reconnect": True,
                        **options,
                    },
                    error_cb=self._told,
                    reconnected_cb=self._well,
                ),
                CONNECT_S,
            )
        except TimeoutError:
            self.close()
            raise ConnectionError(self._why() or f"no server within {CONNECT_S:g} s") from None
        except TypeError as error:
            self.close()
            raise UsageError(f"settings of NATS: {error}; see nats.connect") from None
        except BaseException:
            self.close()
            raise

    @property
    def client(self) -> Any:
        """The client's own connection; its coroutines are for `call`."""
        return self._connection

    @property
    def connected(self) -> bool:
        return bool(self._connection.is_connected)

    def call(self, work: Coroutine[Any, Any, T], timeout_s: float = ANSWER_S) -> T:
        """Do something on the loop and return its result.

        Raises:
            TimeoutError: It took longer.
        """
        import asyncio

        future = asyncio.run_coroutine_threadsafe(asyncio.wait_for(work, timeout_s), self._loop)
        return future.result()

    def close(self) -> None:
        """Disconnect and end the loop; twice is fine."""
        if self._loop.is_closed():
            return
        if self._connection is not None:
            try:
                self.call(self._connection.close(), CONNECT_S)
            except Exception:  # noqa: BLE001 - it is given up in any case, and may be half open
                pass
        future = _run(self._loop, _cancel_all())
        try:
            future.result(CONNECT_S)
        except Exception:  # noqa: BLE001 - as above
            pass
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CONNECT_S)
        if not self._thread.is_alive():
            self._loop.close()

    def _why(self) -> str | None:
        return self.complaint

    async def _told(self, error: Exception) -> None:
        if type(error).__name__ == "SlowConsumerError":
            self.dropped += 1
            return
        self.complaint = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__

    async def _well(self) -> None:
        self.complaint = None


def _run(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, T]) -> Any:
    import asyncio

    return asyncio.run_coroutine_threadsafe(work, loop)


async def _cancel_all() -> None:
    """End what a half-open connection left running."""
    import asyncio

    tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _tls(environment: Mapping[str, str]) -> dict[str, Any]:
    names = {name: environment.get(f"{ENVIRONMENT}TLS_{name}") for name in ("CA", "CERT", "KEY")}
    if not any(names.values()):
        return {}
    import ssl

    try:
        context = ssl.create_default_context(cafile=names["CA"])
        if names["CERT"]:
            context.load_cert_chain(names["CERT"], names["KEY"])
    except (OSError, ssl.SSLError) as error:
        raise UsageError(f"${ENVIRONMENT}TLS_CA, _CERT or _KEY cannot be used: {error}") from error
    return {"tls": context}
