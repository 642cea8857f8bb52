"""What a client of the REST API sees when a function fails (panic, exit, time-out).

Upstream: 502 with the function's own error text in the body, which leaks internals and hides that our
gateway responses cover this case on AWS. There it is a 502 with the text "Internal server error", shaped by the
DEFAULT_5XX gateway response of the API.
"""

import inspect
from typing import Any

from ministack.services import apigateway_v1 as gateway

# Carries "the function failed" from where the result is read to where gateway responses are known.
_MARK = "x-reprise-function-failed"
_STATUS = 502


class _FunctionFailed(gateway._GatewayError):
    def __init__(self) -> None:
        super().__init__("DEFAULT_5XX", "Internal server error", "InternalServerErrorException")


def needed() -> bool:
    """True while the error text of a failed function is the body of the answer."""
    return 'json.dumps({"message": err})' in inspect.getsource(gateway._invoke_lambda_proxy_v1)


def apply() -> None:
    """Mark a failed function's result, turn the mark into a gateway error, answer that with 502."""
    proxy_response = gateway._lambda_proxy_response
    execute = gateway._execute_in_scope
    error_response = gateway._gateway_error_response

    def marked_proxy_response(result: dict[str, Any]) -> Any:
        response, error = proxy_response(result)
        return ({"statusCode": _STATUS, "headers": {_MARK: "1"}, "body": ""}, None) if error else (response, None)

    async def execute_in_scope(*args: Any, **named: Any) -> Any:
        response = await execute(*args, **named)
        if isinstance(response, tuple) and _MARK in response[1]:
            return _FunctionFailed()
        return response

    def gateway_error_response(error: Any, request: dict[str, Any]) -> Any:
        status, headers, body = error_response(error, request)
        # DEFAULT_5XX names no status unless the template sets one; 500 is only the emulator's guess.
        if isinstance(error, _FunctionFailed) and status == 500:
            status = _STATUS
        return status, headers, body

    gateway._lambda_proxy_response = marked_proxy_response
    gateway._execute_in_scope = execute_in_scope
    gateway._gateway_error_response = gateway_error_response
