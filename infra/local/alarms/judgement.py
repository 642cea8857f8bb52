"""The state of a metric alarm at one moment, from the points of its metrics.

As on AWS: each period's statistic, the expression on top of it, how many of the newest periods breach (M of N), and what a period without
data counts as. Windows slide: AWS moves them minute by minute, this second by second, so that the newest period is always whole and
a short test does not wait for a full minute. One thing is left out: where data is missing AWS may look a few periods further back, so there a sparse metric
returns to OK a little later.
Reference: https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-evaluation.html
"""

import operator
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from alarms import expression, minute
from alarms.expression import Value

Points = Iterable[dict[str, Any]]
# (namespace, name, dimensions) to what was recorded.
Lookup = Callable[[str, str, dict[str, str]], Points]
# (points of one period, statistic) to its value.
Statistic = Callable[[list[dict[str, Any]], str], Value]

_BREACHES: dict[str, Callable[[float, float], bool]] = {
    "GreaterThanOrEqualToThreshold": operator.ge,
    "GreaterThanThreshold": operator.gt,
    "LessThanThreshold": operator.lt,
    "LessThanOrEqualToThreshold": operator.le,
}
_MOST_METRICS = 10


@dataclass(frozen=True)
class Judgement:
    """A state and why."""

    state: str
    reason: str


def check(metrics: list[dict[str, Any]]) -> None:
    """Refuses metric math that AWS or the local stack would not take; raises ValueError."""
    if len(metrics) > _MOST_METRICS:
        raise ValueError(f"an alarm has {_MOST_METRICS} metrics at most, not {len(metrics)}")
    if len([query for query in metrics if _returns(query)]) != 1:
        raise ValueError("exactly one metric of an alarm has ReturnData: true")
    if len({int(query["MetricStat"]["Period"]) for query in metrics if query.get("MetricStat")}) != 1:
        raise ValueError("the metrics of an alarm have one period")
    ids = {query["Id"] for query in metrics}
    for query in metrics:
        if "Expression" in query and (unknown := expression.names(expression.parse(query["Expression"])) - ids):
            raise ValueError(f"the expression {query['Expression']!r} names {', '.join(sorted(unknown))}, which is no id of this alarm")


def check_comparison(name: str) -> None:
    """Refuses comparisons that belong to anomaly detection; raises ValueError."""
    if name not in _BREACHES:
        raise ValueError(f"the local stack does not know the comparison {name!r}")


def judge(alarm: dict[str, Any], now: float, lookup: Lookup, statistic: Statistic) -> Judgement:
    """What the alarm's state should be now."""
    periods = int(alarm.get("EvaluationPeriods", 1))
    needed = int(alarm.get("DatapointsToAlarm") or periods)
    threshold = float(alarm.get("Threshold", 0))
    breaches = _BREACHES[alarm["ComparisonOperator"]]
    missing = "ignore" if _is_of_dynamodb(alarm) else alarm.get("TreatMissingData") or "missing"
    values = _values(alarm, periods, now, lookup, statistic)
    shown = ", ".join("none" if value is None else f"{value:.6g}" for value in values)
    if missing in ("missing", "ignore") and all(value is None for value in values):
        state = alarm["StateValue"] if missing == "ignore" else "INSUFFICIENT_DATA"
        return Judgement(state, f"Insufficient Data: {periods} datapoints were unknown.")
    breaching = [breaches(value, threshold) if value is not None else missing == "breaching" for value in values]
    state = "ALARM" if sum(breaching) >= needed else "OK"
    return Judgement(
        state, f"Threshold Crossed: {sum(breaching)} of {periods} datapoints [{shown}] were {alarm['ComparisonOperator']} {threshold:g} ({needed} needed)."
    )


def _is_of_dynamodb(alarm: dict[str, Any]) -> bool:
    """Whether CloudWatch ignores missing data whatever the alarm says."""
    stats = [query["MetricStat"]["Metric"] for query in alarm.get("Metrics") or [] if query.get("MetricStat")]
    return any(metric.get("Namespace") == "AWS/DynamoDB" for metric in [alarm, *stats])


def _values(alarm: dict[str, Any], periods: int, now: float, lookup: Lookup, statistic: Statistic) -> list[Value]:
    """The value of each period, the newest first."""
    if not alarm.get("Metrics"):
        points = lookup(alarm["Namespace"], alarm["MetricName"], _dimensions(alarm.get("Dimensions")))
        name = alarm.get("ExtendedStatistic") or alarm.get("Statistic") or "Average"
        return [statistic(found, name) if found else None for found in _periods(points, int(alarm.get("Period", 60)), periods, now)]
    series: dict[str, list[Value]] = {}
    for query in alarm["Metrics"]:
        if stat := query.get("MetricStat"):
            metric = stat["Metric"]
            points = lookup(metric["Namespace"], metric["MetricName"], _dimensions(metric.get("Dimensions")))
            series[query["Id"]] = [statistic(found, stat["Stat"]) if found else None for found in _periods(points, int(stat["Period"]), periods, now)]
    wanted = next(query["Id"] for query in alarm["Metrics"] if _returns(query))
    trees = {query["Id"]: expression.parse(query["Expression"]) for query in alarm["Metrics"] if query.get("Expression")}
    return [_one(wanted, {name: values[place] for name, values in series.items()}, trees) for place in range(periods)]


def _one(wanted: str, known: dict[str, Value], trees: dict[str, Any]) -> Value:
    """The value of one id in one period; expressions may read expressions."""
    if wanted not in known:
        inner = {name: _one(name, known, trees) for name in expression.names(trees[wanted])}
        known[wanted] = expression.value(trees[wanted], inner)
    return known[wanted]


def _periods(points: Points, period: int, count: int, now: float) -> list[list[dict[str, Any]]]:
    """The points of each of the newest periods; what is dated in the future waits until then."""
    found: list[list[dict[str, Any]]] = [[] for _ in range(count)]
    length = minute.scaled(period)
    for point in points:
        age = now - point["Timestamp"]
        if 0 <= age < length * count:
            found[int(age // length)].append(point)
    return found


def _dimensions(listed: list[dict[str, str]] | None) -> dict[str, str]:
    return {one["Name"]: one["Value"] for one in listed or []}


def _returns(query: dict[str, Any]) -> bool:
    # A template's booleans can arrive as text; what says nothing returns data.
    return str(query.get("ReturnData", True)).lower() != "false"
