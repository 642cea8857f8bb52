"""Streams of chunks."""

import unittest
import uuid

import openai

from sdk.stack import AGENT, client, fresh, lonely, model_calls, run, runs_of, text_of, user, wait_for, weather


def runs_of_id(completion: str) -> dict:
    return run(completion.replace("chatcmpl-", "run_"))


class Streams(unittest.TestCase):
    def setUp(self) -> None:
        self.client = client()
        self.addCleanup(self.client.close)

    def stream(self, prompt: str, **options):
        return self.client.chat.completions.create(**{"model": AGENT, "messages": user(prompt), "stream": True, **options})

    def test_the_texts_of_the_chunks_are_the_stored_answer(self) -> None:
        chunks = list(self.stream("a long answer, please"))
        self.assertEqual(chunks[0].choices[0].delta.role, "assistant")
        self.assertEqual([chunk.choices[0].finish_reason for chunk in chunks][-1], "stop")
        self.assertTrue(all(chunk.object == "chat.completion.chunk" and chunk.id == chunks[0].id for chunk in chunks))
        self.assertEqual(text_of(chunks), run(chunks[0].run_id)["response"])

    def test_the_first_words_are_read_while_the_run_goes_on_and_leaving_does_not_stop_it(self) -> None:
        stream = self.stream(fresh("Count slowly"))
        first = next(chunk for chunk in stream if chunk.choices[0].delta.content)
        # The model takes its time over each word: what was read was not kept back to come at once.
        found = runs_of_id(first.id)
        self.assertEqual((found["status"], found["response"]), ("running", None))
        stream.close()
        wait_for("the end of a run whose reader left", lambda: runs_of_id(first.id), lambda it: it["status"] == "completed")

    def test_the_words_come_in_many_chunks(self) -> None:
        texts = [chunk.choices[0].delta.content for chunk in self.stream(fresh("Count slowly")) if chunk.choices[0].delta.content]
        self.assertGreater(len(texts), 3)
        self.assertTrue("".join(texts).endswith("that is a dozen."))

    def test_usage_comes_last_where_it_was_asked_for(self) -> None:
        chunks = list(self.stream("hello", stream_options={"include_usage": True}))
        self.assertEqual((chunks[-1].choices, chunks[-1].usage.total_tokens > 0), ([], True))
        self.assertTrue(all(chunk.usage is None for chunk in chunks[:-1]))
        self.assertTrue(all(chunk.usage is None for chunk in self.stream("hello")))

    def test_tool_calls_of_the_callers_are_put_together_by_the_client(self) -> None:
        options = {"model": AGENT, "messages": user("How is the weather in Rome and Oslo?"), "tools": [weather()]}
        with self.client.chat.completions.stream(**options) as stream:
            for _ in stream:
                pass
            message = stream.get_final_completion().choices[0].message
        cities = [call.function.arguments for call in message.tool_calls]
        self.assertEqual([call.id for call in message.tool_calls], ["call_rome", "call_oslo"])
        self.assertTrue("Rome" in cities[0] and "Oslo" in cities[1], cities)

    def test_the_agents_own_tools_are_called_in_between(self) -> None:
        chunks = list(self.stream("What time is it in Berlin?"))
        self.assertIn("Europe/Berlin", text_of(chunks))
        self.assertTrue(all(not chunk.choices[0].delta.tool_calls for chunk in chunks))

    def test_a_stream_with_the_same_key_is_the_same_run(self) -> None:
        prompt, key = fresh("hello"), {"Idempotency-Key": str(uuid.uuid4())}
        first, again = list(self.stream(prompt, extra_headers=key)), list(self.stream(prompt, extra_headers=key))
        self.assertEqual((text_of(again), again[0].run_id), (text_of(first), first[0].run_id))
        self.assertEqual((len(model_calls(prompt)), len(runs_of(prompt))), (1, 1))

    def test_a_provider_that_fails_before_the_first_word_is_an_exception_of_its_status(self) -> None:
        with self.assertRaises(openai.RateLimitError):
            self.stream(fresh("rate limited"), model=lonely())
        with self.assertRaises(openai.InternalServerError):
            self.stream(fresh("provider error"), model=lonely())

    def test_an_unknown_model_is_an_exception_and_no_stream(self) -> None:
        with self.assertRaises(openai.NotFoundError):
            self.stream("hello", model="gpt-4o")

    def test_an_answer_that_was_cut_off_says_so(self) -> None:
        chunks = list(self.stream("Tell an endless story"))
        self.assertEqual((text_of(chunks), chunks[-1].choices[0].finish_reason), ("Once upon a time", "length"))

    def test_a_draft_that_does_not_fit_is_never_told(self) -> None:
        schema = {"name": "person", "schema": {"type": "object", "required": ["name", "age"]}}
        chunks = self.stream("Introduce Ada badly", response_format={"type": "json_schema", "json_schema": schema})
        self.assertEqual(text_of(chunks), '{"name": "Ada", "age": 36}')
