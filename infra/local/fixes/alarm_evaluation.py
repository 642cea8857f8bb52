"""Metric alarms that mean what they say.

Upstream: an alarm looks at all dimensions of its metric together, takes all its periods for one, does not count how many of them breach,
ignores what missing data means, is looked at only when somebody calls PutMetricData (so that it never returns to OK by
itself), and a template with metric math is refused. Here all alarms are judged every few seconds (alarms/judgement.py); the stock emulator still keeps
the history, sends to SNS and asks the composite alarms above.
"""

import inspect
import json
import threading
import time
from typing import Any

from ministack.core.responses import request_scope
from ministack.services import cloudwatch
from ministack.services.cloudformation import provisioners

from alarms import judgement, ticker

# A change has one author at a time: the tick, or a deployment.
_lock = threading.RLock()


def needed() -> bool:
    """True while the stock evaluation reads a metric without its dimensions."""
    return "for (k_ns, k_mn, _), pts in _metrics.items()" in inspect.getsource(cloudwatch._evaluate_alarm)


def apply() -> None:
    """Judge at each tick and at each deployment of an alarm, and take metric math from templates."""
    stock_record = provisioners._cw_metric_alarm_record

    def record(name: str, properties: dict[str, Any]) -> dict[str, Any]:
        judgement.check_comparison(properties.get("ComparisonOperator", ""))
        if not (metrics := properties.get("Metrics")):
            return stock_record(name, properties)
        judgement.check(metrics)
        # The stock function wants one metric; the names are taken out again.
        made = stock_record(name, {**properties, "Metrics": None, "MetricName": "-", "Namespace": "-"})
        plain = {key: value for key, value in made.items() if key not in ("MetricName", "Namespace", "Statistic", "ExtendedStatistic", "Period", "Dimensions")}
        return {**plain, "Metrics": metrics}

    provisioners._cw_metric_alarm_record = record
    cloudwatch._evaluate_alarm = lambda alarm: _evaluate(alarm, time.time())
    # One value is no reason to look at every alarm: the next tick does.
    cloudwatch._evaluate_all_alarms = lambda: None
    ticker.every_tick(_evaluate_all)


def _evaluate_all(now: float) -> None:
    for (account, region, _), alarm in list(cloudwatch._alarms._data.items()):
        with request_scope(account, region):
            _evaluate(alarm, now)


def _evaluate(alarm: dict[str, Any], now: float) -> None:
    with _lock:
        judged = judgement.judge(alarm, now, _points, _statistic)
        old = alarm["StateValue"]
        if judged.state == old or cloudwatch._alarms.get(alarm["AlarmName"]) is not alarm:
            return
        alarm.update(
            StateValue=judged.state,
            StateReason=judged.reason,
            StateReasonData=json.dumps({"version": "1.0", "queryDate": cloudwatch._ts_iso(now)}),
            StateUpdatedTimestamp=int(now),
            StateTransitionedTimestamp=int(now),
        )
        cloudwatch._record_history(alarm["AlarmName"], old, judged.state, judged.reason)
        cloudwatch._dispatch_alarm_actions(alarm, old, judged.state, judged.reason)
        cloudwatch._evaluate_parent_alarms(alarm)


def _points(namespace: str, name: str, dimensions: dict[str, str]) -> list[dict[str, Any]]:
    return list(cloudwatch._metrics.get((namespace, name, cloudwatch._dims_key(dimensions))) or ())


def _statistic(points: list[dict[str, Any]], name: str) -> float | None:
    return cloudwatch._stat_value(cloudwatch._calc_stats(points), name, points)
