"""SQS message move tasks: StartMessageMoveTask, ListMessageMoveTasks, CancelMessageMoveTask.

Upstream: InvalidAction. They are how a dead-letter queue is redriven on AWS, from our API and from the
console, so the local stack needs them to behave alike: one running task per source, an optional rate, a task
can be cancelled, moved messages are new messages (new id, receive count 0, a new retention period), and
without a destination each message goes back to the queue it came from.
API reference: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_StartMessageMoveTask.html
"""

import contextvars
import json
import threading
import time
from typing import Any

from ministack.services import sqs

Task = dict[str, Any]

# AWS moves as fast as it can without a rate; 500 a second is its documented upper bound for a rate.
_MAX_RATE = 500
_LISTED_MOST = 10
_tasks: dict[str, Task] = {}


def needed() -> bool:
    """True while the emulator has no such action."""
    return "StartMessageMoveTask" not in sqs._HANDLERS


def apply() -> None:
    """Register the three actions."""
    sqs._HANDLERS.update(
        StartMessageMoveTask=start,
        ListMessageMoveTasks=list_tasks,
        CancelMessageMoveTask=cancel,
    )


def start(request: dict[str, Any], _url: str) -> dict[str, Any]:
    """Start moving what is on the source now; answers its handle at once."""
    source_arn = request.get("SourceArn", "")
    source = _queue(source_arn, "SourceArn")
    destination_arn = request.get("DestinationArn")
    if destination_arn:
        _queue(destination_arn, "DestinationArn")
    if not _is_dead_letter_queue(source_arn):
        raise sqs._Err("InvalidParameterValue", "Source queue must be configured as a Dead Letter Queue.")
    if any(task["SourceArn"] == source_arn and task["Status"] == "RUNNING" for task in _tasks.values()):
        raise sqs._Err(
            "InvalidParameterValue",
            "There is already a task running. Only one active task is allowed for a source queue arn at a given time.",
        )
    task: Task = {
        "TaskHandle": sqs.new_uuid(),
        "Status": "RUNNING",
        "SourceArn": source_arn,
        "ApproximateNumberOfMessagesMoved": 0,
        "ApproximateNumberOfMessagesToMove": len(source["messages"]),
        "StartedTimestamp": int(time.time() * 1000),
    }
    if destination_arn:
        task["DestinationArn"] = destination_arn
    if rate := request.get("MaxNumberOfMessagesPerSecond"):
        task["MaxNumberOfMessagesPerSecond"] = _rate(rate)
    _tasks[task["TaskHandle"]] = task
    # The account and region of the request live in context variables.
    context = contextvars.copy_context()
    threading.Thread(target=context.run, args=(_move_all, task, source), daemon=True).start()
    return {"TaskHandle": task["TaskHandle"]}


def list_tasks(request: dict[str, Any], _url: str) -> dict[str, Any]:
    """The newest tasks of a source; as on AWS only a running one shows its handle."""
    source_arn = request.get("SourceArn", "")
    _queue(source_arn, "SourceArn")
    # Newest first: a dict keeps the order of insertion, which also tells equal milliseconds apart.
    found = [task for task in reversed(_tasks.values()) if task["SourceArn"] == source_arn]
    most = min(int(request.get("MaxResults") or 1), _LISTED_MOST)
    return {"Results": [_public(task) for task in found[:most]]}


def cancel(request: dict[str, Any], _url: str) -> dict[str, Any]:
    """Stop a running task; what it has moved stays moved."""
    task = _tasks.get(request.get("TaskHandle", ""))
    if task is None or task["Status"] != "RUNNING":
        raise sqs._Err("ResourceNotFoundException", "The task handle names no running task.")
    task["Status"] = "CANCELLING"
    return {"ApproximateNumberOfMessagesMoved": task["ApproximateNumberOfMessagesMoved"]}


def _move_all(task: Task, source: dict[str, Any]) -> None:
    rate = task.get("MaxNumberOfMessagesPerSecond")
    for _ in range(task["ApproximateNumberOfMessagesToMove"]):
        if task["Status"] != "RUNNING":
            task["Status"] = "CANCELLED"
            return
        with sqs._queues_lock:
            try:
                moved = _move_one(source, task.get("DestinationArn"))
            except LookupError as error:
                task.update(Status="FAILED", FailureReason=str(error))
                return
        if not moved:
            break
        task["ApproximateNumberOfMessagesMoved"] += 1
        sqs.esm_wake.set()
        if rate:
            time.sleep(1 / rate)
    task["Status"] = "COMPLETED"


def _move_one(source: dict[str, Any], destination_arn: str | None) -> bool:
    """Move the first visible message; False when there is none. The caller holds the lock."""
    now = time.time()
    message = next((m for m in source["messages"] if m["visible_at"] <= now), None)
    if message is None:
        return False
    system = dict(message.get("sys") or {})
    origin_arn = system.pop("DeadLetterQueueSourceArn", "")
    target = sqs._queue_by_arn(destination_arn or origin_arn)
    if target is None:
        raise LookupError("CouldNotDetermineMessageSource")
    source["messages"].remove(message)
    fresh = {
        **message,
        "id": sqs.new_uuid(),
        "receipt_handle": None,
        "sent_at": now,
        "visible_at": now,
        "receive_count": 0,
        "first_receive_at": None,
        "sys": {**system, "SentTimestamp": str(int(now * 1000))},
    }
    fresh.pop("enqueued_at", None)
    target["messages"].append(fresh)
    return True


def _queue(arn: str, parameter: str) -> dict[str, Any]:
    queue = sqs._queue_by_arn(arn)
    if queue is None:
        raise sqs._Err("ResourceNotFoundException", f"The resource that you specified for the {parameter} parameter doesn't exist.")
    return queue


def _is_dead_letter_queue(arn: str) -> bool:
    policies = (queue["attributes"].get("RedrivePolicy") for queue in sqs._queues.values())
    return any(json.loads(policy).get("deadLetterTargetArn") == arn for policy in policies if policy)


def _rate(value: Any) -> int:
    rate = int(value)
    if not 1 <= rate <= _MAX_RATE:
        raise sqs._Err("InvalidParameterValue", f"MaxNumberOfMessagesPerSecond must be between 1 and {_MAX_RATE}.")
    return rate


def _public(task: Task) -> Task:
    return {key: value for key, value in task.items() if key != "TaskHandle" or task["Status"] == "RUNNING"}
