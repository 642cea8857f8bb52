"""`AWS/Lambda`: Invocations, Errors, Throttles, Duration and ConcurrentExecutions of every invocation.

Upstream: only the Invoke API is counted, so a function that API Gateway, a queue or a schedule starts has no metrics; and nothing says
how many run at once.
Reference: https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-types.html
"""

import inspect
import time
from typing import Any

from ministack.services import cloudwatch, lambda_svc

_NAMESPACE = "AWS/Lambda"


def needed() -> bool:
    """True while the one place that all invocations pass does not count them."""
    return "_emit_lambda_metrics" not in inspect.getsource(lambda_svc._execute_function_dispatch)


def apply() -> None:
    """Count where all invocations pass, and not once more in the Invoke API."""
    stock = lambda_svc._execute_function_dispatch

    def dispatch(func: Any, config: dict[str, Any], *rest: Any) -> Any:
        name, started = config.get("FunctionName", "?"), time.time()
        total, each = lambda_svc.executions_in_flight()
        _record("ConcurrentExecutions", name, each.get(lambda_svc._inflight_key(config), 1), "Count")
        cloudwatch.record_metric(_NAMESPACE, "ConcurrentExecutions", total, "Count", {})
        result = None
        try:
            result = stock(func, config, *rest)
            return result
        finally:
            _record("Invocations", name, 1, "Count")
            _record("Errors", name, float(not isinstance(result, dict) or bool(result.get("error"))), "Count")
            _record("Throttles", name, 0, "Count")
            _record("Duration", name, (time.time() - started) * 1000, "Milliseconds")

    def emit(name: str, duration_ms: float, error: bool, throttle: bool) -> None:
        # What was refused is said with no duration where it is refused; the Invoke API says it once more, with one.
        if throttle and duration_ms == 0:
            _record("Throttles", name, 1, "Count")

    lambda_svc._execute_function_dispatch = dispatch
    lambda_svc._emit_lambda_metrics = emit


def _record(metric: str, function: str, value: float, unit: str) -> None:
    cloudwatch.record_metric(_NAMESPACE, metric, value, unit, {"FunctionName": function})
