"""Time-outs, clients that leave, and retries that wait for the run that is there already."""

import asyncio
import threading
import unittest
import uuid

import openai

from sdk.stack import AGENT, async_client, client, fresh, heal, lonely, model_calls, run, runs_of, text_of, user, wait_for


class Time(unittest.TestCase):
    def test_a_request_that_takes_too_long_is_504_and_its_run_completes(self) -> None:
        with client() as caller, self.assertRaises(openai.InternalServerError) as caught:
            caller.chat.completions.create(model=lonely(), messages=user(fresh("slow answer")))
        error = caught.exception
        self.assertEqual((error.status_code, error.code), (504, "run_not_finished"))
        with client(max_retries=10) as patient:
            answer = patient.chat.completions.retrieve(error.body["run_id"].replace("run_", "chatcmpl-"))
        self.assertIn("six seconds", answer.choices[0].message.content)

    def test_with_a_key_the_clients_own_retries_wait_for_the_same_run(self) -> None:
        prompt = fresh("slow answer")
        with client(max_retries=10) as patient:
            answer = patient.chat.completions.create(
                model=AGENT, messages=user(prompt), extra_headers={"Idempotency-Key": str(uuid.uuid4())}
            )
        self.assertIn("six seconds", answer.choices[0].message.content)
        self.assertEqual([found["run_id"] for found in runs_of(prompt)], [answer.run_id])

    def test_a_stream_has_the_time_that_the_model_takes(self) -> None:
        with client() as caller:
            chunks = list(caller.chat.completions.create(model=lonely(), messages=user(fresh("slow answer")), stream=True))
        self.assertIn("six seconds", text_of(chunks))

    def test_a_client_that_gives_up_does_not_stop_the_run(self) -> None:
        prompt = fresh("slow answer")
        with client(timeout=1) as hasty, self.assertRaises(openai.APITimeoutError):
            hasty.chat.completions.create(model=AGENT, messages=user(prompt))
        found = wait_for("the run completes", lambda: runs_of(prompt), lambda all_: [it["status"] for it in all_] == ["completed"])
        self.assertEqual(len(found), 1)

    def test_a_stream_that_is_left_does_not_stop_the_run(self) -> None:
        with client() as caller:
            stream = caller.chat.completions.create(model=AGENT, messages=user(fresh("Count slowly")), stream=True)
            run_id = next(iter(stream)).run_id
            stream.close()
        found = wait_for("the run completes", lambda: run(run_id), lambda it: it["status"] == "completed")
        self.assertTrue(found["response"].endswith("that is a dozen."))

    def test_a_run_that_is_cancelled_is_409_for_whoever_waits(self) -> None:
        prompt, caught = fresh("slow answer"), []

        def ask() -> None:
            with client() as caller:
                try:
                    caller.chat.completions.create(model=AGENT, messages=user(prompt), stream=True)
                except openai.APIError as error:
                    caught.append(error)

        waiting = threading.Thread(target=ask)
        waiting.start()
        [found] = wait_for("the run is there", lambda: runs_of(prompt))
        with client() as caller:
            caller.post(f"/runs/{found['run_id']}/cancel", cast_to=object)
        waiting.join(30)
        self.assertIsInstance(caught[0], openai.ConflictError)
        self.assertEqual((caught[0].code, run(found["run_id"])["status"]), ("cancelled", "cancelled"))

    def test_a_run_whose_provider_heals_is_found_again_with_its_key(self) -> None:
        prompt, key, model = fresh("fails until healed"), {"Idempotency-Key": str(uuid.uuid4())}, lonely()
        with client() as caller:
            with self.assertRaises(openai.InternalServerError) as caught:
                caller.chat.completions.create(model=model, messages=user(prompt), extra_headers=key)
            heal(prompt)
            wait_for("the run completes", lambda: run(caught.exception.body["run_id"])["status"], lambda word: word == "completed")
            answer = caller.chat.completions.create(model=model, messages=user(prompt), extra_headers=key)
        self.assertEqual(answer.run_id, caught.exception.body["run_id"])

    def test_of_two_requests_with_one_key_at_once_one_starts_a_run_and_both_have_its_answer(self) -> None:
        prompt, key, answers = fresh("hello"), {"Idempotency-Key": str(uuid.uuid4())}, []

        def ask() -> None:
            with client() as caller:
                answers.append(caller.chat.completions.create(model=AGENT, messages=user(prompt), extra_headers=key))

        both = [threading.Thread(target=ask) for _ in range(2)]
        for one in both:
            one.start()
        for one in both:
            one.join(30)
        self.assertEqual((len(answers), len({answer.run_id for answer in answers}), len(model_calls(prompt))), (2, 1, 1))


class Async(unittest.IsolatedAsyncioTestCase):
    async def test_the_async_client_is_answered(self) -> None:
        async with async_client() as caller:
            answer = await caller.chat.completions.create(model=AGENT, messages=user("hello"))
        self.assertTrue(answer.choices[0].message.content)

    async def test_many_at_once_have_runs_of_their_own(self) -> None:
        prompts = [fresh(f"echo {number}") for number in range(8)]
        async with async_client() as caller:
            asked = (caller.chat.completions.create(model=AGENT, messages=user(prompt)) for prompt in prompts)
            answers = await asyncio.gather(*asked)
        self.assertEqual([answer.choices[0].message.content for answer in answers], [f"You said: {prompt}" for prompt in prompts])
        self.assertEqual(len({answer.run_id for answer in answers}), len(prompts))

    async def test_the_async_client_streams(self) -> None:
        async with async_client() as caller:
            stream = await caller.chat.completions.create(model=AGENT, messages=user("a long answer, please"), stream=True)
            chunks = [chunk async for chunk in stream]
        self.assertEqual(text_of(chunks), run(chunks[0].run_id)["response"])

    async def test_a_task_that_is_cancelled_leaves_its_run_alone(self) -> None:
        prompt = fresh("slow answer")
        async with async_client() as caller:
            # A stream has no limit of its own that could end it first.
            task = asyncio.create_task(caller.chat.completions.create(model=lonely(), messages=user(prompt), stream=True))
            await asyncio.to_thread(wait_for, "the run is there", lambda: runs_of(prompt))
            task.cancel()
            with self.assertRaises(asyncio.CancelledError):
                await task
        await asyncio.to_thread(
            wait_for, "the run completes", lambda: runs_of(prompt), lambda found: [it["status"] for it in found] == ["completed"]
        )

    async def test_errors_of_the_async_client_are_the_same(self) -> None:
        async with async_client() as caller:
            with self.assertRaises(openai.NotFoundError):
                await caller.chat.completions.create(model="gpt-4o", messages=user("hello"))
            with self.assertRaises(openai.BadRequestError):
                await caller.chat.completions.create(model=AGENT, messages=user("hello"), n=2)
