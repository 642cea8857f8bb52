"""Queues: message move tasks, and that nothing sent is lost while a mapping polls."""

import json
import threading
import time
import unittest

from botocore.exceptions import ClientError

from tests.stack import stack, wait_for


class MoveTasks(unittest.TestCase):
    def setUp(self) -> None:
        self.sqs = stack().client("sqs")
        names = ["dead", "source", "elsewhere"]
        self.url = {name: self.sqs.create_queue(QueueName=f"{name}-{time.time_ns()}")["QueueUrl"] for name in names}
        self.arn = {name: self.attribute(name, "QueueArn") for name in names}
        policy = json.dumps({"deadLetterTargetArn": self.arn["dead"], "maxReceiveCount": 1})
        self.sqs.set_queue_attributes(QueueUrl=self.url["source"], Attributes={"RedrivePolicy": policy, "VisibilityTimeout": "0"})

    def tearDown(self) -> None:
        for url in self.url.values():
            self.sqs.delete_queue(QueueUrl=url)

    def kill(self, count: int) -> None:
        """Put messages on the dead-letter queue, by the redrive policy."""
        for number in range(count):
            self.sqs.send_message(QueueUrl=self.url["source"], MessageBody=f"body {number}")

        def receive() -> int:
            self.sqs.receive_message(QueueUrl=self.url["source"])
            return self.depth("dead")

        wait_for("all are dead", receive, lambda depth: depth == count)

    def attribute(self, name: str, attribute: str) -> str:
        return self.sqs.get_queue_attributes(QueueUrl=self.url[name], AttributeNames=[attribute])["Attributes"][attribute]

    def depth(self, name: str) -> int:
        return int(self.attribute(name, "ApproximateNumberOfMessages"))

    def status(self) -> str:
        return self.sqs.list_message_move_tasks(SourceArn=self.arn["dead"])["Results"][0]["Status"]

    def test_messages_go_back_to_the_queue_they_came_from_as_new_messages(self) -> None:
        self.kill(3)
        handle = self.sqs.start_message_move_task(SourceArn=self.arn["dead"])["TaskHandle"]
        self.assertTrue(handle)
        wait_for("the task ends", self.status, lambda status: status == "COMPLETED")
        self.assertEqual((self.depth("dead"), self.depth("source")), (0, 3))
        names = ["ApproximateReceiveCount", "DeadLetterQueueSourceArn"]
        message = self.sqs.receive_message(QueueUrl=self.url["source"], AttributeNames=names)["Messages"][0]
        self.assertEqual(message["Attributes"], {"ApproximateReceiveCount": "1"})
        self.assertTrue(message["Body"].startswith("body "))
        result = self.sqs.list_message_move_tasks(SourceArn=self.arn["dead"])["Results"][0]
        self.assertEqual(result["ApproximateNumberOfMessagesMoved"], 3)
        self.assertNotIn("TaskHandle", result)

    def test_a_destination_and_a_rate_are_honoured_and_a_task_can_be_cancelled(self) -> None:
        self.kill(5)
        request = {"SourceArn": self.arn["dead"], "DestinationArn": self.arn["elsewhere"], "MaxNumberOfMessagesPerSecond": 2}
        handle = self.sqs.start_message_move_task(**request)["TaskHandle"]
        with self.assertRaisesRegex(ClientError, "already a task running"):
            self.sqs.start_message_move_task(**request)
        self.sqs.cancel_message_move_task(TaskHandle=handle)
        wait_for("the task is cancelled", self.status, lambda status: status == "CANCELLED")
        self.assertEqual(self.depth("dead") + self.depth("elsewhere"), 5)
        self.assertLess(self.depth("elsewhere"), 5)
        with self.assertRaises(self.sqs.exceptions.ResourceNotFoundException):
            self.sqs.cancel_message_move_task(TaskHandle=handle)

    def test_only_a_dead_letter_queue_can_be_the_source(self) -> None:
        with self.assertRaisesRegex(ClientError, "Dead Letter Queue"):
            self.sqs.start_message_move_task(SourceArn=self.arn["elsewhere"])
        with self.assertRaises(self.sqs.exceptions.ResourceNotFoundException):
            self.sqs.start_message_move_task(SourceArn=self.arn["dead"] + "-gone")


class NothingIsLost(unittest.TestCase):
    def test_every_message_sent_while_the_mapping_polls_is_delivered_once(self) -> None:
        senders, each = 4, 60
        names: list[str] = []

        def send_all() -> None:
            names.extend(stack().send() for _ in range(each))

        threads = [threading.Thread(target=send_all) for _ in range(senders)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        delivered = wait_for("all arrive", lambda: [len(stack().deliveries(name)) for name in names], lambda counts: min(counts) > 0, 60)
        self.assertEqual(delivered, [1] * senders * each)
