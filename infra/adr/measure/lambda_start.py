"""What a Lambda bootstrap does from its start to its second answer, against a mock Runtime API: used by ADR 0007.

    python3 infra/adr/measure/lambda_start.py 30 'live=target/release/health EVENT=infra/adr/measure/live.json TABLE_NAME=t ...' ...

Each case is `name=command VARIABLE=value ...`. EVENT names the JSON file that is delivered twice; without it the event is {}.
AWS_ENDPOINT_URL points to a second listener that answers {} to every call, so that clients can be used. Starts are interleaved
(a b c a b c ...). Printed per case, medians: time and CPU to the first poll, time to the first and the second answer (from the
delivery of the event), CPU of the first invocation, peak memory. Linux only (/proc). Compare the rows of one run with each other.
"""

import http.server
import os
import socket
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

_WARM_UP = 2  # starts that only fill the page cache
_TIMEOUT = 10


class Aws(http.server.BaseHTTPRequestHandler):
    """Answers {} to every call of an AWS SDK."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or head and body, two writes, are 40 ms apart

    def do_POST(self) -> None:  # noqa: N802 (the name is the base class's)
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.send_response(200)
        self.send_header("content-type", "application/x-amz-json-1.0")
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        pass


class Start:
    """One start of a bootstrap, and what it did when."""

    def __init__(self, command: list[str], variables: dict[str, str], event: bytes, aws_port: int) -> None:
        self.event, self.polls, self.cpu, self.answers = event, [], [], []
        start = self

        class Runtime(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self) -> None:  # noqa: N802
                start.polls.append(time.perf_counter())
                start.started.wait()  # the bootstrap can be faster than Popen
                start.cpu.append(start.cpu_ms())
                if len(start.polls) == 3:
                    start.done.set()
                    time.sleep(_TIMEOUT)  # there is no third event
                    return
                self.send_response(200)
                for name, value in {
                    "Lambda-Runtime-Aws-Request-Id": f"r{len(start.polls)}",
                    "Lambda-Runtime-Deadline-Ms": str(int(time.time() * 1000) + 10_000),
                    "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:us-east-1:000000000000:function:f",
                    "Content-Type": "application/json",
                    "Content-Length": str(len(start.event)),
                }.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(start.event)

            def do_POST(self) -> None:  # noqa: N802
                if self.headers.get("transfer-encoding"):
                    while size := int(self.rfile.readline(), 16):
                        self.rfile.read(size + 2)
                    self.rfile.readline()
                else:
                    self.rfile.read(int(self.headers.get("content-length", 0)))
                start.answers.append((time.perf_counter(), self.path.rsplit("/", 1)[-1]))
                self.send_response(202)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.started, self.done = threading.Event(), threading.Event()
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Runtime)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        environment = {
            "PATH": os.environ["PATH"],
            "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{server.server_address[1]}",
            "AWS_LAMBDA_FUNCTION_NAME": "f",
            "AWS_LAMBDA_FUNCTION_VERSION": "1",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256",
            "AWS_LAMBDA_LOG_GROUP_NAME": "g",
            "AWS_LAMBDA_LOG_STREAM_NAME": "s",
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{aws_port}",
        } | variables
        self.began = time.perf_counter()
        self.process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.started.set()
        try:
            if not self.done.wait(_TIMEOUT) or any(kind != "response" for _, kind in self.answers):
                sys.exit(f"{command}: {len(self.polls)} polls, answers {self.answers}")
            status = Path(f"/proc/{self.process.pid}/status").read_text()
            self.memory_mb = int(status.split("VmHWM:")[1].split()[0]) / 1024
        finally:
            self.process.kill()
            self.process.wait()
            server.shutdown()
            server.server_close()

    def cpu_ms(self) -> float:
        tasks = Path(f"/proc/{self.process.pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e6

    def numbers(self) -> dict[str, float]:
        return {
            "poll ms": (self.polls[0] - self.began) * 1000,
            "cpu": self.cpu[0],
            "1st answer ms": (self.answers[0][0] - self.polls[0]) * 1000,
            "1st cpu": self.cpu[1] - self.cpu[0],
            "2nd answer ms": (self.answers[1][0] - self.polls[1]) * 1000,
            "MB": self.memory_mb,
        }


def main() -> None:
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    aws = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Aws)
    threading.Thread(target=aws.serve_forever, daemon=True).start()
    count, cases = int(sys.argv[1]), []
    for argument in sys.argv[2:]:
        name, _, rest = argument.partition("=")
        words = rest.split()
        variables = dict(word.split("=", 1) for word in words if "=" in word)
        event = variables.pop("EVENT", None)
        body = Path(event).read_bytes() if event else b"{}"
        cases.append((name, [word for word in words if "=" not in word], variables, body))
    samples: dict[str, list[dict[str, float]]] = {case[0]: [] for case in cases}
    for turn in range(_WARM_UP + count):
        for name, command, variables, body in cases:
            numbers = Start(command, variables, body, aws.server_address[1]).numbers()
            if turn >= _WARM_UP:
                samples[name].append(numbers)
    for name, runs in samples.items():
        print(f"{name:16}" + "  ".join(f"{key} {statistics.median(run[key] for run in runs):7.2f}" for key in runs[0]) + f"  n {len(runs)}")


if __name__ == "__main__":
    main()
