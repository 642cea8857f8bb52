"""Faults on purpose: rules and their seeds, AWS calls that fail as they would, deliveries as a standard queue may make them."""

import json
import time
import unittest
import uuid
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError, HTTPClientError

from gateway.faults import Faults
from tests.stack import Answer, http, stack, wait_for


def rule(kind: str, **more: Any) -> dict[str, Any]:
    return {"kind": kind, "rate": 1, "budget": 1, **more}


class Rules(unittest.TestCase):
    def setUp(self) -> None:
        self.now = 0.0
        self.faults = Faults(lambda: self.now)

    def hits(self, calls: int, operation: str = "UpdateItem", function: str = "queue-consumer") -> list[bool]:
        return [self.faults.of_call("dynamodb", operation, function) is not None for _ in range(calls)]

    def test_nothing_is_hit_before_a_rule_says_so(self) -> None:
        self.assertEqual(self.hits(5), [False] * 5)

    def test_the_same_seed_hits_the_same_calls_and_another_seed_hits_others(self) -> None:
        def drawn(seed: int) -> list[bool]:
            self.faults.replace({"seed": seed, "rules": [rule("error", rate=0.3, budget=1000)]})
            return self.hits(100)

        self.assertEqual(drawn(7), drawn(7))
        self.assertNotEqual(drawn(7), drawn(8))
        self.assertTrue(10 < sum(drawn(7)) < 50)

    def test_a_rule_ends_with_its_budget_and_with_its_time(self) -> None:
        self.faults.replace({"seed": 1, "rules": [rule("error", budget=2)]})
        self.assertEqual(self.hits(4), [True, True, False, False])
        self.faults.replace({"seed": 1, "rules": [rule("error", budget=9, seconds=5)]})
        self.assertEqual(self.hits(1), [True])
        self.now = 5
        self.assertEqual(self.hits(1), [False])

    def test_a_rule_hits_only_what_it_names(self) -> None:
        self.faults.replace({"rules": [rule("error", budget=9, service="dynamodb", operations=["UpdateItem"], functions=["agent-api"])]})
        self.assertEqual(self.hits(1), [False])
        self.assertEqual(self.hits(1, operation="GetItem", function="agent-api"), [False])
        self.assertIsNone(self.faults.of_call("sqs", "UpdateItem", "agent-api"))
        self.assertEqual(self.hits(1, function="agent-api"), [True])
        self.assertIsNone(self.faults.of_delivery("duplicate"))

    def test_the_report_sums_what_was_done_and_clearing_ends_it(self) -> None:
        self.faults.replace({"rules": [rule("error", rate=0.0), rule("throttle", budget=2), rule("delay", budget=5, service="sqs")]})
        self.hits(3)
        self.assertEqual(self.faults.report()["injected"], {"error": 0, "throttle": 2, "delay": 0})
        self.assertEqual([each["seen"] for each in self.faults.clear()["rules"]], [3, 3, 0])
        self.assertEqual((self.hits(1), self.faults.report()["injected"]), ([False], {}))

    def test_a_rule_that_cannot_be_read_is_refused_by_name(self) -> None:
        for raw, named in [
            ({"kind": "flood", "rate": 1, "budget": 1}, "rules[0].kind"),
            ({"kind": "error", "rate": 2, "budget": 1}, "rules[0].rate"),
            ({"kind": "error", "rate": 1}, "rules[0].budget"),
            ({"kind": "error", "rate": 1, "budget": 1, "seconds": 601}, "rules[0].seconds"),
            ({"kind": "error", "rate": 1, "budget": 1, "service": "s3"}, "rules[0].service"),
            ({"kind": "error", "rate": 1, "budget": 1, "operations": "GetItem"}, "rules[0].operations"),
            ({"kind": "error", "rate": 1, "budget": 1, "colour": "red"}, "colour"),
        ]:
            with self.subTest(raw), self.assertRaisesRegex(ValueError, named.replace("[", r"\[").replace("]", r"\]")):
                self.faults.replace({"seed": 1, "rules": [raw]})


def control(method: str, *rules: dict[str, Any], seed: int = 1) -> Answer:
    body = json.dumps({"seed": seed, "rules": rules}).encode() if method == "PUT" else None
    return http(f"{stack().endpoint}/__reprise/faults", body, method)


class Faulty(unittest.TestCase):
    """Tests that put faults into the shared emulator, and take them out again."""

    def setUp(self) -> None:
        stack()
        self.addCleanup(control, "DELETE")

    def inject(self, *rules: dict[str, Any], seed: int = 1) -> None:
        answer = control("PUT", *rules, seed=seed)
        self.assertEqual(answer.status, 200, answer.body)

    def injected(self) -> dict[str, int]:
        return control("GET").json()["injected"]


class Calls(Faulty):
    def client(self, service: str, app: str | None = "probe") -> Any:
        settings = Config(user_agent_appid=app, retries={"total_max_attempts": 1})
        keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
        return boto3.client(service, endpoint_url=stack().endpoint, region_name="us-east-1", config=settings, **keys)

    def put(self, key: str, app: str | None = "probe") -> None:
        self.client("dynamodb", app).put_item(TableName=stack().outputs["TableName"], Item={"pk": {"S": key}})

    def is_there(self, key: str) -> bool:
        return "Item" in self.client("dynamodb", None).get_item(TableName=stack().outputs["TableName"], Key={"pk": {"S": key}})

    def test_a_call_that_no_function_makes_is_left_alone(self) -> None:
        self.inject(rule("error", budget=9))
        self.put(uuid.uuid4().hex, app=None)
        self.assertEqual(self.injected(), {"error": 0})

    def test_what_is_throttled_or_fails_is_not_done(self) -> None:
        for kind, code in [("throttle", "ThrottlingException"), ("error", "InternalServerError")]:
            with self.subTest(kind):
                self.inject(rule(kind))
                key = uuid.uuid4().hex
                with self.assertRaises(ClientError) as caught:
                    self.put(key)
                self.assertEqual(caught.exception.response["Error"]["Code"], code)
                self.assertFalse(self.is_there(key))
                self.put(key)
                self.assertTrue(self.is_there(key))

    def test_a_call_whose_reply_is_lost_is_done(self) -> None:
        lost, since = set(), stack().requests()["next"]
        for seed in range(6):
            self.inject(rule("lost_reply"), seed=seed)
            key = uuid.uuid4().hex
            with self.assertRaises((ClientError, HTTPClientError)) as caught:
                self.put(key)
            lost.add(isinstance(caught.exception, ClientError))
            self.assertTrue(self.is_there(key))
        self.assertEqual(lost, {True, False}, "an error, and an answer that breaks off")
        logged = stack().requests(since=since)["requests"]
        self.assertEqual([entry["fault"] for entry in logged if entry["operation"] == "PutItem"], ["lost_reply/200"] * 6)

    def test_a_throttled_transaction_is_refused_in_both_ways_that_there_are(self) -> None:
        codes, key = set(), uuid.uuid4().hex
        put = {"Put": {"TableName": stack().outputs["TableName"], "Item": {"pk": {"S": key}}}}
        for seed in range(8):
            self.inject(rule("throttle"), seed=seed)
            with self.assertRaises(ClientError) as caught:
                self.client("dynamodb").transact_write_items(TransactItems=[put])
            codes.add(caught.exception.response["Error"]["Code"])
            if reasons := caught.exception.response.get("CancellationReasons"):
                self.assertEqual([reason["Code"] for reason in reasons], ["ThrottlingError"])
        self.assertEqual(codes, {"ThrottlingException", "TransactionCanceledException"})
        self.assertFalse(self.is_there(key))

    def test_a_message_that_cannot_be_sent_is_not_on_the_queue(self) -> None:
        since = stack().requests()["next"]
        self.inject(rule("throttle", service="sqs", operations=["SendMessage"], functions=["probe"]))
        name = uuid.uuid4().hex
        body = json.dumps({"name": name, "visibility": 30})
        with self.assertRaisesRegex(ClientError, "RequestThrottled"):
            self.client("sqs").send_message(QueueUrl=stack().outputs["TaskQueueUrl"], MessageBody=body)
        self.client("sqs").send_message(QueueUrl=stack().outputs["TaskQueueUrl"], MessageBody=body)
        wait_for("one delivery", lambda: stack().deliveries(name))
        logged = stack().requests(since=since, contains=name)["requests"]
        self.assertEqual([(entry["status"], entry["fault"]) for entry in logged], [(400, "throttle"), (200, "")])

    def test_a_delayed_call_is_done(self) -> None:
        self.inject(rule("delay", delay_ms=2000), seed=3)
        key, begun = uuid.uuid4().hex, time.monotonic()
        self.put(key)
        self.assertGreater(time.monotonic() - begun, 0.1)
        self.assertTrue(self.is_there(key))

    def test_what_cannot_be_read_is_answered_with_the_reason(self) -> None:
        refused = control("PUT", {"kind": "flood"})
        self.assertEqual(refused.status, 400)
        self.assertIn("rules[0].kind", refused.json()["error"])
        self.assertEqual(http(f"{stack().endpoint}/__reprise/faults", b"{", "PUT").status, 400)


class Deliveries(Faulty):
    def setUp(self) -> None:
        super().setUp()
        # What another test has left would take the fault.
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        ask = {"QueueUrl": stack().outputs["TaskQueueUrl"], "AttributeNames": names}
        sqs = stack().client("sqs")
        wait_for("an empty queue", lambda: sqs.get_queue_attributes(**ask)["Attributes"], lambda seen: set(seen.values()) == {"0"}, 40)

    def deliveries(self, name: str, count: int) -> list[dict[str, Any]]:
        return wait_for(f"{count} deliveries", lambda: stack().deliveries(name), lambda notes: len(notes) >= count)

    def test_a_duplicate_is_the_same_message_at_the_same_time(self) -> None:
        self.inject(rule("duplicate", delay_ms=200))
        name = stack().send(sleep=1.5)
        first, second = self.deliveries(name, 2)
        self.assertLess(second["at"] - first["at"], 1.4)
        self.assertNotEqual(first["pid"], second["pid"])
        self.assertEqual((first["count"], second["count"]), ("1", "2"))
        self.assertEqual(self.injected(), {"duplicate": 1})

    def test_a_late_message_is_overtaken(self) -> None:
        self.inject(rule("late", delay_ms=4000), seed=2)
        early = stack().send()
        wait_for("it is held back", self.injected, lambda injected: injected["late"] == 1)
        other = stack().send()
        self.assertLess(self.deliveries(other, 1)[0]["at"], self.deliveries(early, 1)[0]["at"])

    def test_a_message_that_is_not_deleted_comes_back(self) -> None:
        self.inject(rule("undeleted"))
        name = stack().send(visibility=1)
        first, second = self.deliveries(name, 2)
        self.assertGreater(second["at"] - first["at"], 0.9)
        time.sleep(1.2)
        self.assertEqual(len(stack().deliveries(name)), 2, "and is deleted the next time")
