"""The front: plain `http://localhost:8000/<path>` answers what the deployed REST API's stage answers.

On the emulator an API lives under `/_aws/execute-api/<api id>/<stage>/`. The front rewrites the
path of the ASGI request and calls the emulator in the same process: no second hop, nothing is
buffered. Which API that is stands in `outputs.json`, which deploy.py writes; the file is looked at
on each request because a changed API definition can get a new id.
"""

import json
import os
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class Front:
    """An ASGI app that forwards to the stage named by `outputs.json`."""

    def __init__(self, app: App, outputs_file: Path) -> None:
        self._app = app
        self._target = StageFile(outputs_file)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        stage = self._target.prefix()
        if stage is None:
            await _not_deployed(send)
            return
        raw_path = scope.get("raw_path") or quote(scope["path"]).encode()
        await self._app({**scope, "path": stage + scope["path"], "raw_path": stage.encode() + raw_path}, receive, send)


class StageFile:
    """The path prefix of the deployed stage, re-read when the file changes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int] | None = None
        self._prefix: str | None = None

    def prefix(self) -> str | None:
        """`/_aws/execute-api/<id>/<stage>`, or None before the first deploy."""
        try:
            stat = os.stat(self._path)
        except FileNotFoundError:
            self._seen = None
            return None
        # Each deploy replaces the file, so the inode tells even two writes in one clock tick apart.
        version = (stat.st_mtime_ns, stat.st_ino)
        if version != self._seen:
            outputs = json.loads(self._path.read_text(encoding="utf-8"))
            self._prefix = f"/_aws/execute-api/{outputs['ApiId']}/{outputs['ApiStage']}"
            self._seen = version
        return self._prefix


async def _not_deployed(send: Send) -> None:
    body = json.dumps(
        {
            "type": "about:blank",
            "title": "Service Unavailable",
            "status": 503,
            "code": "not_deployed",
            "detail": "The local stack is up, but nothing is deployed on it yet. `make run` deploys it.",
        }
    ).encode()
    headers = [
        (b"content-type", b"application/problem+json"),
        (b"content-length", str(len(body)).encode()),
        (b"retry-after", b"2"),
    ]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": body})
