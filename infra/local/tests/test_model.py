"""The offline model: each promised prompt gets its answer, failures heal, the journal counts, the witness sees every call."""

import atexit
import contextlib
import functools
import json
import subprocess
import unittest
import uuid
from http.client import IncompleteRead

from tests.stack import LOCAL, Answer, free_port, http, wait_for


@functools.cache
def model() -> str:
    port = free_port()
    process = subprocess.Popen(["node", str(LOCAL / "model" / "server.mjs"), "--port", str(port)], stdout=subprocess.DEVNULL)
    atexit.register(process.wait, 10)
    atexit.register(process.terminate)

    def is_up() -> bool:
        try:
            return http(f"http://127.0.0.1:{port}/health").status == 200
        except OSError:
            return False

    wait_for("the model answers", is_up)
    return f"http://127.0.0.1:{port}"


def ask(prompt: str, *later: dict, key: str | None = None, seconds: float = 30) -> Answer:
    messages = [{"role": "user", "content": prompt}, *later]
    body = json.dumps({"model": "gpt-4o-mini", "messages": messages}).encode()
    return http(f"{model()}/v1/chat/completions", body, headers={"Idempotency-Key": key} if key else {}, seconds=seconds)


def tool_result(call: dict) -> list[dict]:
    return [{"role": "assistant", "content": None, "tool_calls": [call]}, {"role": "tool", "tool_call_id": call["id"], "content": "{}"}]


class Model(unittest.TestCase):
    def message(self, answer: Answer) -> dict:
        self.assertEqual(answer.status, 200, answer.body)
        self.assertGreater(answer.json()["usage"]["total_tokens"], 0)
        return answer.json()["choices"][0]["message"]

    def test_prompts_have_their_answers(self) -> None:
        self.assertIn("DynamoDB", self.message(ask("Summarise the stack services in one sentence."))["content"])
        self.assertGreater(self.message(ask("a long answer, please"))["content"].count("\n\n"), 10)
        self.assertIn("offline demo model", self.message(ask("anything else"))["content"])

    def test_a_tool_call_then_an_answer(self) -> None:
        call = self.message(ask("What time is it in Berlin?"))["tool_calls"][0]
        self.assertEqual(call["function"]["name"], "clock")
        self.assertEqual(json.loads(call["function"]["arguments"]), {"timezone": "Europe/Berlin"})
        self.assertTrue(self.message(ask("What time is it in Berlin?", *tool_result(call)))["content"])

    def test_two_tool_calls_in_sequence(self) -> None:
        prompt = "Compare the time in Berlin and Tokyo"
        first = self.message(ask(prompt))["tool_calls"][0]
        second = self.message(ask(prompt, *tool_result(first)))["tool_calls"][0]
        self.assertEqual(json.loads(second["function"]["arguments"]), {"timezone": "Asia/Tokyo"})
        last = self.message(ask(prompt, *tool_result(first), *tool_result(second)))
        self.assertIn("Tokyo", last["content"])

    def test_failures(self) -> None:
        self.assertEqual(ask("provider error").status, 500)
        limited = ask("rate limited")
        self.assertEqual((limited.status, limited.headers["Retry-After"]), (429, "2"))
        self.assertEqual(ask("bad key").status, 401)
        self.assertEqual(ask("empty answer").json()["choices"][0]["message"]["content"], "")
        with self.assertRaises(json.JSONDecodeError):
            ask("garbage").json()

    def test_failures_that_heal(self) -> None:
        name = uuid.uuid4().hex
        self.assertEqual([ask(f"fails 2 times {name}").status for _ in range(3)], [500, 500, 200])
        self.assertEqual([ask(f"fails until healed {name}").status for _ in range(3)], [500] * 3)
        self.assertEqual(http(f"{model()}/reprise/heal", name.encode()).status, 200)
        self.assertEqual(ask(f"fails until healed {name}").status, 200)
        self.assertEqual(ask(f"echo that fails until healed {name[::-1]}").status, 500)
        self.assertEqual(self.message(ask(f"echo that fails until healed {name}"))["content"], f"You said: echo that fails until healed {name}")
        prompt = f"echo after 1 clock, then fails 1 times {name}"
        later = tool_result(self.message(ask(prompt))["tool_calls"][0])
        self.assertEqual(ask(prompt, *later).status, 500)
        self.assertEqual(self.message(ask(prompt, *later))["content"], f"You said: {prompt}")

    def test_an_echo_says_its_own_prompt_after_as_many_clocks_as_it_wants(self) -> None:
        name = uuid.uuid4().hex
        self.assertEqual(self.message(ask(f"echo {name}"))["content"], f"You said: echo {name}")
        prompt, said = f"echo after 2 clocks {name}", []
        for number in (1, 2):
            call = self.message(ask(prompt, *said))["tool_calls"][0]
            self.assertEqual((call["id"], call["function"]["name"]), (f"call_echo_{number}", "clock"))
            said += tool_result(call)
        self.assertEqual(self.message(ask(prompt, *said))["content"], f"You said: {prompt}")

    def test_an_echo_may_ask_a_person_first(self) -> None:
        prompt = f"echo after asking {uuid.uuid4().hex}"
        call = self.message(ask(prompt))["tool_calls"][0]
        self.assertEqual((call["function"]["name"], json.loads(call["function"]["arguments"])), ("ask_human", {"question": "May I say it?"}))
        self.assertEqual(self.message(ask(prompt, *tool_result(call)))["content"], f"You said: {prompt}")

    def test_the_journal_counts_calls(self) -> None:
        name = uuid.uuid4().hex
        for _ in range(2):
            ask(f"count me {name}")
        journal = http(f"{model()}/__aimock/journal?path=/v1/chat/completions").json()
        self.assertEqual(len([entry for entry in journal if name in json.dumps(entry["body"])]), 2)


def control(method: str, *rules: dict, **more: object) -> Answer:
    body = json.dumps({"seed": 1, "rules": rules, **more}).encode() if method == "PUT" else None
    return http(f"{model()}/reprise/faults", body, method)


class Witness(unittest.TestCase):
    def setUp(self) -> None:
        model()
        self.addCleanup(control, "DELETE")

    def inject(self, kind: str, **more: object) -> None:
        self.assertEqual(control("PUT", {"kind": kind, "rate": 1, "budget": 1, **more}).status, 200)

    def calls(self, key: str, count: int = 1) -> list[dict]:
        """The calls with this key, once that many have ended."""

        def look() -> list[dict]:
            page = http(f"{model()}/reprise/calls").json()
            self.assertEqual(page["dropped"], 0)
            return [call for call in page["calls"] if call["key"] == key]

        return wait_for(f"{count} calls have ended", look, lambda calls: len(calls) >= count)

    def test_a_call_is_seen_with_what_it_said_and_that_it_was_answered(self) -> None:
        key = uuid.uuid4().hex
        ask("echo me", key=key)
        [call] = self.calls(key)
        self.assertEqual((call["status"], call["delivered"], call["fault"]), (200, "whole", ""))
        self.assertEqual(call["messages"], [{"role": "user", "content": "echo me"}])
        self.assertLessEqual(call["at"], call["ended_at"])
        self.assertEqual(http(f"{model()}/reprise/calls?since={call['seq']}").json()["calls"], [])

    def test_a_call_whose_caller_goes_away_is_seen_too(self) -> None:
        key = uuid.uuid4().hex
        with self.assertRaises(TimeoutError):
            ask("slow answer", key=key, seconds=0.3)
        [call] = self.calls(key)
        self.assertEqual((call["status"], call["delivered"]), (0, "none"))

    def test_each_fault_is_what_it_says(self) -> None:
        for kind, status, delivered in [("limited", 429, "whole"), ("error", 500, "whole"), ("garbage", 200, "whole"), ("cut", 200, "part")]:
            with self.subTest(kind):
                self.inject(kind)
                key = uuid.uuid4().hex
                try:
                    answer = ask("echo me", key=key)
                    self.assertEqual(answer.status, status)
                    with self.assertRaises(json.JSONDecodeError) if kind == "garbage" else contextlib.nullcontext():
                        answer.json()
                except IncompleteRead:
                    self.assertEqual(kind, "cut")
                [call] = self.calls(key)
                self.assertEqual((call["fault"], call["status"], call["delivered"]), (kind, status, delivered))
                again = ask("echo me", key=key)
                self.assertEqual(again.json()["choices"][0]["message"]["content"], "You said: echo me")

    def test_a_hanging_call_ends_when_its_caller_goes_away(self) -> None:
        self.inject("hang")
        key = uuid.uuid4().hex
        with self.assertRaises(TimeoutError):
            ask("echo me", key=key, seconds=0.3)
        [call] = self.calls(key)
        self.assertEqual((call["fault"], call["delivered"]), ("hang", "none"))

    def test_a_call_without_a_key_is_left_alone(self) -> None:
        self.inject("error", budget=9)
        self.assertEqual(ask("echo me").status, 200)
        self.assertEqual(control("GET").json()["injected"]["error"], 0)

    def test_the_same_seed_hits_the_same_calls(self) -> None:
        def hits(seed: int) -> list[int]:
            control("PUT", {"kind": "error", "rate": 0.4, "budget": 100}, seed=seed)
            return [ask("echo me", key="k").status for _ in range(20)]

        self.assertEqual(hits(5), hits(5))
        self.assertNotEqual(hits(5), hits(6))

    def test_a_rule_that_cannot_be_read_is_refused_by_name(self) -> None:
        for rule, named in [({"kind": "flood"}, "rules[0].kind"), ({"kind": "hang", "rate": 2}, "rules[0].rate"), ({"kind": "hang", "rate": 1}, "budget")]:
            refused = control("PUT", rule)
            self.assertEqual(refused.status, 400)
            self.assertIn(named, refused.json()["error"])
