"""How long a minute of CloudWatch and of EventBridge is here: sixty seconds, unless who tests alarms cannot wait for real ones.

`EMULATOR_MINUTE_SECONDS=15` makes the periods of alarms and the schedules that are rates four times shorter. Everything else keeps its time: what functions
measure, what they wait for, and the waits of pages, which are parameters of the template.
"""

_REAL = 60.0
_seconds = _REAL


def lasts(seconds: float) -> None:
    """From now on a minute has so many seconds."""
    global _seconds
    _seconds = seconds


def is_short() -> bool:
    """Whether a minute is shorter than a real one."""
    return _seconds < _REAL


def scaled(seconds: float) -> float:
    """How long here takes what takes so many seconds on AWS."""
    return seconds * _seconds / _REAL
