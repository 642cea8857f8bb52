"""What `/health` costs beside a function that does nothing, cold and warm, in one run: `make measure-health`.

    python3 infra/adr/measure/health_cost.py [--starts 30] [--requests 300] [--bar 1.5] FOLDER

FOLDER holds the binaries `health` and `empty-function`, built alike. Their starts are interleaved, against a mock Runtime API each. CPU time
as the scheduler counts it (/proc, nanoseconds), so that it says little of what else the machine does; medians of the starts.

| cold | from the start of the process to the end of its first answer |
| warm | one more answer, in the mean of many |

Exit code 1 when `/health` costs more than the bar times the empty function. Linux only.
"""

import argparse
import json
import os
import select
import socket
import statistics
import subprocess
import sys
from pathlib import Path

_EVENT = json.dumps(
    {
        "resource": "/health", "path": "/health", "httpMethod": "GET", "headers": {"host": "localhost"}, "multiValueHeaders": {},
        "queryStringParameters": None, "multiValueQueryStringParameters": None, "pathParameters": None, "stageVariables": None,
        "requestContext": {
            "resourcePath": "/health", "httpMethod": "GET", "path": "/health", "stage": "live", "requestId": "r", "accountId": "000000000000",
            "apiId": "a", "resourceId": "h", "protocol": "HTTP/1.1", "identity": {"sourceIp": "127.0.0.1", "userAgent": "probe"},
        },
        "body": None, "isBase64Encoded": False,
    }
).encode()
_LIMIT = 20
_WARM_UP = 2  # starts that only fill the page cache


def variables(port: int) -> dict[str, str]:
    """What Lambda sets, and the template: as in a deployment, though liveness reads little of it."""
    return {
        "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{port}", "AWS_LAMBDA_FUNCTION_NAME": "x-health", "AWS_LAMBDA_FUNCTION_VERSION": "1",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256", "AWS_LAMBDA_LOG_GROUP_NAME": "g", "AWS_LAMBDA_LOG_STREAM_NAME": "s",
        "AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "TABLE_NAME": "t",
        "TASK_QUEUE_URL": "http://127.0.0.1:1/q", "JOBS_QUEUE_URL": "http://127.0.0.1:1/j", "DLQ_URL": "http://127.0.0.1:1/d", "API_AUTH": "iam", "MODEL": "openai::m",
        "MODEL_BASE_URL": "", "PROVIDERS": "[]", "REQUIRE_COMPILED": "false", "BACKLOG_THRESHOLD": "10000", "BACKLOG_AGE_SECONDS": "300",
        "DEAD_LETTER_THRESHOLD": "100",
        "HEARTBEAT_TIMEOUT_SECONDS": "120", "LEASE_SECONDS": "75", "PROBE_CACHE_SECONDS": "3", "LOG_LEVEL": "info", "LOG_JSON": "1", "AWS_LAMBDA_HTTP_IGNORE_STAGE_IN_PATH": "true",
        "PATH": os.environ["PATH"],
    }  # fmt: skip


def cpu_ms(process: int) -> float:
    """CPU time of all threads of a process that live; none has ended by then."""
    tasks = Path(f"/proc/{process}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e6


def request(stream: socket.SocketIO) -> tuple[str, bytes]:
    """The first line of a request and its body; empty at the end of the connection."""
    first, size, chunked = stream.readline().decode(), 0, False
    while (line := stream.readline()) not in (b"\r\n", b""):
        name, _, value = line.decode().lower().partition(":")
        size = int(value) if name == "content-length" else size
        chunked = chunked or (name == "transfer-encoding" and "chunked" in value)
    if not chunked:
        return first, stream.read(size) if size else b""
    body = b""
    while length := int(stream.readline() or b"0", 16):
        body += stream.read(length)
        stream.readline()
    stream.readline()
    return first, body


def start(binary: Path, requests: int) -> tuple[float, float]:
    """CPU milliseconds of a cold start with its answer, and of one warm answer."""
    head = (
        "HTTP/1.1 200 OK\r\nLambda-Runtime-Aws-Request-Id: r\r\nLambda-Runtime-Deadline-Ms: 99999999999999\r\n"
        "Lambda-Runtime-Invoked-Function-Arn: arn:aws:lambda:us-east-1:000000000000:function:f\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(_EVENT)}\r\n\r\n"
    ).encode()
    with socket.create_server(("127.0.0.1", 0)) as server:
        process = subprocess.Popen([str(binary)], env=variables(server.getsockname()[1]), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            polls, cold, streams = 0, 0.0, {}
            while True:
                # The runtime keeps more than one connection, and uses any of them.
                ready, _, _ = select.select([server, *streams], [], [], _LIMIT)
                if not ready:
                    sys.exit(f"{binary.name} has said nothing for {_LIMIT} s; polls: {polls}")
                connection = ready[0]
                if connection is server:
                    connection, _ = server.accept()
                    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    streams[connection] = connection.makefile("rb")
                    continue
                first, body = request(streams[connection])
                if not first:
                    streams.pop(connection).close()
                    connection.close()
                elif first.startswith("GET"):
                    polls += 1
                    if polls == 2:
                        cold = cpu_ms(process.pid)
                    if polls == requests + 2:
                        return cold, (cpu_ms(process.pid) - cold) / requests
                    connection.sendall(head + _EVENT)
                else:
                    if b"healthy" not in body:
                        sys.exit(f"{binary.name} answered {body!r}")
                    connection.sendall(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")
        finally:
            process.kill()
            process.wait()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--starts", type=int, default=30)
    parser.add_argument("--requests", type=int, default=300)
    parser.add_argument("--bar", type=float, default=1.5)
    given = parser.parse_args()
    samples: dict[str, list[tuple[float, float]]] = {"empty-function": [], "health": []}
    for turn in range(_WARM_UP + given.starts):
        for name, found in samples.items():
            numbers = start(given.folder / name, given.requests)
            if turn >= _WARM_UP:
                found.append(numbers)
    print(f"CPU ms, medians of {given.starts} starts of each, interleaved")
    print(f"{'':16}{'cold':>10}{'warm':>10}")
    medians = {name: [statistics.median(column) for column in zip(*found, strict=True)] for name, found in samples.items()}
    for name, (cold, warm) in medians.items():
        print(f"{name:16}{cold:10.3f}{warm:10.4f}")
    ratios = [ours / empty for ours, empty in zip(medians["health"], medians["empty-function"], strict=True)]
    print(f"{'health / empty':16}{ratios[0]:10.2f}{ratios[1]:10.2f}    bar {given.bar}")
    return int(max(ratios) > given.bar)


if __name__ == "__main__":
    sys.exit(main())
