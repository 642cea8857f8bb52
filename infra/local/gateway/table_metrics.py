"""`AWS/DynamoDB`: what the calls of tables came to, seen at the emulator's door.

The emulator's tables never throttle, and nothing counts their calls; throttles and failures here are those that were injected (faults.py), so they are
counted where those show. Consumed units are not measured.
Reference: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/metrics-dimensions.html
"""

import json
from typing import Any

from ministack.services import cloudwatch

_NAMESPACE = "AWS/DynamoDB"
_READS = frozenset({"GetItem", "BatchGetItem", "Query", "Scan", "TransactGetItems"})


def record(operation: str, body: str, status: int, fault: str, duration_ms: float) -> None:
    """Count one call of DynamoDB; a body that does not say which table is left out."""
    if (table := table_of(body)) is None:
        return
    each, resource = {"TableName": table, "Operation": operation}, {"TableName": table}
    if index := _index_of(body):
        # As on AWS, the refusal of an index is not the table's.
        resource["GlobalSecondaryIndexName"] = index
    if fault == "throttle":
        event = "ReadThrottleEvents" if operation in _READS else "WriteThrottleEvents"
        cloudwatch.record_metric(_NAMESPACE, event, 1, "Count", resource)
        cloudwatch.record_metric(_NAMESPACE, "ThrottledRequests", 1, "Count", each)
    elif status >= 500:
        cloudwatch.record_metric(_NAMESPACE, "SystemErrors", 1, "Count", each)
    elif status == 200:
        cloudwatch.record_metric(_NAMESPACE, "SuccessfulRequestLatency", duration_ms, "Milliseconds", each)


def _index_of(body: str) -> str | None:
    _, found, rest = body.partition('"IndexName":"')
    return rest.partition('"')[0] if found else None


def table_of(body: str) -> str | None:
    """The table a request names, in any of the places where it may stand."""
    try:
        request: Any = json.loads(body)
        if "TableName" in request:
            return str(request["TableName"])
        if items := request.get("TransactItems"):
            return str(next(iter(items[0].values()))["TableName"])
        return next(iter(request.get("RequestItems", {})), None)
    except (ValueError, TypeError, AttributeError, KeyError, IndexError):
        # Cut off, because it is long: the first name is enough.
        _, found, rest = body.partition('"TableName":"')
        return rest.partition('"')[0] if found else None
