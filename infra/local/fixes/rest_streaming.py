"""Response streaming of a REST API: `responseTransferMode: STREAM` on an integration.

Upstream: the import of an API's body drops the transfer mode and does not understand the other path that such an
integration names (`/response-streaming-invocations`); and what a function streams is collected until it has ended. Here,
as on AWS, the status and the headers go out when the function has sent its prelude (JSON, then eight zero bytes), and
each piece of the body as it comes; a function that dies in the middle leaves a body that breaks off; a client that
leaves does not disturb the function.
Reference: https://docs.aws.amazon.com/apigateway/latest/developerguide/response-transfer-mode-lambda.html
"""

import asyncio
import contextvars
import inspect
from collections.abc import Callable
from typing import Any

from ministack.core import lambda_runtime
from ministack.core.responses import StreamingResponse
from ministack.services import apigateway_v1 as gateway
from ministack.services import lambda_svc

_Worker = lambda_runtime.ProvidedWorker
_MODE = "responseTransferMode"
_STREAM_PATH, _PLAIN_PATH = "/response-streaming-invocations", "/invocations"
_SEPARATOR = b"\0" * 8
# What API Gateway takes for a prelude at most.
_LONGEST_PRELUDE = 16 * 1024


class _Stream:
    """What a function sends in the invocation of one request, from the thread that reads it to the loop that answers."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.pieces: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.has_failed = False

    def put(self, piece: bytes) -> None:
        self._loop.call_soon_threadsafe(self.pieces.put_nowait, piece)


# The stream of the request that this context works on.
_current: contextvars.ContextVar[_Stream | None] = contextvars.ContextVar("stream", default=None)


def needed() -> bool:
    """True while the emulator's API Gateway does not know the transfer mode."""
    return _MODE not in inspect.getsource(gateway)


def apply() -> None:
    """Keep the mode at import, hand out what a runtime sends as it comes, and answer with it."""
    _import_mode()
    _tap_runtime_api()
    proxy, call_lambda = gateway._invoke_lambda_proxy_v1, gateway._call_lambda_raw

    async def call(*args: Any, **named: Any) -> Any:
        result, error = await call_lambda(*args, **named)
        if stream := _current.get():
            stream.has_failed = bool(error or result.get("error") or result.get("throttle"))
        return result, error

    gateway._call_lambda_raw = call

    async def invoke(integration: dict[str, Any], *args: Any, **named: Any) -> Any:
        if integration.get(_MODE) != "STREAM":
            return await proxy(integration, *args, **named)
        return await _streamed(lambda: proxy(integration, *args, **named))

    gateway._invoke_lambda_proxy_v1 = invoke


def _import_mode() -> None:
    stock = gateway._import_operation

    def import_operation(api_id: str, resource_id: str, method: str, operation: dict[str, Any], *rest: Any) -> None:
        integration = (operation or {}).get("x-amazon-apigateway-integration") or {}
        mode = str(integration.get(_MODE, "BUFFERED")).upper()
        if mode == "STREAM":
            uri = str(integration.get("uri", ""))
            if not uri.endswith(_STREAM_PATH):
                raise ValueError(f"{method}: an integration that streams must name {_STREAM_PATH}, not {uri}")
            plain = {**integration, "uri": uri.removesuffix(_STREAM_PATH) + _PLAIN_PATH}
            operation = {**operation, "x-amazon-apigateway-integration": plain}
        stock(api_id, resource_id, method, operation, *rest)
        if integration:
            gateway._resources[api_id][resource_id]["resourceMethods"][method]["methodIntegration"][_MODE] = mode

    gateway._import_operation = import_operation


def _tap_runtime_api() -> None:
    stock_build, stock_invoke = _Worker._build_handler_class, _Worker.invoke

    def invoke(self: Any, *args: Any, **named: Any) -> Any:
        # One invocation at a time: the pool leases a worker to one caller.
        self._stream = _current.get()
        try:
            return stock_invoke(self, *args, **named)
        finally:
            self._stream = None

    def build_handler_class(self: Any, *rest: Any) -> type:
        worker, stock = self, stock_build(self, *rest)

        def read_body(handler: Any) -> bytes:
            stream = worker._stream
            if stream is None or handler.headers.get("Lambda-Runtime-Function-Response-Mode", "").lower() != "streaming":
                return stock._read_body(handler)
            whole = b""
            while size := int(handler.rfile.readline().strip(), 16):
                piece = handler.rfile.read(size)
                handler.rfile.readline()
                whole += piece
                stream.put(piece)
            while handler.rfile.readline().strip():
                pass  # trailers
            return whole

        return type("StreamingHandler", (stock,), {"_read_body": read_body})

    _Worker._stream = None
    _Worker.invoke = invoke
    _Worker._build_handler_class = build_handler_class


async def _streamed(call: Callable[[], Any]) -> Any:
    """The answer of an invocation, from its prelude on; or what became of one that never sent a prelude."""
    stream = _Stream()
    token = _current.set(stream)
    invocation = asyncio.ensure_future(call())
    _current.reset(token)
    invocation.add_done_callback(lambda _: stream.pieces.put_nowait(None))
    head = b""
    while _SEPARATOR not in head and len(head) < _LONGEST_PRELUDE:
        if (piece := await stream.pieces.get()) is None:
            # A function must stream here: API Gateway understands no other answer.
            return invocation.result() if stream.has_failed else gateway._gw_error("DEFAULT_5XX", "Internal server error")
        head += piece
    prelude, body = lambda_svc._split_stream_prelude(head)
    if prelude is None:
        return gateway._gw_error("DEFAULT_5XX", "Internal server error")
    headers: dict[str, Any] = {"Content-Type": "application/octet-stream"}
    for given in (prelude.get("headers"), prelude.get("multiValueHeaders")):
        lambda_svc._apply_headers_case_insensitively(headers, given or {})
    if prelude.get("cookies"):
        headers["Set-Cookie"] = list(prelude["cookies"])

    async def run(send: Any, receive: Any) -> None:
        gone = asyncio.ensure_future(_disconnected(receive))
        piece: bytes | None = body
        while piece is not None:
            if piece and not gone.done():
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            piece = await stream.pieces.get()
        gone.cancel()
        await asyncio.wait([invocation])
        # After a failure the end stays unsent, and the client sees that the body broke off.
        if not stream.has_failed:
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    return int(prelude.get("statusCode", 200)), headers, StreamingResponse(run)


async def _disconnected(receive: Any) -> None:
    """Ends when the client has left."""
    while (await receive())["type"] != "http.disconnect":
        pass
