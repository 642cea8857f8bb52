"""`GatewayResponses` of an `AWS::Serverless::Api`.

SAM writes them into the API's OpenAPI body as `x-amazon-apigateway-gateway-responses`. Upstream: the import of
a body skips that key (the resource type AWS::ApiGateway::GatewayResponse does work), so a local client
would get the gateway's own error texts instead of problem documents.
"""

import inspect
from typing import Any

from ministack.services import apigateway_v1 as gateway

_KEY = "x-amazon-apigateway-gateway-responses"


def needed() -> bool:
    """True while the emulator's API Gateway does not know the key."""
    return _KEY not in inspect.getsource(gateway)


def apply() -> None:
    """Read the key after the emulator has imported the rest of the body."""
    stock = gateway._import_rest_api

    def import_rest_api(spec: dict[str, Any], base_data: dict[str, Any] | None = None) -> str:
        api_id = stock(spec, base_data)
        for kind, response in (spec.get(_KEY) or {}).items():
            status, _headers, body = gateway._put_gateway_response(api_id, kind, response)
            if status >= 400:
                raise ValueError(f"gateway response {kind} was refused: {body!r}")
        return api_id

    gateway._import_rest_api = import_rest_api
