"""The binary of agent-api behind a small API Gateway of its own: with settings that the stack under test does not have.

It plays the Lambda Runtime API for one function, and makes an event of each HTTP request, without an identity. There is no table.
"""

import json
import queue
import subprocess
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROUTES = {"/v1/models": "/v1/models", "/v1/chat/completions": "/v1/chat/completions"}


class Function:
    """Started by `with`, ended with it."""

    def __init__(self, **settings: str) -> None:
        self._events: queue.Queue = queue.Queue()
        self._answers: dict[str, queue.Queue] = {}
        function = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                function._next(self) if self.path.endswith("/invocation/next") else function._ask(self)

            def do_POST(self) -> None:
                function._answered(self) if "/runtime/" in self.path else function._ask(self)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        address = f"127.0.0.1:{self._server.server_address[1]}"
        self.url = f"http://{address}"
        self._environment = {
            "AWS_LAMBDA_RUNTIME_API": address,
            "AWS_LAMBDA_FUNCTION_NAME": "agent-api",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "128",
            "AWS_LAMBDA_FUNCTION_VERSION": "1",
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            # Nobody listens there.
            "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
            "TABLE_NAME": "none",
            "TASK_QUEUE_URL": "http://127.0.0.1:1/none",
            "MODEL": "openai::gpt-4o-mini",
            "MODEL_BASE_URL": "http://127.0.0.1:1/v1/",
            "MODEL_API_KEY_SECRET": "",
            "PROVIDERS": "[]",
            "MODEL_ALIASES": "{}",
            "MODEL_TIMEOUT_SECONDS": "5",
            "LEASE_SECONDS": "30",
            "MAX_ATTEMPTS": "1",
            "INLINE_SECONDS": "5",
            "REQUIRE_COMPILED": "false",
            "TOOLS": "{}",
            "LOG_LEVEL": "error",
            "LOG_JSON": "1",
            "OTEL_EXPORTER_OTLP_ENDPOINT": "",
            "OTEL_EXPORTER_OTLP_HEADERS_SECRET": "",
            "OTEL_CAPTURE_CONTENT": "false",
            **settings,
        }

    def __enter__(self) -> "Function":
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self._process = subprocess.Popen([ROOT / "target" / "debug" / "agent-api"], env=self._environment)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait(10)
        self._server.shutdown()
        self._server.server_close()

    def _next(self, handler: BaseHTTPRequestHandler) -> None:
        request_id, event = self._events.get()
        body = json.dumps(event).encode()
        handler.send_response(200)
        handler.send_header("Lambda-Runtime-Aws-Request-Id", request_id)
        handler.send_header("Lambda-Runtime-Deadline-Ms", str(int((time.time() + 30) * 1000)))
        handler.send_header("Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:us-east-1:000000000000:function:agent-api")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    def _answered(self, handler: BaseHTTPRequestHandler) -> None:
        request_id = handler.path.split("/")[-2]
        self._answers[request_id].put((handler.headers, _body(handler)))
        handler.send_response(202)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    def _ask(self, handler: BaseHTTPRequestHandler) -> None:
        request_id, answers = str(uuid.uuid4()), queue.Queue()
        self._answers[request_id] = answers
        self._events.put((request_id, _event(handler, request_id)))
        headers, body = answers.get(timeout=30)
        if headers.get("Lambda-Runtime-Function-Response-Mode") == "streaming":
            # The prelude, eight zeros, the body.
            prelude, _, body = body.partition(b"\0" * 8)
            prelude = json.loads(prelude)
            status, shown = prelude["statusCode"], prelude["headers"]
        else:
            answer = json.loads(body)
            status, body = answer["statusCode"], answer["body"].encode()
            shown = {name: values[0] for name, values in answer["multiValueHeaders"].items()}
        handler.send_response(status)
        for name, value in shown.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)


def _body(handler: BaseHTTPRequestHandler) -> bytes:
    if handler.headers.get("Transfer-Encoding") != "chunked":
        return handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
    body = b""
    while size := int(handler.rfile.readline().split(b";")[0], 16):
        body += handler.rfile.read(size)
        handler.rfile.readline()
    while handler.rfile.readline().strip():
        pass
    return body


def _event(handler: BaseHTTPRequestHandler, request_id: str) -> dict:
    resource = ROUTES.get(handler.path, "/v1/models/{id}")
    headers = {name.lower(): value for name, value in handler.headers.items()}
    return {
        "resource": resource,
        "path": handler.path,
        "httpMethod": handler.command,
        "headers": headers,
        "multiValueHeaders": {name: [value] for name, value in headers.items()},
        "queryStringParameters": None,
        "multiValueQueryStringParameters": None,
        "pathParameters": {"id": handler.path.rsplit("/", 1)[1]} if resource.endswith("{id}") else None,
        "stageVariables": None,
        "requestContext": {
            "resourcePath": resource,
            "httpMethod": handler.command,
            "path": handler.path,
            "requestId": request_id,
            "stage": "live",
            "apiId": "api",
            "accountId": "123456789012",
            "resourceId": "x",
            "identity": {},
        },
        "body": _body(handler).decode() or None,
        "isBase64Encoded": False,
    }
