"""`AWS/SQS`: how many messages a queue has, and how old the oldest is.

Upstream: none. AWS measures once a minute, this every few seconds. The age of a dead letter counts from its move, as on AWS.
Reference: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-available-cloudwatch-metrics.html
"""

import inspect

from ministack.core.responses import request_scope
from ministack.services import cloudwatch, sqs

from alarms import ticker

_NAMESPACE = "AWS/SQS"
_COUNTS = {
    "ApproximateNumberOfMessagesVisible": "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible": "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed": "ApproximateNumberOfMessagesDelayed",
}


def needed() -> bool:
    """True while the emulator's queues have no metrics."""
    return "record_metric" not in inspect.getsource(sqs)


def apply() -> None:
    """Measure all queues at each tick."""
    ticker.every_tick(_measure)


def _measure(now: float) -> None:
    for (account, region, _), queue in list(sqs._queues._data.items()):
        with sqs._queues_lock:
            sqs._refresh_counts(queue)
            attributes = dict(queue["attributes"])
            oldest = min((message.get("enqueued_at") or message["sent_at"] for message in queue["messages"]), default=now)
        dimensions = {"QueueName": attributes["QueueArn"].rsplit(":", 1)[1]}
        with request_scope(account, region):
            for metric, attribute in _COUNTS.items():
                cloudwatch.record_metric(_NAMESPACE, metric, float(attributes[attribute]), "Count", dimensions)
            cloudwatch.record_metric(_NAMESPACE, "ApproximateAgeOfOldestMessage", max(0.0, now - oldest), "Seconds", dimensions)
