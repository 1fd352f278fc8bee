"""Answers web hooks until it is killed; prints where. Usage: web_hooks_process.py LOG"""

from __future__ import annotations

import sys
import threading

from millstream import App, Request, http

app = App(sys.argv[1], port=0)


@app.on(http.post("/hook"))
def hook(request: Request) -> str:
    return request.text()


with app.start():
    print(app.http_url, flush=True)
    threading.Event().wait()
