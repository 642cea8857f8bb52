"""The stack that is tested, as OpenAI's clients and as curl would reach it.

`REPRISE_TEST_URL` and `REPRISE_TEST_MODEL` say where it is; `infra/checks/e2e.sh` sets them. Tests put something unique into their prompts,
so that they do not disturb each other, and wait for conditions with a bound.
"""

import json
import os
import time
import uuid
from collections.abc import Callable, Iterable
from typing import Any, TypeVar
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from openai import AsyncOpenAI, OpenAI

URL = os.environ["REPRISE_TEST_URL"]
MODEL = os.environ["REPRISE_TEST_MODEL"]
AGENT = "assistant"
Seen = TypeVar("Seen")


def client(**options: Any) -> OpenAI:
    """The client as its users make it, but for its own retries, which a test has to want."""
    return OpenAI(**{"base_url": f"{URL}/v1", "api_key": "local", "max_retries": 0, "timeout": 60, **options})


def async_client(**options: Any) -> AsyncOpenAI:
    return AsyncOpenAI(**{"base_url": f"{URL}/v1", "api_key": "local", "max_retries": 0, "timeout": 60, **options})


def user(text: str) -> list[dict]:
    return [{"role": "user", "content": text}]


def fresh(text: str) -> str:
    """A prompt that no other test has, which the model answers like `text`."""
    return f"{text} [{uuid.uuid4()}]"


def lonely() -> str:
    """A model that nobody else asks: what fails opens its breaker, and nobody else's."""
    return f"{AGENT}/openai::lonely-{uuid.uuid4()}"


def get(path: str) -> tuple[int, Any]:
    try:
        with urlopen(f"{URL}{path}", timeout=30) as response:
            return response.status, json.load(response)
    except HTTPError as error:
        return error.code, json.load(error)


def run(run_id: str) -> dict:
    status, body = get(f"/v1/runs/{run_id}")
    assert status == 200, body
    return body


def runs_of(prompt: str) -> list[dict]:
    """The runs that were asked exactly this, of the latest few."""
    _, page = get("/v1/runs?limit=15")
    return [found for found in (run(summary["run_id"]) for summary in page["runs"]) if found["prompt"] == prompt]


def model_calls(prompt: str) -> list[dict]:
    """What the model was asked with `prompt` in it, as the model's journal has it."""
    with urlopen(f"{MODEL}/__aimock/journal?limit=1000", timeout=30) as response:
        journal = json.load(response)
    entries = journal["entries"] if isinstance(journal, dict) else journal
    return [entry["body"] for entry in entries if prompt in json.dumps(entry.get("body"))]


def heal(part: str) -> None:
    with urlopen(Request(f"{MODEL}/reprise/heal", part.encode(), method="POST"), timeout=30):
        pass


def wait_for(what: str, look: Callable[[], Seen], until: Callable[[Seen], bool] = bool, seconds: float = 60) -> Seen:
    """Poll `look` until `until` holds for what it saw."""
    deadline = time.monotonic() + seconds
    while True:
        seen = look()
        if until(seen):
            return seen
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not happen in {seconds} s; last seen: {seen}")
        time.sleep(0.1)


def text_of(chunks: Iterable[Any]) -> str:
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def weather(strict: bool = False) -> dict:
    """A tool of the caller's."""
    parameters = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False}
    function = {"name": "weather", "description": "The weather in a city.", "parameters": parameters, "strict": strict}
    return {"type": "function", "function": function}
