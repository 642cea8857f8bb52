"""The offline model: each promised prompt gets its answer, failures heal, the journal counts."""

import atexit
import functools
import json
import subprocess
import unittest
import uuid

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


def ask(prompt: str, *later: dict) -> Answer:
    messages = [{"role": "user", "content": prompt}, *later]
    return http(f"{model()}/v1/chat/completions", json.dumps({"model": "gpt-4o-mini", "messages": messages}).encode())


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

    def test_the_journal_counts_calls(self) -> None:
        name = uuid.uuid4().hex
        for _ in range(2):
            ask(f"count me {name}")
        journal = http(f"{model()}/__aimock/journal?path=/v1/chat/completions").json()
        self.assertEqual(len([entry for entry in journal if name in json.dumps(entry["body"])]), 2)
