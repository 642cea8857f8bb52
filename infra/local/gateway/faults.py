"""Faults on purpose: AWS calls of the functions that fail, hang or lose their answer, by rules with a seed.

    PUT    http://127.0.0.1:4566/__reprise/faults   {"seed": 7, "rules": [{"kind": "throttle", "service": "dynamodb",
           "operations": ["UpdateItem"], "functions": ["queue-consumer"], "rate": 0.1, "budget": 20, "seconds": 60}]}
    GET    the rules with what each has seen and done, and the sums by kind
    DELETE the same answer, then no rule any more

A rule needs `kind`, `rate` and `budget`; it ends after `seconds` (600 at most) or `budget` faults. Off by default, and
only ever for calls that a function makes (`app/<function>` in their user agent): never for a test that looks on.

| kind | what happens |
|---|---|
| `throttle` | refused before it is done: ThrottlingException, RequestThrottled, or a cancelled transaction that names ThrottlingError |
| `error` | 500 before it is done |
| `lost_reply` | done, and then 500 or an answer that breaks off |
| `delay` | done after up to `delay_ms` |
| `duplicate`, `late`, `undeleted` | deliveries of the queue: see deliveries.py |

The same seed draws the same numbers for the nth call that matches a rule; which call is the nth is the system's own business.
"""

import asyncio
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from gateway.front import App, Receive, Scope, Send
from gateway.request_log import FAULT_HEADER, answer, operation_of, service_of

PATH = "/__reprise/faults"
CALL_KINDS = ("throttle", "error", "lost_reply", "delay")
DELIVERY_KINDS = ("duplicate", "late", "undeleted")
_LONGEST_SECONDS = 600
_LONGEST_DELAY_MS = 60_000


@dataclass
class Rule:
    """One kind of fault, where it strikes and how often."""

    kind: str
    rate: float
    budget: int
    service: str = ""
    operations: tuple[str, ...] = ()
    functions: tuple[str, ...] = ()
    delay_ms: int = 1000
    seconds: float = _LONGEST_SECONDS
    seen: int = 0
    injected: int = 0
    dice: random.Random = field(default_factory=random.Random, repr=False)
    ends_at: float = 0.0

    @classmethod
    def read(cls, raw: Any, seed: int, place: int, now: float) -> "Rule":
        """The rule of a request; raises ValueError that names what is wrong."""
        where = f"rules[{place}]"
        if not isinstance(raw, dict):
            raise ValueError(f"{where} must be an object")
        known = {"kind", "rate", "budget", "service", "operations", "functions", "delay_ms", "seconds"}
        if unknown := sorted(set(raw) - known):
            raise ValueError(f"{where} has unknown fields: {', '.join(unknown)}")
        kind = raw.get("kind")
        if kind not in CALL_KINDS + DELIVERY_KINDS:
            raise ValueError(f"{where}.kind must be one of {', '.join(CALL_KINDS + DELIVERY_KINDS)}")
        if raw.get("service", "") not in ("", "dynamodb", "sqs"):
            raise ValueError(f"{where}.service must be dynamodb or sqs")
        rule = cls(
            kind=kind,
            rate=_number(raw, where, "rate", 0, 1),
            budget=int(_number(raw, where, "budget", 0, 1_000_000)),
            service=raw.get("service", ""),
            operations=_words(raw, where, "operations"),
            functions=_words(raw, where, "functions"),
            delay_ms=int(_number(raw, where, "delay_ms", 1, _LONGEST_DELAY_MS, 1000)),
            seconds=_number(raw, where, "seconds", 0, _LONGEST_SECONDS, _LONGEST_SECONDS),
        )
        rule.dice = random.Random(f"{seed}/{place}/{kind}")
        rule.ends_at = now + rule.seconds
        return rule

    def strikes(self, now: float) -> bool:
        """Whether this call is hit; each call that matches draws one number, so that the seed decides."""
        self.seen += 1
        drawn = self.dice.random()
        if self.injected >= self.budget or now >= self.ends_at or drawn >= self.rate:
            return False
        self.injected += 1
        return True

    def shown(self) -> dict[str, object]:
        names = ("kind", "service", "operations", "functions", "rate", "budget", "delay_ms", "seconds", "seen", "injected")
        return {name: getattr(self, name) for name in names}


class Faults:
    """The rules in force, shared by the event loop and the threads that poll queues."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._lock = threading.Lock()
        self._rules: list[Rule] = []
        self._clock = clock

    def replace(self, raw: Any) -> None:
        """Put these rules in the place of the old ones; raises ValueError that says what is wrong with them."""
        if not isinstance(raw, dict) or not isinstance(raw.get("rules"), list) or not isinstance(raw.get("seed", 0), int):
            raise ValueError('the body must be {"seed": number, "rules": [...]}')
        rules = [Rule.read(rule, raw.get("seed", 0), place, self._clock()) for place, rule in enumerate(raw["rules"])]
        with self._lock:
            self._rules = rules

    def clear(self) -> dict[str, object]:
        """Drop all rules; what they have done."""
        with self._lock:
            rules, self._rules = self._rules, []
        return _report(rules)

    def report(self) -> dict[str, object]:
        """The rules and what they have done so far."""
        with self._lock:
            return _report(self._rules)

    def of_call(self, service: str, operation: str, function: str) -> Rule | None:
        """The rule that hits this AWS call, if one does."""
        return self._first(
            CALL_KINDS,
            lambda rule: rule.service in ("", service)
            and (not rule.operations or operation in rule.operations)
            and (not rule.functions or function in rule.functions),
        )

    def of_delivery(self, kind: str) -> Rule | None:
        """The rule of this kind, if it hits this delivery."""
        return self._first((kind,), lambda _: True)

    def _first(self, kinds: tuple[str, ...], matches: Callable[[Rule], bool]) -> Rule | None:
        with self._lock:
            now = self._clock()
            struck = [rule for rule in self._rules if rule.kind in kinds and matches(rule)]
            return next((rule for rule in struck if rule.strikes(now)), None)


class FaultyCalls:
    """An ASGI app that lets the rules loose on the calls of functions, and serves the control path."""

    def __init__(self, app: App, faults: Faults) -> None:
        self._app = app
        self._faults = faults

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif scope["path"] == PATH:
            await self._control(scope, receive, send)
        elif function := function_of(scope):
            await self._call(scope, receive, send, function)
        else:
            await self._app(scope, receive, send)

    async def _control(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "PUT":
            try:
                self._faults.replace(json.loads(await _body(receive)))
            except ValueError as error:
                await answer(send, 400, {"error": str(error)})
                return
        elif scope["method"] == "DELETE":
            await answer(send, 200, self._faults.clear())
            return
        elif scope["method"] != "GET":
            await answer(send, 405, {"error": "GET, PUT or DELETE"})
            return
        await answer(send, 200, self._faults.report())

    async def _call(self, scope: Scope, receive: Receive, send: Send, function: str) -> None:
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        service, operation = service_of(headers), operation_of(scope, headers, "")
        rule = self._faults.of_call(service, operation, function)
        if rule is None:
            await self._app(scope, receive, send)
        elif rule.kind == "throttle":
            await _refuse(send, "throttle", *_throttled(service, operation, await _body(receive), rule.dice))
        elif rule.kind == "error":
            await _body(receive)
            await _refuse(send, "error", 500, _name(service, "InternalServerError"), {})
        elif rule.kind == "lost_reply":
            await self._lose_reply(scope, receive, send, service, rule.dice.random() < 0.5)
        else:
            await asyncio.sleep(rule.dice.random() * rule.delay_ms / 1000)
            await self._app(scope, receive, _marked(send, "delay"))

    async def _lose_reply(self, scope: Scope, receive: Receive, send: Send, service: str, breaks_off: bool) -> None:
        said: list[dict[str, Any]] = []

        async def keep(message: dict[str, Any]) -> None:
            said.append(message)

        await self._app(scope, receive, keep)
        start = next(message for message in said if message["type"] == "http.response.start")
        # Whoever reads the request log must know whether there was an effect.
        kind = f"lost_reply/{start['status']}"
        if not breaks_off:
            await _refuse(send, kind, 500, _name(service, "InternalServerError"), {})
            return
        body = b"".join(message.get("body", b"") for message in said)
        headers = [(name, value) for name, value in start.get("headers", []) if name.lower() != b"content-length"]
        # One byte more than will ever come, also where the answer is empty: the caller sees it break off.
        headers.append((b"content-length", str(len(body) + 1).encode()))
        await _marked(send, kind)({**start, "headers": headers})
        # Returning without the end of the body closes the connection.
        await send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})


def function_of(scope: Scope) -> str:
    """The function that makes this AWS call, by the application name in its user agent; empty for anybody else."""
    for name, value in scope["headers"]:
        if name.lower() in (b"user-agent", b"x-amz-user-agent") and b"app/" in value:
            return value.split(b"app/", 1)[1].split(b" ", 1)[0].decode("latin-1")
    return ""


def _throttled(service: str, operation: str, body: bytes, dice: random.Random) -> tuple[int, str, dict[str, object]]:
    if service == "sqs":
        return 400, _name(service, "RequestThrottled"), {}
    # A busy table refuses a transaction in either of these ways; only the first one is retried by an SDK.
    if operation == "TransactWriteItems" and dice.random() < 0.5:
        items = json.loads(body).get("TransactItems", [])
        reasons: list[dict[str, str]] = [{"Code": "None"} for _ in items]
        if reasons:
            reasons[dice.randrange(len(reasons))] = {"Code": "ThrottlingError", "Message": "Throughput exceeds the current capacity"}
        return 400, _name(service, "TransactionCanceledException"), {"CancellationReasons": reasons}
    return 400, _name(service, "ThrottlingException"), {}


def _name(service: str, code: str) -> str:
    return f"com.amazonaws.sqs#{code}" if service == "sqs" else f"com.amazonaws.dynamodb.v20120810#{code}"


async def _refuse(send: Send, kind: str, status: int, name: str, more: dict[str, object]) -> None:
    await answer(_marked(send, kind), status, {"__type": name, "message": f"injected: {kind}", "Message": f"injected: {kind}", **more})


def _marked(send: Send, kind: str) -> Send:
    """Names the fault in a header, so that the request log can tell an injected failure from a real one."""

    async def marked(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", []), (FAULT_HEADER, kind.encode())]}
        await send(message)

    return marked


async def _body(receive: Receive) -> bytes:
    chunks, more = [], True
    while more:
        message = await receive()
        chunks.append(message.get("body", b""))
        more = message["type"] == "http.request" and message.get("more_body", False)
    return b"".join(chunks)


def _report(rules: list[Rule]) -> dict[str, object]:
    sums: Counter[str] = Counter()
    for rule in rules:
        sums[rule.kind] += rule.injected
    return {"rules": [rule.shown() for rule in rules], "injected": dict(sums)}


def _number(raw: dict[str, Any], where: str, name: str, least: float, most: float, default: float | None = None) -> float:
    value = raw.get(name, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
        raise ValueError(f"{where}.{name} must be a number from {least} to {most}")
    return value


def _words(raw: dict[str, Any], where: str, name: str) -> tuple[str, ...]:
    value = raw.get(name, [])
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        raise ValueError(f"{where}.{name} must be a list of names")
    return tuple(value)
