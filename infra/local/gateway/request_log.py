"""The request log: every AWS API call that reaches the emulator, so that tests can count them.

    GET http://127.0.0.1:4566/__reprise/requests?contains=<text>&since=<seq>
    -> {"next": 42, "dropped": 0, "requests": [{"seq", "at", "duration_ms", "service", "operation", "method",
        "path", "user_agent", "status", "fault", "request_bytes", "response_bytes", "body"}]}

`contains` matches the path and the first 32 KB of the request body (a run id, for example); `since`
returns later entries only, and `next` is the value for the next `since`. `dropped` counts what the bounded
memory has let go: a test that counts must find 0. `fault` names the fault that was put into the call (faults.py), for a
lost reply with the status that was lost (`lost_reply/200`); it is empty for all others. What the emulator does inside itself (an event source
mapping that polls its queue) is no request and is not here.
"""

import json
import re
import threading
import time
from collections import deque
from dataclasses import asdict, dataclass
from urllib.parse import parse_qs

from gateway import table_metrics
from gateway.front import App, Receive, Scope, Send

PATH = "/__reprise/requests"
BODY_LIMIT = 32 * 1024
# Says in an answer which fault was injected.
FAULT_HEADER = b"x-reprise-fault"
_ENTRY_LIMIT = 50_000
_BODIES_LIMIT = 64 * 1024 * 1024
# Data plane of deployed APIs, and the emulator's own administration: not AWS API calls.
_NOT_AWS = ("/_aws/", "/_ministack", "/_localstack", "/restapis/", "/__reprise/faults")
_CREDENTIAL_SERVICE = re.compile(r"Credential=[^/]+/\d+/[^/]+/([^/]+)/aws4_request")
_CBOR_PATH = re.compile(r"^/service/[^/]+/operation/([^/]+)$")


@dataclass(frozen=True)
class Entry:
    """One AWS API call. Times: `at` in Unix milliseconds."""

    seq: int
    at: int
    duration_ms: float
    service: str
    operation: str
    method: str
    path: str
    user_agent: str
    status: int
    fault: str
    request_bytes: int
    response_bytes: int
    body: str


class Ring:
    """The newest entries, bounded by number and by bytes of bodies."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: deque[Entry] = deque()
        self._bodies = 0
        self._last = 0

    def add(self, **fields: object) -> None:
        with self._lock:
            self._last += 1
            entry = Entry(seq=self._last, **fields)  # type: ignore[arg-type]
            self._entries.append(entry)
            self._bodies += len(entry.body)
            while len(self._entries) > _ENTRY_LIMIT or self._bodies > _BODIES_LIMIT:
                self._bodies -= len(self._entries.popleft().body)

    def page(self, contains: str, since: int) -> dict[str, object]:
        with self._lock:
            entries, last = list(self._entries), self._last
        first = entries[0].seq if entries else last + 1
        found = [asdict(e) for e in entries if e.seq > since and (contains in e.body or contains in e.path)]
        return {"next": last, "dropped": max(0, first - 1 - since), "requests": found}


class RequestLog:
    """An ASGI app that records each AWS call and serves the log."""

    def __init__(self, app: App, ring: Ring) -> None:
        self._app = app
        self._ring = ring

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(_NOT_AWS):
            await self._app(scope, receive, send)
        elif scope["path"] == PATH:
            await self._serve(scope, send)
        else:
            await self._record(scope, receive, send)

    async def _serve(self, scope: Scope, send: Send) -> None:
        query = parse_qs(scope.get("query_string", b"").decode())
        since = query.get("since", ["0"])[0]
        if not since.isdigit():
            await answer(send, 400, {"error": "since must be a number"})
            return
        await answer(send, 200, self._ring.page(query.get("contains", [""])[0], int(since)))

    async def _record(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.time()
        head = bytearray()
        sizes = {"request": 0, "response": 0, "status": 0}
        fault = b""

        async def counted_receive() -> dict:
            message = await receive()
            chunk = message.get("body", b"")
            sizes["request"] += len(chunk)
            if len(head) < BODY_LIMIT:
                head.extend(chunk[: BODY_LIMIT - len(head)])
            return message

        async def counted_send(message: dict) -> None:
            nonlocal fault
            if message["type"] == "http.response.start":
                sizes["status"] = message["status"]
                fault = next((value for name, value in message.get("headers", []) if name == FAULT_HEADER), b"")
            sizes["response"] += len(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, counted_receive, counted_send)
        finally:
            headers = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in scope["headers"]}
            service = service_of(headers)
            # Objects in S3 are function packages: no text that a test could look for.
            body = "" if service == "s3" else head.decode("utf-8", "replace")
            duration_ms = round((time.time() - started) * 1000, 1)
            operation = operation_of(scope, headers, body)
            if service == "dynamodb":
                table_metrics.record(operation, body, sizes["status"], fault.decode("latin-1"), duration_ms)
            self._ring.add(
                at=int(started * 1000),
                duration_ms=duration_ms,
                service=service,
                operation=operation,
                method=scope["method"],
                path=scope["path"],
                user_agent=headers.get("user-agent", ""),
                status=sizes["status"],
                fault=fault.decode("latin-1"),
                request_bytes=sizes["request"],
                response_bytes=sizes["response"],
                body=body,
            )


def service_of(headers: dict[str, str]) -> str:
    """The service the caller signed for, which is how AWS itself tells them apart."""
    match = _CREDENTIAL_SERVICE.search(headers.get("authorization", ""))
    return match.group(1) if match else "unknown"


def operation_of(scope: Scope, headers: dict[str, str], body: str) -> str:
    """The operation's name where the protocol names one, else `METHOD /path` (REST protocols)."""
    if target := headers.get("x-amz-target"):
        return target.rpartition(".")[2]
    if match := _CBOR_PATH.match(scope["path"]):
        return match.group(1)
    if "x-www-form-urlencoded" in headers.get("content-type", "") and (action := parse_qs(body).get("Action")):
        return action[0]
    return f"{scope['method']} {scope['path']}"


async def answer(send: Send, status: int, payload: object) -> None:
    """Send JSON."""
    body = json.dumps(payload).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
