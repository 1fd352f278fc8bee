"""A real mail server that keeps what it gets."""

from __future__ import annotations

import asyncio
import ssl
import threading
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import default
from typing import Any


class MailServer:
    """aiosmtpd on a port of this machine; `answers` are given instead of taking a mail, one each."""

    def __init__(self, **settings: Any) -> None:
        self.mails: list[EmailMessage] = []
        self.raw: list[bytes] = []
        self.encrypted: list[bool] = []
        self.answers: list[str] = []
        self._settings = settings
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(60)
        self.port: int = self._server.sockets[0].getsockname()[1]

    async def _listen(self) -> asyncio.Server:
        from aiosmtpd.smtp import SMTP

        context: ssl.SSLContext | None = self._settings.pop("ssl_context", None)
        return await self._loop.create_server(
            lambda: SMTP(self, loop=self._loop, **self._settings), "127.0.0.1", 0, ssl=context
        )

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 - its name there
        if self.answers:
            return self.answers.pop(0)
        self.raw.append(envelope.content)
        self.encrypted.append(session.ssl is not None)
        mail = BytesParser(policy=default).parsebytes(envelope.content)
        assert isinstance(mail, EmailMessage)
        self.mails.append(mail)
        return "250 OK"

    def close(self) -> None:
        async def stop() -> None:
            self._server.close()
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(stop(), self._loop).result(60)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(60)
        self._loop.close()
