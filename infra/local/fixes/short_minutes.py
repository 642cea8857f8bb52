"""Schedules in short minutes (alarms/minute.py).

Upstream: a rate() is in real minutes, looked at every ten seconds. A test that lets a sign of the sweeper go bad and well again waits for several of them.
"""

import inspect

from ministack.services import eventbridge

from alarms import minute

_LOOKS_A_MINUTE = 12


def needed() -> bool:
    """True while rates are in real minutes whatever anybody wants."""
    return "return n * 60" in inspect.getsource(eventbridge._parse_rate_seconds)


def apply() -> None:
    """Shorten rates where minutes are short, and look at them more often."""
    if not minute.is_short():
        return
    stock = eventbridge._parse_rate_seconds

    def rate(expression: str) -> float | None:
        seconds = stock(expression)
        return None if seconds is None else minute.scaled(seconds)

    eventbridge._parse_rate_seconds = rate
    eventbridge._SCHEDULER_TICK_INTERVAL = minute.scaled(60) / _LOOKS_A_MINUTE
