"""Tools of the caller's, and answers that fit a schema."""

import json
import unittest

import openai
from pydantic import BaseModel

from sdk.stack import AGENT, client, fresh, model_calls, run, user, weather


class Person(BaseModel):
    name: str
    age: int


class Tools(unittest.TestCase):
    def setUp(self) -> None:
        self.client = client()
        self.addCleanup(self.client.close)

    def ask(self, messages: list, **options):
        return self.client.chat.completions.create(**{"model": AGENT, "messages": messages, "tools": [weather()], **options})

    def test_a_tool_is_called_and_its_result_makes_the_answer(self) -> None:
        messages = user("How is the weather in Rome?")
        wants = self.ask(messages)
        choice = wants.choices[0]
        self.assertEqual((choice.finish_reason, choice.message.content), ("tool_calls", None))
        call = choice.message.tool_calls[0]
        self.assertEqual((call.type, call.function.name, json.loads(call.function.arguments)), ("function", "weather", {"city": "Rome"}))
        self.assertEqual(run(wants.run_id)["status"], "completed")
        # The message goes back as the client has it.
        messages += [choice.message, {"role": "tool", "tool_call_id": call.id, "content": "sunny"}]
        answer = self.ask(messages)
        self.assertEqual((answer.choices[0].finish_reason, answer.choices[0].message.content), ("stop", "It is sunny in Rome."))

    def test_two_tools_are_called_at_once(self) -> None:
        messages = user("How is the weather in Rome and Oslo?")
        message = self.ask(messages).choices[0].message
        self.assertEqual([json.loads(call.function.arguments)["city"] for call in message.tool_calls], ["Rome", "Oslo"])
        results = [{"role": "tool", "tool_call_id": call.id, "content": "weather"} for call in message.tool_calls]
        self.assertIn("snows in Oslo", self.ask([*messages, message, *results]).choices[0].message.content)

    def test_the_model_is_offered_the_callers_tools_and_the_choice(self) -> None:
        for choice in ("auto", "none", "required", {"type": "function", "function": {"name": "weather"}}):
            prompt = fresh("hello")
            self.ask(user(prompt), tool_choice=choice)
            asked = model_calls(prompt)[0]
            self.assertEqual([tool["function"]["name"] for tool in asked["tools"]], ["weather"])
            self.assertEqual(asked.get("tool_choice", "auto"), choice)

    def test_the_agents_own_tools_are_offered_beside_them_where_they_are_named(self) -> None:
        prompt = fresh("hello")
        self.ask(user(prompt), extra_body={"metadata": {"tools": ["clock"]}})
        self.assertEqual({tool["function"]["name"] for tool in model_calls(prompt)[0]["tools"]}, {"weather", "clock"})

    def test_parallel_calls_can_be_forbidden(self) -> None:
        prompt = fresh("hello")
        self.ask(user(prompt), parallel_tool_calls=False)
        self.assertIs(model_calls(prompt)[0]["parallel_tool_calls"], False)

    def test_a_result_of_no_call_is_refused(self) -> None:
        with self.assertRaises(openai.BadRequestError) as caught:
            self.ask([*user("hello"), {"role": "tool", "tool_call_id": "nobody's", "content": "x"}])
        self.assertEqual(caught.exception.param, "messages[1].tool_call_id")


class Schemas(unittest.TestCase):
    def setUp(self) -> None:
        self.client = client()
        self.addCleanup(self.client.close)

    def test_an_answer_is_parsed_into_a_class(self) -> None:
        answer = self.client.chat.completions.parse(model=AGENT, messages=user("Introduce Ada as JSON"), response_format=Person)
        self.assertEqual(answer.choices[0].message.parsed, Person(name="Ada", age=36))

    def test_an_answer_that_does_not_fit_is_mended_before_the_client_sees_it(self) -> None:
        answer = self.client.chat.completions.parse(model=AGENT, messages=user("Introduce Ada badly"), response_format=Person)
        self.assertEqual(answer.choices[0].message.parsed, Person(name="Ada", age=36))
        self.assertEqual([step["kind"] for step in answer.steps], ["model", "model"])
        self.assertIn("problem", answer.steps[0])

    def test_a_class_is_parsed_out_of_a_stream(self) -> None:
        options = {"model": AGENT, "messages": user("Introduce Ada as JSON"), "response_format": Person}
        with self.client.chat.completions.stream(**options) as stream:
            answer = stream.get_final_completion()
        self.assertEqual(answer.choices[0].message.parsed, Person(name="Ada", age=36))

    def test_tools_of_a_class_are_parsed(self) -> None:
        class Weather(BaseModel):
            city: str

        tool = openai.pydantic_function_tool(Weather, name="weather")
        answer = self.client.chat.completions.parse(model=AGENT, messages=user("How is the weather in Rome?"), tools=[tool])
        self.assertEqual(answer.choices[0].message.tool_calls[0].function.parsed_arguments, Weather(city="Rome"))

    def test_json_mode_gives_json(self) -> None:
        answer = self.client.chat.completions.create(
            model=AGENT, messages=user("Introduce Ada as JSON"), response_format={"type": "json_object"}
        )
        self.assertEqual(json.loads(answer.choices[0].message.content)["name"], "Ada")

    def test_an_answer_that_was_cut_off_is_not_parsed(self) -> None:
        with self.assertRaises(openai.LengthFinishReasonError):
            self.client.chat.completions.parse(model=AGENT, messages=user("Tell an endless story"), response_format=Person)

    def test_an_answer_that_was_filtered_says_so(self) -> None:
        answer = self.client.chat.completions.create(model=AGENT, messages=user("Say what must not be said"))
        self.assertEqual(answer.choices[0].finish_reason, "content_filter")
        with self.assertRaises(openai.ContentFilterFinishReasonError):
            self.client.chat.completions.parse(model=AGENT, messages=user("Say what must not be said"), response_format=Person)
