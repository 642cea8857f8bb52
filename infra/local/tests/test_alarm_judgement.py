"""Alarms are judged as AWS documents it: periods, M of N, missing data, metric math."""

import os
import tempfile
import unittest
from typing import Any

os.environ.update(LOG_LEVEL="ERROR", STACK_DIR=tempfile.gettempdir())

from alarms import expression, judgement, minute  # noqa: E402
from ministack.services import cloudwatch  # noqa: E402

from fixes import metrics_of_logs  # noqa: E402
from fixes.metric_points import Series  # noqa: E402

_NOW = 1_000_000.0


def series(*values: float | None, period: int = 60) -> list[dict[str, Any]]:
    """One value in the middle of each period, the newest first."""
    return [
        {"Timestamp": _NOW - period * (place + 0.5), "Value": value, "Unit": "None", "Dimensions": {}} for place, value in enumerate(values) if value is not None
    ]


def state(values: tuple[float | None, ...], **alarm: Any) -> str:
    settings = {
        "Namespace": "N",
        "MetricName": "M",
        "Statistic": "Sum",
        "Period": 60,
        "EvaluationPeriods": 3,
        "Threshold": 10,
        "ComparisonOperator": "GreaterThanThreshold",
        "StateValue": "OK",
        **alarm,
    }
    return judgement.judge(settings, _NOW, lambda *_: series(*values), statistic).state


def statistic(points: list[dict[str, Any]], name: str) -> float | None:
    return cloudwatch._stat_value(cloudwatch._calc_stats(points), name, points)


class Judging(unittest.TestCase):
    def test_all_periods_must_breach_unless_it_says_how_many(self) -> None:
        self.assertEqual(state((11, 12, 13)), "ALARM")
        self.assertEqual(state((11, 12, 1)), "OK")
        self.assertEqual(state((11, 1, 13), DatapointsToAlarm=2), "ALARM")
        self.assertEqual(state((1, 1, 13), DatapointsToAlarm=2), "OK")

    def test_what_missing_data_counts_as_is_up_to_the_alarm(self) -> None:
        silence = (None, None, None)
        self.assertEqual(state(silence), "INSUFFICIENT_DATA")
        self.assertEqual(state(silence, TreatMissingData="notBreaching", StateValue="ALARM"), "OK")
        self.assertEqual(state(silence, TreatMissingData="breaching"), "ALARM")
        self.assertEqual(state(silence, TreatMissingData="ignore", StateValue="ALARM"), "ALARM")
        self.assertEqual(state((None, 11, None), TreatMissingData="breaching"), "ALARM")
        self.assertEqual(state((None, 11, 11), TreatMissingData="notBreaching"), "OK")

    def test_missing_data_of_dynamodb_is_ignored_whatever_the_alarm_says(self) -> None:
        of_dynamodb = {"Namespace": "AWS/DynamoDB", "TreatMissingData": "notBreaching", "StateValue": "ALARM"}
        self.assertEqual(state((None, None, None), **of_dynamodb), "ALARM")
        self.assertEqual(state((1, 1, 1), **of_dynamodb), "OK")

    def test_values_before_the_window_and_after_now_do_not_count(self) -> None:
        points = [*series(1), {"Timestamp": _NOW + 5, "Value": 50, "Unit": "None", "Dimensions": {}}, *series(None, None, None, 99)]
        alarm = {"Namespace": "N", "MetricName": "M", "Statistic": "Maximum", "EvaluationPeriods": 3, "DatapointsToAlarm": 1, "Threshold": 10}
        alarm |= {"ComparisonOperator": "GreaterThanThreshold", "StateValue": "OK", "TreatMissingData": "notBreaching"}
        self.assertEqual(judgement.judge(alarm, _NOW, lambda *_: points, statistic).state, "OK")

    def test_where_minutes_are_short_periods_are(self) -> None:
        self.addCleanup(minute.lasts, 60)
        minute.lasts(15)
        alarm = {"Namespace": "N", "MetricName": "M", "Statistic": "Sum", "EvaluationPeriods": 3, "Threshold": 10, "DatapointsToAlarm": 2}
        alarm |= {"ComparisonOperator": "GreaterThanThreshold", "StateValue": "OK", "TreatMissingData": "notBreaching"}
        for period, found in ((15, "ALARM"), (60, "OK")):
            points = series(1, 11, 11, period=period)
            self.assertEqual(judgement.judge(alarm, _NOW, lambda *_, points=points: points, statistic).state, found)

    def test_an_alarm_reads_the_metric_of_its_dimensions_only(self) -> None:
        asked = []
        alarm = {"Namespace": "N", "MetricName": "M", "Dimensions": [{"Name": "Stack", "Value": "a"}], "ComparisonOperator": "GreaterThanThreshold"}
        judgement.judge({**alarm, "StateValue": "OK"}, _NOW, lambda *key: asked.append(key) or [], statistic)
        self.assertEqual(asked, [("N", "M", {"Stack": "a"})])

    def test_percentiles_come_from_all_values_of_a_second(self) -> None:
        kept = Series()
        for value in range(1, 101):
            kept.append({"Timestamp": _NOW - 1, "Value": float(value), "Unit": "None", "Dimensions": {}})
        self.assertEqual(len(kept), 1)
        self.assertEqual(cloudwatch._calc_stats(kept), {"SampleCount": 100, "Sum": 5050, "Average": 50.5, "Minimum": 1, "Maximum": 100})
        self.assertEqual(len(kept[0]["_values"]), 100)
        kept.tidy(_NOW + 86400)
        self.assertEqual([point["Timestamp"] % 60 for point in kept], [0])
        kept.tidy(_NOW + 15 * 86400)
        self.assertEqual(kept, [])


class MetricMath(unittest.TestCase):
    def value(self, text: str, **known: float | None) -> float | None:
        return expression.value(expression.parse(text), known)

    def test_arithmetic_comparisons_and_functions(self) -> None:
        self.assertEqual(self.value("100 * e / n", e=1, n=4), 25)
        self.assertEqual(self.value("IF(n >= 10 && e / n > 0.5, 1, 0)", e=6, n=10), 1)
        self.assertEqual(self.value("IF(n >= 10 AND e / n > 0.5, 1, 0)", e=6, n=9), 0)
        self.assertEqual(self.value("MAX(a, b) - MIN(a, b) + -1", a=2, b=5), 2)

    def test_without_data_there_is_no_value_except_where_it_is_filled(self) -> None:
        self.assertIsNone(self.value("e / n", e=1, n=None))
        self.assertEqual(self.value("FILL(e, 0) / n", e=None, n=4), 0)
        self.assertIsNone(self.value("e / n", e=1, n=0))
        self.assertIsNone(self.value("IF(n > 1, 1, 0)", n=None))

    def test_what_is_not_known_is_refused(self) -> None:
        for text in ("ANOMALY_DETECTION_BAND(m)", "m.x", "__import__('os')", "m[0]", "1 < m < 2", "IF(m)", "METRICS()", "a b"):
            with self.subTest(text), self.assertRaises(ValueError):
                expression.parse(text)

    def test_an_alarm_with_ids_that_are_not_there_or_two_results_is_refused(self) -> None:
        metric = {"Id": "m", "MetricStat": {"Stat": "Sum", "Period": 60, "Metric": {}}, "ReturnData": False}
        judgement.check([metric, {"Id": "x", "Expression": "m * 2"}])
        other = {**metric, "Id": "o", "MetricStat": {"Stat": "Sum", "Period": 300, "Metric": {}}}
        for queries in ([metric, {"Id": "x", "Expression": "n * 2"}], [metric], [metric, other, {"Id": "x", "Expression": "m * 2"}]):
            with self.subTest(queries), self.assertRaises(ValueError):
                judgement.check(queries)


class EmbeddedMetrics(unittest.TestCase):
    def line(self, member: str) -> bytes:
        directive = '{"Namespace":"N","Dimensions":[["A"],["A","B"],["C"]],"Metrics":[{"Name":"X","Unit":"Count"},{"Name":"Y"}]}'
        return f'{{"_aws":{{"Timestamp":5000,"CloudWatchMetrics":[{directive}]}},"A":"a","B":"b","X":{member}}}'.encode()

    def test_values_are_there_once_for_each_set_of_dimensions(self) -> None:
        for member, values, counts in (("3", [3], [1]), ("[1,2]", [1, 2], [1, 1]), ('{"Values":[1,2],"Counts":[5,1]}', [1, 2], [5, 1])):
            expected = [("N", "X", dimensions, 5.0, "Count", values, counts) for dimensions in ({"A": "a"}, {"A": "a", "B": "b"})]
            self.assertEqual(list(metrics_of_logs.data_of(self.line(member), 9.0)), expected)

    def test_what_is_no_number_is_no_value(self) -> None:
        for member in ('"1"', "true", "null", '{"Values":"x"}', "[1, null]"):
            self.assertEqual(list(metrics_of_logs.data_of(self.line(member), 9.0)), [], member)

    def test_another_line_is_only_logged(self) -> None:
        for line in (b'{"_aws": 1}', b'"_aws"', b'{"_aws":{"CloudWatchMetrics":[{}]}}', b"{not json _aws"):
            self.assertEqual(list(metrics_of_logs.data_of(line, 9.0)), [])
