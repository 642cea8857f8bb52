"""The mapping from the queue to the worker behaves as ours needs it: visibility, crashes, dead letters, concurrency."""

import time
import unittest
import uuid

from tests.stack import stack, wait_for


class EventSource(unittest.TestCase):
    def dead_letter(self, name: str) -> dict:
        """The order as it lies on the dead-letter queue."""
        sqs, url = stack().client("sqs"), stack().outputs["DlqUrl"]

        def look() -> dict | None:
            found = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=0, AttributeNames=["All"])
            return next((message for message in found.get("Messages", []) if name in message["Body"]), None)

        return wait_for("the order is on the dead-letter queue", look)

    def test_a_failed_record_comes_back_when_the_visibility_ends_that_the_function_set(self) -> None:
        name = stack().send(visibility=2, fail=True)
        first, second = wait_for("two deliveries", lambda: stack().deliveries(name), lambda notes: len(notes) == 2)
        self.assertGreater(second["at"] - first["at"], 1.9)
        self.assertLess(second["at"] - first["at"], 4)
        self.assertEqual((first["count"], second["count"]), ("1", "2"))
        # Received maxReceiveCount times: the body is untouched on the dead-letter queue.
        self.assertEqual(self.dead_letter(name)["Body"], first["body"])

    def test_a_killed_worker_gives_the_message_back_when_its_visibility_ends(self) -> None:
        name = stack().send(visibility=2, die=True)
        first, second = wait_for("two deliveries", lambda: stack().deliveries(name), lambda notes: len(notes) == 2)
        self.assertGreater(second["at"] - first["at"], 1.9)
        self.assertNotEqual(first["pid"], second["pid"])
        self.assertEqual(self.dead_letter(name)["Attributes"]["MessageGroupId"], "t1")

    def test_a_concurrency_from_a_parameter_bounds_the_workers(self) -> None:
        mark = uuid.uuid4().hex
        # One at a time, so that they do not become one batch.
        for _ in range(6):
            stack().send(mark=mark, sleep=0.7)
            time.sleep(0.1)
        notes = wait_for("all are delivered", lambda: stack().deliveries(mark), lambda notes: len(notes) == 6)
        self.assertLessEqual(len({note["pid"] for note in notes}), 2)

    def test_the_calls_of_a_worker_are_in_the_request_log(self) -> None:
        since = stack().requests()["next"]
        name = stack().send(visibility=30)
        wait_for("the delivery", lambda: stack().deliveries(name))
        page = wait_for("the call", lambda: stack().requests(since=since), lambda page: len(page["requests"]) >= 2)
        self.assertEqual(page["dropped"], 0)
        operations = {(entry["service"], entry["operation"]) for entry in page["requests"]}
        self.assertEqual(operations, {("sqs", "SendMessage"), ("sqs", "ChangeMessageVisibility")})
        named = stack().requests(contains=name)["requests"]
        self.assertEqual([entry["operation"] for entry in named], ["SendMessage"])
        self.assertGreater(named[0]["request_bytes"], 0)
        self.assertIn("boto", named[0]["user_agent"].lower())
