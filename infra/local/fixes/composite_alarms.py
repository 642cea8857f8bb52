"""Composite alarms in a template, and alarms that keep others quiet.

Upstream: `AWS::CloudWatch::CompositeAlarm` is an unknown type (the API's PutCompositeAlarm works), and `ActionsSuppressor` is ignored. Here, as
on AWS, a composite alarm with a suppressor waits before it acts (`ActionsSuppressorWaitPeriod`); it does not act while the suppressor is in
ALARM, and for `ActionsSuppressorExtensionPeriod` after that. OK actions follow only an ALARM that acted, and are lost while the suppressor is in ALARM.
Unlike on AWS, what begins in the extension period is not suppressed by it.
Reference: https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-combining.html
"""

import json
import time
from dataclasses import dataclass
from typing import Any

from ministack.core.responses import get_account_id, get_region, request_scope
from ministack.services import cloudwatch
from ministack.services.cloudformation import provisioners

from alarms import ticker

_TYPE = "AWS::CloudWatch::CompositeAlarm"
Key = tuple[str, str, str]


@dataclass
class _Held:
    """An ALARM whose actions have not been performed, and what they wait for."""

    by: str
    since: float
    old: str
    reason: str


_held: dict[Key, _Held] = {}


def needed() -> bool:
    """True while the provisioner does not know the type."""
    return _TYPE not in provisioners._RESOURCE_HANDLERS


def apply() -> None:
    """Add the type, and hold actions back where a suppressor says so."""
    stock = cloudwatch._dispatch_alarm_actions

    def dispatch(alarm: dict[str, Any], old: str, new: str, reason: str) -> None:
        key = (get_account_id(), get_region(), alarm["AlarmName"])
        if new == "ALARM" and alarm.get("ActionsSuppressor"):
            _hold(key, alarm, _Held("Alarm" if _suppresses(alarm) else "WaitPeriod", time.time(), old, reason))
        elif _held.pop(key, None) is not None:
            alarm.pop("ActionsSuppressedBy", None)
        elif not (alarm.get("ActionsSuppressor") and _suppresses(alarm)):
            stock(alarm, old, new, reason)

    def release(now: float) -> None:
        for key, held in list(_held.items()):
            with request_scope(key[0], key[1]):
                alarm = cloudwatch._composite_alarms.get(key[2])
                if alarm is None:
                    _held.pop(key, None)
                elif _is_over(alarm, held, now) and _held.pop(key, None):
                    alarm.pop("ActionsSuppressedBy", None)
                    stock(alarm, held.old, "ALARM", held.reason)

    cloudwatch._dispatch_alarm_actions = dispatch
    provisioners._RESOURCE_HANDLERS[_TYPE] = {"create": _create, "update": _update, "delete": _delete}
    ticker.every_tick(release)


def _create(logical_id: str, properties: dict[str, Any], stack_name: str) -> tuple[str, dict[str, str]]:
    name = properties.get("AlarmName") or provisioners._physical_name(stack_name, logical_id, max_len=255)
    return _put(name, properties)


def _update(physical_id: str, _old: dict[str, Any], new: dict[str, Any], stack_name: str, logical_id: str | None = None) -> tuple[str, dict[str, str]]:
    name = new.get("AlarmName") or physical_id
    made = _put(name, new)
    if name != physical_id:
        _delete(physical_id, {})
    return made


def _put(name: str, properties: dict[str, Any]) -> tuple[str, dict[str, str]]:
    request = {**properties, "AlarmName": name, "ActionsEnabled": str(properties.get("ActionsEnabled", True)).lower() != "false"}
    existing = cloudwatch._composite_alarms.get(name)
    if existing is None:
        # Without actions until the suppressor is known: the new alarm takes its first state at once.
        quiet = {**request, "AlarmActions": [], "OKActions": [], "InsufficientDataActions": []}
        _checked(cloudwatch._put_composite_alarm({}, quiet, False, True))
    else:
        _checked(cloudwatch._put_composite_alarm({}, request, False, True))
    alarm = cloudwatch._composite_alarms[name]
    for field in ("AlarmActions", "OKActions", "InsufficientDataActions"):
        alarm[field] = [str(action) for action in properties.get(field) or []]
    if suppressor := properties.get("ActionsSuppressor"):
        alarm["ActionsSuppressor"] = suppressor
        for field in ("ActionsSuppressorWaitPeriod", "ActionsSuppressorExtensionPeriod"):
            if field not in properties:
                raise ValueError(f"{field} is required where there is an ActionsSuppressor")
            alarm[field] = int(properties[field])
    if existing is None and alarm["StateValue"] == "ALARM":
        cloudwatch._dispatch_alarm_actions(alarm, "INSUFFICIENT_DATA", "ALARM", alarm["StateReason"])
    return name, {"Arn": alarm["AlarmArn"]}


def _delete(physical_id: str, _properties: dict[str, Any]) -> None:
    cloudwatch._composite_alarms.pop(physical_id, None)


def _checked(answer: tuple[int, dict[str, str], bytes]) -> None:
    status, _, body = answer
    if status != 200:
        raise ValueError(json.loads(body).get("message", "the composite alarm was refused"))


def _suppresses(alarm: dict[str, Any]) -> bool:
    return cloudwatch._rule_alarm_state(alarm["ActionsSuppressor"]) == "ALARM"


def _hold(key: Key, alarm: dict[str, Any], held: _Held) -> None:
    _held[key] = held
    alarm["ActionsSuppressedBy"] = held.by


def _is_over(alarm: dict[str, Any], held: _Held, now: float) -> bool:
    """Whether the actions are due; notes what they wait for otherwise."""
    if _suppresses(alarm):
        held.by = "Alarm"
    elif held.by == "Alarm":
        held.by, held.since = "ExtensionPeriod", now
    alarm["ActionsSuppressedBy"] = held.by
    limits = {"WaitPeriod": "ActionsSuppressorWaitPeriod", "ExtensionPeriod": "ActionsSuppressorExtensionPeriod"}
    return held.by in limits and now - held.since >= alarm[limits[held.by]]
