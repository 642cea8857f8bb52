"""What goes wrong raises the exception that clients of OpenAI's API expect, and names the run."""

import unittest
from typing import get_type_hints

import openai
from openai.types.chat.completion_create_params import CompletionCreateParamsBase

from sdk.identity import Function
from sdk.stack import AGENT, client, fresh, lonely, run, runs_of, user


class Refused(unittest.TestCase):
    def setUp(self) -> None:
        self.client = client()
        self.addCleanup(self.client.close)

    def refused(self, kind: type[openai.APIStatusError], **options) -> openai.APIStatusError:
        with self.assertRaises(kind) as caught:
            self.client.chat.completions.create(**{"model": AGENT, "messages": user("hello"), **options})
        self.assertTrue(caught.exception.request_id)
        return caught.exception

    def test_an_unknown_model_is_404(self) -> None:
        error = self.refused(openai.NotFoundError, model="gpt-4o")
        self.assertEqual((error.code, error.param, error.type), ("model_not_found", "model", "invalid_request_error"))
        self.assertIn(AGENT, error.message)
        with self.assertRaises(openai.NotFoundError):
            self.client.models.retrieve("gpt-4o")

    def test_an_unknown_conversation_is_404(self) -> None:
        error = self.refused(openai.NotFoundError, extra_body={"conversation_id": "conv_01KAM3Q5T0V5E8R2D7C4B9A1XG"})
        self.assertEqual(error.param, "conversation_id")

    def test_what_cannot_be_done_is_400_by_name(self) -> None:
        image = [{"type": "image_url", "image_url": {"url": "https://example.com/x.png"}}]
        for param, options in {
            "n": {"n": 2},
            "logprobs": {"logprobs": True},
            "logit_bias": {"logit_bias": {"1": 1}},
            "functions": {"functions": [{"name": "f"}]},
            "service_tier": {"service_tier": "flex"},
            "messages[0].content[0]": {"messages": [{"role": "user", "content": image}]},
        }.items():
            error = self.refused(openai.BadRequestError, **options)
            self.assertEqual((error.code, error.param), ("unsupported_parameter", param))

    def test_what_does_not_fit_is_400_by_name(self) -> None:
        for param, options in {
            "temperature": {"temperature": 3},
            "messages": {"messages": [{"role": "system", "content": "no user"}]},
            "messages[0].role": {"messages": [{"role": "robot", "content": "x"}]},
            "tool_choice": {"tool_choice": "maybe"},
            "response_format.type": {"response_format": {"type": "xml"}},
        }.items():
            self.assertEqual(self.refused(openai.BadRequestError, **options).param, param)

    def test_a_mistyped_parameter_is_400_by_name(self) -> None:
        error = self.refused(openai.BadRequestError, extra_body={"temprature": 1})
        self.assertEqual((error.code, error.param), ("unknown_parameter", "temprature"))

    def test_every_parameter_of_the_clients_contract_is_known(self) -> None:
        names = set(get_type_hints(CompletionCreateParamsBase)) - {"model", "messages"}
        self.assertGreater(len(names), 30)
        for name in names:
            # No value of theirs: what is known says what it wants, or that it cannot be done.
            error = self.refused(openai.BadRequestError, extra_body={name: {"no": "such value"}}) if name != "metadata" else None
            if error:
                self.assertNotEqual(error.code, "unknown_parameter", name)
                self.assertTrue((error.param or "").startswith(name), f"{name}: {error.param}")

    def test_what_is_too_long_is_413(self) -> None:
        error = self.refused(openai.APIStatusError, messages=user("x" * 100_001))
        self.assertEqual((error.status_code, error.code, error.param), (413, "too_large", "messages[0].content"))


class Failed(unittest.TestCase):
    def setUp(self) -> None:
        self.client = client()
        self.addCleanup(self.client.close)

    def failed(self, kind: type[openai.APIStatusError], prompt: str) -> openai.APIStatusError:
        with self.assertRaises(kind) as caught:
            self.client.chat.completions.create(model=lonely(), messages=user(prompt))
        error = caught.exception
        self.assertEqual(error.response.headers["x-reprise-run-id"], error.body["run_id"])
        self.assertEqual(run(error.body["run_id"])["prompt"], prompt)
        return error

    def test_a_provider_without_room_is_429_with_the_time_to_wait(self) -> None:
        error = self.failed(openai.RateLimitError, fresh("rate limited"))
        self.assertEqual((error.code, error.type), ("rate_limit_exceeded", "rate_limit_error"))
        self.assertGreaterEqual(int(error.response.headers["retry-after"]), 1)

    def test_a_provider_that_fails_is_a_server_error(self) -> None:
        error = self.failed(openai.InternalServerError, fresh("provider error"))
        self.assertEqual(error.type, "server_error")

    def test_a_provider_that_answers_garbage_is_a_server_error_and_never_an_answer(self) -> None:
        self.failed(openai.InternalServerError, fresh("garbage"))

    def test_a_request_that_would_start_a_second_run_is_not_repeated_by_the_client(self) -> None:
        prompt = fresh("provider error")
        with client(max_retries=3) as patient, self.assertRaises(openai.InternalServerError):
            patient.chat.completions.create(model=lonely(), messages=user(prompt))
        self.assertEqual(len(runs_of(prompt)), 1)

    def test_a_question_to_a_person_is_409_with_the_question(self) -> None:
        error = self.failed(openai.ConflictError, fresh("ask me first"))
        self.assertEqual(error.code, "question_open")
        self.assertIn("May I go on?", error.message)


class Identity(unittest.TestCase):
    """The function as it runs where callers have to say who they are."""

    def test_a_request_without_an_identity_is_401(self) -> None:
        with Function(API_AUTH="iam") as function, client(base_url=f"{function.url}/v1", api_key="wrong") as stranger:
            for ask in (
                lambda: stranger.models.list(),
                lambda: stranger.models.retrieve(AGENT),
                lambda: stranger.chat.completions.create(model=AGENT, messages=user("hello")),
                lambda: stranger.chat.completions.create(model=AGENT, messages=user("hello"), stream=True),
            ):
                with self.assertRaises(openai.AuthenticationError) as caught:
                    ask()
                self.assertEqual((caught.exception.code, caught.exception.type), ("invalid_api_key", "invalid_request_error"))

    def test_a_table_that_does_not_answer_is_503(self) -> None:
        with Function(API_AUTH="none") as function, client(base_url=f"{function.url}/v1") as caller:
            with self.assertRaises(openai.InternalServerError) as caught:
                caller.chat.completions.create(model=AGENT, messages=user("hello"))
        self.assertEqual((caught.exception.status_code, caught.exception.code), (503, "unavailable"))
