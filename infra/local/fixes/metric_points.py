"""What is kept of a metric's values.

Upstream: every value ever recorded is a dictionary of its own for two weeks, and each call of the CloudWatch API walks through all of
them. With metrics for each request (fixes/metrics_of_*.py) that is hundreds of megabytes after a load test. Here a metric has one point
a second, later one a minute, with exact count, sum, least and greatest, and for percentiles its values in three digits.
"""

import inspect
import threading
import time
from typing import Any

from ministack.services import cloudwatch

from alarms import ticker

# As long as alarms with short periods look back; after that a minute is fine enough.
_FINE_SECONDS = 20 * 60
_TIDY_EVERY_SECONDS = 60

_lock = threading.RLock()
_last_tidied = time.time()


class Series(list[dict[str, Any]]):
    """The points of one metric; appending a value adds it to the point of its second."""

    def __init__(self) -> None:
        super().__init__()
        self._by_second: dict[int, dict[str, Any]] = {}

    def append(self, point: dict[str, Any]) -> None:
        second = int(point["Timestamp"])
        fresh = _summary(point, second)
        with _lock:
            if there := self._by_second.get(second):
                _merge(there, fresh)
            else:
                self._by_second[second] = fresh
                super().append(fresh)

    def tidy(self, now: float) -> None:
        """Make points of minutes from old ones, and forget the oldest."""
        kept: dict[int, dict[str, Any]] = {}
        with _lock:
            for point in self:
                second = int(point["Timestamp"])
                if second < now - cloudwatch.TWO_WEEKS_SECONDS:
                    continue
                if second < now - _FINE_SECONDS:
                    second -= second % 60
                if second in kept:
                    _merge(kept[second], point)
                else:
                    kept[second] = {**point, "Timestamp": second}
            self._by_second = kept
            self[:] = list(kept.values())


def needed() -> bool:
    """True while the emulator keeps a list of single values."""
    return "_metrics[key] = [p for p in pts" in inspect.getsource(cloudwatch._evict_old_metrics)


def apply() -> None:
    """Put series in the place of lists; all that reads points reads these as well."""
    stock_samples = cloudwatch._percentile_samples

    def bucket(key: tuple[str, str, str]) -> list[dict[str, Any]]:
        with _lock:
            series = cloudwatch._metrics.get(key)
            if series is None:
                series = cloudwatch._metrics[key] = Series()
            return series

    def samples(points: list[dict[str, Any]]) -> Any:
        if any(point.get("_values", 0) is None for point in points):
            return None  # a statistic set has no percentiles
        found = [sample for point in points for sample in point.get("_values", {}).items()]
        if any(value < 0 for value, _ in found):
            return None
        return found or stock_samples(points)

    cloudwatch._metric_bucket = bucket
    cloudwatch._percentile_samples = samples
    cloudwatch._evict_old_metrics = lambda: None
    ticker.every_tick(_tidy)


def _tidy(now: float) -> None:
    global _last_tidied
    if now < _last_tidied + _TIDY_EVERY_SECONDS:
        return
    _last_tidied = now
    for key, series in list(cloudwatch._metrics._data.items()):
        series.tidy(now)
        if not series:
            cloudwatch._metrics._data.pop(key, None)


def _summary(point: dict[str, Any], second: int) -> dict[str, Any]:
    count, total, low, high = cloudwatch._point_stats(point)
    single = low == high and total == low * count
    return {
        "Timestamp": second,
        "Unit": point["Unit"],
        "Dimensions": point["Dimensions"],
        "_stat": {"SampleCount": count, "Sum": total, "Minimum": low, "Maximum": high},
        "_values": {float(f"{low:.3g}"): count} if single else None,
    }


def _merge(into: dict[str, Any], point: dict[str, Any]) -> None:
    old, new = into["_stat"], point["_stat"]
    # A new dictionary: readers without the lock see the old numbers or the new ones.
    into["_stat"] = {
        "SampleCount": old["SampleCount"] + new["SampleCount"],
        "Sum": old["Sum"] + new["Sum"],
        "Minimum": min(old["Minimum"], new["Minimum"]),
        "Maximum": max(old["Maximum"], new["Maximum"]),
    }
    if into["_values"] is None or point["_values"] is None:
        into["_values"] = None
        return
    values = dict(into["_values"])
    for value, count in point["_values"].items():
        values[value] = values.get(value, 0) + count
    into["_values"] = values
