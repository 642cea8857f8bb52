"""The emulator's Lambda Runtime API answers at once (in a process of its own, because a fix changes the emulator for good)."""

import subprocess
import sys
import unittest

from tests.stack import LOCAL

# `/next` as a native function sees it: headers in one packet, the event in the next, over a connection with delayed ACKs.
_SCRIPT = """
import http.client, queue, socketserver, sys, threading, time
sys.path.insert(0, sys.argv[1])
from ministack.core.lambda_runtime import ProvidedWorker
from fixes import runtime_latency
if sys.argv[2] == "fixed":
    runtime_latency.apply()
worker = ProvidedWorker("f", {}, b"")
worker._stopping = False
pending = queue.Queue()
server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), worker._build_handler_class(worker._generation, pending))
server.daemon_threads = True
threading.Thread(target=server.serve_forever, daemon=True).start()
client = http.client.HTTPConnection(*server.server_address)
times = []
for number in range(20):
    pending.put(("id", {"number": number}, 0, None, "arn"))
    started = time.perf_counter()
    client.request("GET", "/2018-06-01/runtime/invocation/next")
    client.getresponse().read()
    times.append(time.perf_counter() - started)
print(sorted(times)[10] * 1000)
"""


class RuntimeLatency(unittest.TestCase):
    def median_ms(self, how: str) -> float:
        command = [sys.executable, "-c", _SCRIPT, str(LOCAL), how]
        return float(subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout)

    def test_the_event_of_an_invocation_does_not_wait_for_an_acknowledgement(self) -> None:
        self.assertLess(self.median_ms("fixed"), self.median_ms("stock") / 2)
