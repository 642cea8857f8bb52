"""What a function says that ends before it is ready: a setting that is missing, a build that does not start.

Upstream: it is only in the emulator's own log. On AWS it is in the function's log group, which is where its operator looks.
"""

import inspect
from typing import Any

from ministack.services import lambda_svc


def needed() -> bool:
    """True while an environment that fails hands on no log."""
    return '"log": ""' in inspect.getsource(lambda_svc._execute_function_provided_warm)


def apply() -> None:
    """Log the reason of an environment that failed before it said anything else."""
    stock = lambda_svc._execute_function_provided_warm

    def execute(*args: Any, **named: Any) -> dict[str, Any]:
        result = stock(*args, **named)
        if result.get("error") and not result.get("log") and isinstance(result.get("body"), dict):
            result["log"] = str(result["body"].get("errorMessage", ""))
        return result

    lambda_svc._execute_function_provided_warm = execute
