"""`AWS/ApiGateway`: Count, 4XXError, 5XXError, Latency and IntegrationLatency of each request to a REST API.

Upstream: none. The latency of a response that streams ends here with its headers, on AWS with its body.
Reference: https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-metrics-and-dimensions.html
"""

import inspect
import time
from typing import Any

from ministack.services import apigateway_v1 as gateway
from ministack.services import cloudwatch

_NAMESPACE = "AWS/ApiGateway"


def needed() -> bool:
    """True while the emulator's API Gateway has no metrics."""
    return "5XXError" not in inspect.getsource(gateway)


def apply() -> None:
    """Count at the door of the stage, and around its functions."""
    door, proxy = gateway._handle_execute_in_scope, gateway._invoke_lambda_proxy_v1

    async def through_the_door(api_id: str, stage: str, *rest: Any) -> Any:
        started, status = time.time(), 500
        try:
            response = await door(api_id, stage, *rest)
            status = int(response[0])
            return response
        finally:
            # Each request has a value for each, so that a rate of errors is an average.
            _record(api_id, stage, "Count", 1, "Count")
            _record(api_id, stage, "4XXError", float(400 <= status < 500), "Count")
            _record(api_id, stage, "5XXError", float(status >= 500), "Count")
            _record(api_id, stage, "Latency", (time.time() - started) * 1000, "Milliseconds")

    async def integrate(integration: Any, api_id: str, stage: str, *rest: Any, **named: Any) -> Any:
        started = time.time()
        try:
            return await proxy(integration, api_id, stage, *rest, **named)
        finally:
            _record(api_id, stage, "IntegrationLatency", (time.time() - started) * 1000, "Milliseconds")

    gateway._handle_execute_in_scope = through_the_door
    gateway._invoke_lambda_proxy_v1 = integrate


def _record(api_id: str, stage: str, metric: str, value: float, unit: str) -> None:
    name = (gateway._rest_apis.get(api_id) or {}).get("name", api_id)
    for dimensions in ({"ApiName": name}, {"ApiName": name, "Stage": stage}):
        cloudwatch.record_metric(_NAMESPACE, metric, value, unit, dimensions)
