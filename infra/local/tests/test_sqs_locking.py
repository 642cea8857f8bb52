"""The lock of the queues, in a process of its own, because a fix changes the emulator for good."""

import subprocess
import sys
import unittest

from tests.stack import LOCAL

_SCRIPT = """
import asyncio, sys, threading
sys.path.insert(0, sys.argv[1])
from ministack.services import sqs
from fixes import sqs_locking
if sys.argv[2] == "fixed":
    sqs_locking.apply()
url = sqs._act_create_queue({"QueueName": "q"}, "")["QueueUrl"]
send = threading.Thread(target=lambda: sqs._HANDLERS["SendMessage"]({"QueueUrl": url, "MessageBody": "x"}, ""), daemon=True)
with sqs._queues_lock:  # as the poller of mappings holds it while it rebuilds the list
    send.start()
    # Who does not wait may be slow to begin; who waits, waits until the lock is free.
    send.join(0.3 if sys.argv[2] == "fixed" else 20)
    print("waits" if send.is_alive() else "does not wait", end=" ")
send.join(5)
print(len(asyncio.run(sqs._HANDLERS["ReceiveMessage"]({"QueueUrl": url}, ""))["Messages"]), end="")
"""


class Locking(unittest.TestCase):
    def run_with(self, how: str) -> str:
        command = [sys.executable, "-c", _SCRIPT, str(LOCAL), how]
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout

    def test_a_send_waits_while_the_poller_rebuilds_the_list(self) -> None:
        self.assertEqual(self.run_with("fixed"), "waits 1")

    def test_the_stock_emulator_does_not_wait(self) -> None:
        self.assertEqual(self.run_with("stock"), "does not wait 1", "upstream locks now: delete fixes/sqs_locking.py")
