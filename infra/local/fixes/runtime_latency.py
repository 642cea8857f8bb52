"""40 ms of waiting in each warm invocation of a native function.

Upstream: the emulator's Lambda Runtime API writes the headers and the body of `/next` as two small packets
without TCP_NODELAY, so the second one waits until the function's side acknowledges the first, which it delays by
40 ms. Measured with a Rust function that logs one line: 55 ms per request, 12 ms with this fix.
(A function that logs nothing waits another 50 ms for a log line; ours log each request.)
"""

import inspect
from typing import Any

from ministack.core import lambda_runtime

_Worker = lambda_runtime.ProvidedWorker


def needed() -> bool:
    """True while the handler of the Runtime API leaves Nagle's algorithm on."""
    return "disable_nagle_algorithm" not in inspect.getsource(_Worker)


def apply() -> None:
    """Set TCP_NODELAY on each connection of the Runtime API."""
    stock = _Worker._build_handler_class

    def build_handler_class(self: Any, *rest: Any) -> type:
        return type("PromptHandler", (stock(self, *rest),), {"disable_nagle_algorithm": True})

    _Worker._build_handler_class = build_handler_class
