"""What the emulator does by itself every few seconds: gauges of its queues, and a look at all alarms."""

import logging
import threading
import time
from collections.abc import Callable

# Often enough for a test that waits, seldom enough for one process that also answers every request.
SECONDS = 3.0

_log = logging.getLogger("alarms")
_work: list[Callable[[float], None]] = []
_started = threading.Event()


def every_tick(work: Callable[[float], None]) -> None:
    """Call this with the time at each tick, in the order of registration; what it raises is logged and ends nothing."""
    _work.append(work)
    if not _started.is_set():
        _started.set()
        threading.Thread(target=_run, name="alarms", daemon=True).start()


def _run() -> None:
    while True:
        time.sleep(SECONDS)
        now = time.time()
        for work in list(_work):
            try:
                work(now)
            except Exception:
                _log.exception("a tick failed")
