"""One emulator with the fixture stack for all tests: started by the first that asks, stopped at the end.

`stack()` gives its clients and addresses; `wait_for` polls a condition and says what it last saw. Tests use names of
their own (a fresh text in each message), so they do not disturb each other.
"""

import atexit
import functools
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import boto3

LOCAL = Path(__file__).resolve().parents[1]
FIXTURE = LOCAL / "tests" / "fixture"
Seen = TypeVar("Seen")


def wait_for(what: str, look: Callable[[], Seen], until: Callable[[Seen], bool] = bool, seconds: float = 15) -> Seen:
    """Poll `look` until `until` holds for what it saw."""
    deadline = time.monotonic() + seconds
    while True:
        seen = look()
        if until(seen):
            return seen
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not happen in {seconds} s; last seen: {seen}")
        time.sleep(0.05)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Answer:
    """An HTTP answer, errors included."""

    def __init__(self, status: int, headers: Any, body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body

    def json(self) -> Any:
        return json.loads(self.body)


def http(
    url: str, body: bytes | None = None, method: str | None = None, headers: dict[str, str] | None = None, seconds: float = 30
) -> Answer:
    try:
        with urlopen(Request(url, body, headers or {}, method=method), timeout=seconds) as response:
            return Answer(response.status, response.headers, response.read())
    except HTTPError as error:
        return Answer(error.code, error.headers, error.read())


class Stack:
    """A running emulator; `deploy` puts the fixture template on it."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="reprise-test-"))
        self.log_file = self.folder / "probe.jsonl"
        emulator_port, front_port = free_port(), free_port()
        self.endpoint = f"http://127.0.0.1:{emulator_port}"
        self.front = f"http://127.0.0.1:{front_port}"
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": os.environ["HOME"],
            "EMULATOR_PORT": str(emulator_port),
            "PORT": str(front_port),
            "STACK_DIR": str(self.folder),
            "A_SECRET_OF_THE_USER": "leaked",
        }
        self.emulator_log = (self.folder / "emulator.log").open("w")
        command = [sys.executable, str(LOCAL / "emulator.py")]
        self.process = subprocess.Popen(command, env=self.environment, stdout=self.emulator_log, stderr=subprocess.STDOUT)
        atexit.register(self.stop)
        wait_for("the emulator answers", self._is_up)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=20)
        self.emulator_log.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def deploy(self, *arguments: str, template: Path = FIXTURE / "template.yaml", **environment: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(LOCAL / "deploy.py"), "--template", str(template), "--stack-dir", str(self.folder)]
        command += ["--stack-name", "probe", "--endpoint-url", self.endpoint, "--bin-dir", str(FIXTURE)]
        command += ["--parameter", f"LogFile={self.log_file}", "--parameter", "ApiAuth=NONE", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, env={**os.environ, **environment}, check=False)

    def client(self, service: str) -> Any:
        keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
        return boto3.client(service, endpoint_url=self.endpoint, region_name="us-east-1", **keys)

    @property
    def outputs(self) -> dict[str, str]:
        return json.loads((self.folder / "outputs.json").read_text())

    def send(self, **order: Any) -> str:
        """Send one order to the worker; returns the text that makes it unique."""
        name = uuid.uuid4().hex
        body = json.dumps({"name": name, **order})
        self.client("sqs").send_message(QueueUrl=self.outputs["TaskQueueUrl"], MessageBody=body, MessageGroupId="t1")
        return name

    def deliveries(self, name: str) -> list[dict[str, Any]]:
        """What the worker noted about an order, one entry per delivery."""
        lines = self.log_file.read_text().splitlines() if self.log_file.exists() else []
        notes = [json.loads(line) for line in lines]
        return [note for note in notes if note["kind"] == "record" and name in note["body"]]

    def requests(self, **query: Any) -> dict[str, Any]:
        return http(f"{self.endpoint}/__reprise/requests?{urlencode(query)}").json()

    def _is_up(self) -> bool:
        if self.process.poll() is not None:
            raise AssertionError((self.folder / "emulator.log").read_text())
        try:
            return http(f"{self.endpoint}/_ministack/health").status == 200
        except OSError:
            return False


@functools.cache
def stack() -> Stack:
    """The shared stack, deployed."""
    started = Stack()
    done = started.deploy()
    if done.returncode != 0:
        raise AssertionError(done.stderr)
    return started
