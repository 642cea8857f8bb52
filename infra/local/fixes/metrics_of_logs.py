"""Metrics in the logs: the embedded metric format (EMF).

Upstream: a line in this format stays a line. On AWS CloudWatch makes metrics of it as soon as it is logged. Here too, from what a function
writes while it runs (an invocation may take minutes), with the time that the line says.
Reference: https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
"""

import inspect
import json
import time
from collections.abc import Iterator
from typing import Any

from ministack.core import lambda_runtime
from ministack.core.responses import request_scope
from ministack.services import cloudwatch, lambda_svc

_Worker = lambda_runtime.ProvidedWorker
_MARK = b'"_aws"'
# Datum: namespace, name, dimensions, time, unit, values, and how often each was seen.
Datum = tuple[str, str, dict[str, str], float, str, list[float], list[float]]


def needed() -> bool:
    """True while neither the runtime nor the log service knows the format."""
    sources = inspect.getsource(lambda_runtime) + inspect.getsource(lambda_svc._emit_lambda_logs)
    return "CloudWatchMetrics" not in sources


def apply() -> None:
    """Read along with what each native function writes."""
    stock = _Worker._pump_output

    def pump_output(self: Any, stream: Any, log_queue: Any) -> None:
        account, region = lambda_svc._account_region_from_function_config(self.config)
        stock(self, _Tap(stream, account, region), log_queue)

    _Worker._pump_output = pump_output


class _Tap:
    """A function's output that is looked at line by line."""

    def __init__(self, stream: Any, account: str, region: str) -> None:
        self._stream, self._account, self._region = stream, account, region

    def readline(self) -> bytes:
        line: bytes = self._stream.readline()
        if _MARK in line:
            with request_scope(self._account, self._region):
                for namespace, name, dimensions, at, unit, values, counts in data_of(line, time.time()):
                    cloudwatch._store_datum(namespace, name, dimensions, at, unit, None, values, counts, None)
        return line

    def close(self) -> None:
        self._stream.close()


def data_of(line: bytes, now: float) -> Iterator[Datum]:
    """The values in a line; none where it is not of the format, as on AWS, where such a line is only logged."""
    try:
        document = json.loads(line)
        metadata = document["_aws"]
        at = float(metadata.get("Timestamp", now * 1000)) / 1000
        directives = [
            (d["Namespace"], d.get("Dimensions") or [[]], [(m["Name"], m.get("Unit", "None")) for m in d["Metrics"]]) for d in metadata["CloudWatchMetrics"]
        ]
    except (ValueError, KeyError, TypeError, AttributeError):
        return
    for namespace, dimension_sets, metrics in directives:
        for names in dimension_sets:
            if any(name not in document for name in names):
                continue
            dimensions = {name: str(document[name]) for name in names}
            for metric, unit in metrics:
                values, counts = _values(document.get(metric))
                if values:
                    yield namespace, metric, dimensions, at, unit, values, counts


def _values(member: Any) -> tuple[list[float], list[float]]:
    """A member's values: a number, a list of them, or values with how often each was seen."""
    counted = isinstance(member, dict)
    values = member.get("Values") if counted else member if isinstance(member, list) else [member]
    counts = member.get("Counts") if counted else None
    if not isinstance(values, list) or not all(isinstance(one, (int, float)) and not isinstance(one, bool) for one in values):
        return [], []
    return [float(one) for one in values], [float(one) for one in counts or [1] * len(values)]
