"""Metrics and alarms of a deployed stack: what is measured, what an alarm makes of it, who is told."""

import json
import tempfile
import time
import unittest
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from gateway import table_metrics
from tests.stack import FIXTURE, http, stack, wait_for


def metric(namespace: str, name: str, statistic: str, **dimensions: str) -> float | None:
    """One statistic of the last ten minutes."""
    now = datetime.now(UTC)
    listed = [{"Name": key, "Value": value} for key, value in dimensions.items()]
    found = stack().client("cloudwatch").get_metric_statistics(
        Namespace=namespace,
        MetricName=name,
        Dimensions=listed,
        Statistics=[statistic],
        Period=3600,
        StartTime=now - timedelta(minutes=10),
        EndTime=now + timedelta(minutes=1),
    )
    return sum(point[statistic] for point in found["Datapoints"]) if found["Datapoints"] else None


def put(name: str, value: float, **dimensions: str) -> None:
    listed = [{"Name": key, "Value": each} for key, each in dimensions.items()]
    stack().client("cloudwatch").put_metric_data(Namespace="Probe", MetricData=[{"MetricName": name, "Value": value, "Dimensions": listed}])


def state(name: str) -> str:
    found = stack().client("cloudwatch").describe_alarms(AlarmNames=[name], AlarmTypes=["MetricAlarm", "CompositeAlarm"])
    return str([*found["MetricAlarms"], *found["CompositeAlarms"]][0]["StateValue"])


def until(name: str, wanted: str, seconds: float = 40) -> None:
    wait_for(f"{name} is {wanted}", lambda: state(name), lambda seen: seen == wanted, seconds)


def pages() -> list[dict[str, Any]]:
    """What the topic has sent since the last look."""
    sqs, url = stack().client("sqs"), stack().outputs["PagesUrl"]
    found = []
    while messages := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
        for message in messages:
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
            found.append(json.loads(message["Body"]))
    return found


class Measuring(unittest.TestCase):
    def test_requests_are_counted_at_the_gateway_and_in_the_function(self) -> None:
        gateway = {"ApiName": "probe", "Stage": "live"}
        before = {name: metric("AWS/ApiGateway", name, "Sum", **gateway) or 0 for name in ("Count", "4XXError", "5XXError")}
        calls = metric("AWS/Lambda", "Invocations", "Sum", FunctionName="probe-web") or 0
        failures = metric("AWS/Lambda", "Errors", "Sum", FunctionName="probe-web") or 0
        self.assertEqual(http(f"{stack().front}/items/1").status, 200)
        self.assertEqual(http(f"{stack().front}/items/panic").status, 502)
        self.assertEqual(http(f"{stack().front}/nothing").status, 404)
        after = {name: metric("AWS/ApiGateway", name, "Sum", **gateway) for name in before}
        self.assertEqual({name: after[name] - before[name] for name in before}, {"Count": 3, "4XXError": 1, "5XXError": 1})
        self.assertEqual(metric("AWS/Lambda", "Invocations", "Sum", FunctionName="probe-web") - calls, 2)
        self.assertEqual(metric("AWS/Lambda", "Errors", "Sum", FunctionName="probe-web") - failures, 1)
        for namespace, name, dimensions in (
            ("AWS/ApiGateway", "Latency", gateway),
            ("AWS/ApiGateway", "IntegrationLatency", gateway),
            ("AWS/Lambda", "Duration", {"FunctionName": "probe-web"}),
            ("AWS/Lambda", "ConcurrentExecutions", {"FunctionName": "probe-web"}),
        ):
            self.assertGreater(metric(namespace, name, "Maximum", **dimensions) or 0, 0, name)

    def test_a_line_of_embedded_metrics_is_a_metric_before_the_function_has_ended(self) -> None:
        line = {"_aws": {"CloudWatchMetrics": [{"Namespace": "Probe", "Dimensions": [["Part"]], "Metrics": [{"Name": "Logged"}]}]}, "Part": "x", "Logged": 7}
        name = stack().send(log=json.dumps(line), sleep=4)
        wait_for("the metric is there", lambda: metric("Probe", "Logged", "Sum", Part="x"), lambda seen: seen == 7)
        self.assertEqual(len(stack().deliveries(name)), 1)

    def test_a_queue_says_how_many_messages_it_has_and_how_old_the_oldest_is(self) -> None:
        queue = stack().outputs["PagesUrl"].rsplit("/", 1)[1]
        stack().client("sqs").send_message(QueueUrl=stack().outputs["PagesUrl"], MessageBody="{}")
        wait_for("it is counted", lambda: metric("AWS/SQS", "ApproximateNumberOfMessagesVisible", "Maximum", QueueName=queue), lambda seen: (seen or 0) >= 1)
        wait_for("it ages", lambda: metric("AWS/SQS", "ApproximateAgeOfOldestMessage", "Maximum", QueueName=queue), lambda seen: (seen or 0) > 2)
        pages()

    def test_the_table_of_a_request_is_found_wherever_it_stands(self) -> None:
        for body in (
            '{"TableName":"t","Key":{}}',
            '{"TransactItems":[{"Put":{"TableName":"t"}}]}',
            '{"RequestItems":{"t":[]}}',
            '{"Item":{"long":1},"TableName":"t","cut',
        ):
            self.assertEqual(table_metrics.table_of(body), "t", body)
        self.assertIsNone(table_metrics.table_of("{}"))


class Alarming(unittest.TestCase):
    def test_metric_math_of_one_part_reaches_the_page_and_returns_to_ok(self) -> None:
        until("probe-error-rate", "OK")
        until("probe-page", "OK")
        pages()
        put("Calls", 100, Part="two")
        put("Errors", 90, Part="two")  # another part: no reason
        put("Calls", 20, Part="one")
        put("Errors", 19, Part="one")
        until("probe-error-rate", "ALARM")
        wait_for("a page", pages, lambda seen: [page["NewStateValue"] for page in seen] == ["ALARM"])
        until("probe-error-rate", "OK")
        wait_for("its end", pages, lambda seen: [(page["NewStateValue"], page["AlarmName"]) for page in seen] == [("OK", "probe-page")])
        history = stack().client("cloudwatch").describe_alarm_history(AlarmName="probe-error-rate", HistoryItemType="StateUpdate")
        self.assertIn("1 of 2 datapoints", history["AlarmHistoryItems"][0]["HistoryData"] + history["AlarmHistoryItems"][1]["HistoryData"])

    def test_a_known_cause_keeps_the_page_back_and_only_for_its_time(self) -> None:
        until("probe-page", "OK")
        until("probe-cause", "OK")
        pages()
        put("Cause", 1)
        until("probe-cause", "ALARM")
        deadline, errors = time.monotonic() + 60, 0
        while state("probe-cause") == "ALARM" and time.monotonic() < deadline:
            put("Calls", 20, Part="one")
            put("Errors", 20, Part="one")
            errors += 20
            if state("probe-page") == "ALARM":
                self.assertEqual(pages(), [])
            time.sleep(1)
        # The cause is over and the consequence is not: after the extension it is told.
        wait_for("a page", pages, lambda seen: [page["NewStateValue"] for page in seen] == ["ALARM"], 20)
        put("Errors", -errors, Part="one")
        until("probe-page", "OK")

    def test_metric_math_that_nobody_knows_stops_the_deployment(self) -> None:
        stack()
        changed = (FIXTURE / "template.yaml").read_text().replace("errors / calls", "RUNNING_SUM(errors)")
        with tempfile.TemporaryDirectory() as folder:
            template = Path(folder) / "template.yaml"
            template.write_text(changed)
            done = stack().deploy(template=template)
        self.assertEqual(done.returncode, 1)
        self.assertIn("ErrorRate (AWS::CloudWatch::Alarm)", done.stderr)
        self.assertIn("RUNNING_SUM", done.stderr)
