"""Plain answers, conversations, models."""

import unittest
import uuid

import openai

from sdk.stack import AGENT, URL, client, fresh, get, model_calls, run, user


class Plain(unittest.TestCase):
    def setUp(self) -> None:
        self.client = client()
        self.addCleanup(self.client.close)

    def ask(self, prompt: str, **options):
        return self.client.chat.completions.create(**{"model": AGENT, "messages": user(prompt), **options})

    def test_an_answer_has_all_that_the_client_reads(self) -> None:
        answer = self.ask("Summarise the stack services in one sentence.")
        choice = answer.choices[0]
        self.assertEqual((len(answer.choices), choice.index, choice.finish_reason, choice.message.role), (1, 0, "stop", "assistant"))
        self.assertIn("DynamoDB", choice.message.content)
        self.assertIsNone(choice.message.tool_calls)
        self.assertEqual((answer.object, answer.model), ("chat.completion", AGENT))
        self.assertTrue(answer.id.startswith("chatcmpl-"))
        self.assertGreater(answer.created, 1_700_000_000)

    def test_usage_is_that_of_all_model_calls_of_the_run(self) -> None:
        answer = self.ask("What time is it in Berlin?")
        usage = answer.usage
        self.assertEqual((usage.prompt_tokens, usage.completion_tokens, usage.total_tokens), (150, 39, 189))
        self.assertEqual(usage.prompt_tokens_details.cached_tokens, 0)
        self.assertEqual(usage.completion_tokens_details.reasoning_tokens, 0)

    def test_the_run_behind_an_answer_can_be_looked_up(self) -> None:
        answer = self.ask("What time is it in Berlin?", metadata={"ticket": "A-17"}, user="u-1")
        found = run(answer.run_id)
        self.assertEqual((found["status"], found["response"]), ("completed", answer.choices[0].message.content))
        self.assertEqual(found["metadata"], {"ticket": "A-17", "user": "u-1"})
        self.assertEqual([step["kind"] for step in answer.steps], ["model", "tool", "model"])
        self.assertEqual([message["role"] for message in answer.messages], ["user", "assistant"])

    def test_every_answer_has_a_request_id_and_the_run_in_its_headers(self) -> None:
        raw = self.client.chat.completions.with_raw_response.create(model=AGENT, messages=user("hello"))
        answer = raw.parse()
        self.assertEqual(raw.headers["x-request-id"], answer._request_id)
        self.assertEqual(raw.headers["x-reprise-run-id"], answer.run_id)
        self.assertEqual(raw.headers["content-type"], "application/json")

    def test_a_system_prompt_and_parts_of_text_reach_the_model(self) -> None:
        prompt = fresh("hello")
        parts = [{"type": "text", "text": prompt}, {"type": "text", "text": ", you"}]
        self.client.chat.completions.create(
            model=AGENT, messages=[{"role": "developer", "content": "Be brief."}, {"role": "user", "content": parts}]
        )
        messages = model_calls(prompt)[0]["messages"]
        self.assertEqual([message["content"] for message in messages[1:]], ["Be brief.", f"{prompt}, you"])

    def test_sampling_reaches_the_model(self) -> None:
        prompt = fresh("hello")
        self.ask(prompt, temperature=0.25, top_p=0.5, max_completion_tokens=123, stop=["END"], seed=7)
        asked = model_calls(prompt)[0]
        self.assertEqual((asked["temperature"], asked["top_p"], asked["stop"], asked["seed"]), (0.25, 0.5, ["END"], 7))
        self.assertIn(123, (asked.get("max_tokens"), asked.get("max_completion_tokens")))

    def test_a_conversation_goes_on_with_one_message(self) -> None:
        first = fresh("hello")
        conversation = self.ask(first).conversation_id
        second = fresh("and now?")
        answer = self.ask(second, extra_body={"conversation_id": conversation})
        self.assertEqual(answer.conversation_id, conversation)
        roles = [message["role"] for message in model_calls(second)[0]["messages"]]
        self.assertEqual(roles, ["system", "user", "assistant", "user"])
        status, history = get(f"/v1/agent/history/{conversation}")
        self.assertEqual((status, [message["content"] for message in history][::2]), (200, [first, second]))

    def test_a_conversation_can_be_named_in_the_metadata(self) -> None:
        conversation = self.ask(fresh("hello")).conversation_id
        self.assertEqual(self.ask(fresh("and?"), metadata={"conversation_id": conversation}).conversation_id, conversation)

    def test_the_same_key_gives_the_same_run_and_another_request_with_it_is_refused(self) -> None:
        key = {"Idempotency-Key": str(uuid.uuid4())}
        prompt = fresh("hello")
        first = self.ask(prompt, extra_headers=key)
        again = self.ask(prompt, extra_headers=key)
        self.assertEqual((again.id, again.run_id), (first.id, first.run_id))
        self.assertEqual(len(model_calls(prompt)), 1)
        with self.assertRaises(openai.UnprocessableEntityError) as caught:
            self.ask(fresh("another"), extra_headers=key)
        self.assertEqual(caught.exception.code, "idempotency_key_reused")

    def test_the_other_addresses_answer_alike(self) -> None:
        for base in (URL, f"{URL}/v1/agent"):
            with client(base_url=base) as other:
                self.assertTrue(other.chat.completions.create(model=AGENT, messages=user("hello")).choices[0].message.content)

    def test_calls_that_the_metadata_asks_for_are_made_first(self) -> None:
        answer = self.ask("hello", extra_body={"metadata": {"tools": ["clock"], "tool_calls": ["clock", "nonsense"]}})
        self.assertEqual([(it["name"], it["status"]) for it in answer.metadata["tool_results"]], [("clock", "ok"), ("nonsense", "missing")])

    def test_the_agents_are_the_models(self) -> None:
        names = [model.id for model in self.client.models.list()]
        self.assertIn(AGENT, names)
        for name in names:
            model = self.client.models.retrieve(name)
            self.assertEqual((model.id, model.object, model.owned_by), (name, "model", "reprise"))

    def test_a_completion_can_be_had_again_by_its_id(self) -> None:
        answer = self.ask("What time is it in Berlin?", store=True)
        again = self.client.chat.completions.retrieve(answer.id)
        self.assertEqual((again.id, again.choices[0].message.content, again.usage), (answer.id, answer.choices[0].message.content, answer.usage))
        with self.assertRaises(openai.NotFoundError):
            self.client.chat.completions.retrieve("chatcmpl-01KAM3Q5T0ZJ8Y6W4V2N1M0K9H")

    def test_a_model_of_a_provider_can_be_asked_for(self) -> None:
        prompt = fresh("hello")
        answer = self.ask(prompt, model=f"{AGENT}/openai::gpt-4o")
        self.assertEqual(answer.model, f"{AGENT}/openai::gpt-4o")
        self.assertEqual(model_calls(prompt)[0]["model"], "gpt-4o")
