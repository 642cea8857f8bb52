"""Faults in deliveries: what a standard queue may do to the messages it gives to an event source mapping.

The emulator's mapping takes messages in the same process, not over HTTP, so it is hooked where it takes and deletes them:

- `duplicate`: a message in flight is delivered once more while the first delivery is worked on: same id, the receive
  count goes on, and the first receipt handle means nothing any more (at-least-once delivery);
- `late`: a message that could be delivered waits for up to `delay_ms` while others overtake it (no order);
- `undeleted`: a message that is done is not deleted, and comes back when its visibility ends.
"""

import threading
import time
from typing import Any

from ministack.core.concurrency import esm_wake
from ministack.services import sqs

from gateway.faults import Faults


class Deliveries:
    """Stands between the event source mapping and the queues."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._take = sqs._receive_messages_for_esm
        self._remove = sqs._delete_messages_for_esm
        # Ids of messages in flight that are to be delivered again, and when; under the queues' lock.
        self._again: dict[str, float] = {}

    def install(self) -> None:
        """From now on the emulator asks this object."""
        sqs._receive_messages_for_esm = self.take
        sqs._delete_messages_for_esm = self.remove

    def take(self, queue_url: str, most: int) -> list[dict[str, Any]]:
        """Messages for the mapping, as the rules will have it."""
        with sqs._queues_lock:
            now = time.time()
            for message in sqs._get_q(queue_url)["messages"]:
                if self._again.get(message["id"], now + 1) <= now:
                    del self._again[message["id"]]
                    message["visible_at"] = now
                elif message["visible_at"] <= now and (rule := self._faults.of_delivery("late")):
                    self._wake_after(delay := rule.dice.random() * rule.delay_ms / 1000)
                    message["visible_at"] = now + delay
            batch = self._take(queue_url, most)
            for message in batch:
                if rule := self._faults.of_delivery("duplicate"):
                    self._wake_after(delay := rule.dice.random() * rule.delay_ms / 1000)
                    self._again[message["id"]] = now + delay
            return batch

    def remove(self, queue_url: str, receipts: set[str]) -> None:
        """Deletes what the mapping has done, as the rules will have it."""
        self._remove(queue_url, {receipt for receipt in receipts if not self._faults.of_delivery("undeleted")})

    def _wake_after(self, seconds: float) -> None:
        timer = threading.Timer(seconds + 0.01, esm_wake.set)
        timer.daemon = True
        timer.start()
