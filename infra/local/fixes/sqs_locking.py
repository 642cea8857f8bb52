"""Messages that were lost between the queue's API and its event source mapping.

Upstream: SendMessage, DeleteMessage and ReceiveMessage run on the event loop without a lock; the poller
of event source mappings runs on its own thread, under `_queues_lock`. Both rebuild the list of messages
(`q["messages"] = kept`), so a message sent between the end of such a loop and its assignment vanishes. Rare,
but a product that promises that no accepted run is lost cannot be tested on a queue that loses some.
Here every function that reads or changes the list holds the one lock, which becomes re-entrant for that.
"""

import functools
import inspect
import threading
from collections.abc import Callable
from typing import Any

from ministack.services import sqs

# ReceiveMessage waits in between (long polling), so its parts hold the lock, not the whole.
_RECEIVE_PARTS = ("_expire_retained", "_dlq_sweep", "_collect_msgs", "_refresh_counts")


def needed() -> bool:
    """True while the handlers do not take the lock."""
    return "_queues_lock" not in inspect.getsource(sqs._act_delete_message) + inspect.getsource(sqs._dispatch)


def apply() -> None:
    """Put each synchronous handler, and each part of ReceiveMessage, under one re-entrant lock."""
    sqs._queues_lock = threading.RLock()
    for action, handler in sqs._HANDLERS.items():
        if not inspect.iscoroutinefunction(handler):
            sqs._HANDLERS[action] = _locked(handler)
    for name in _RECEIVE_PARTS:
        setattr(sqs, name, _locked(getattr(sqs, name)))


def _locked(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def locked(*args: Any, **named: Any) -> Any:
        with sqs._queues_lock:
            return function(*args, **named)

    return locked
