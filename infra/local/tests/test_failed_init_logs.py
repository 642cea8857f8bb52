"""Why a function does not start is in its log."""

import subprocess
import sys
import unittest

from tests.stack import LOCAL

_SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
from ministack.services import lambda_svc
from fixes import failed_init_logs
failed_init_logs.apply()

class Worker:
    def __init__(self, result): self.result = result
    def invoke(self, *_, **__):
        if isinstance(self.result, Exception): raise self.result
        return self.result

def run(result):
    lambda_svc.acquire_worker = lambda *_, **__: (Worker(result), "")
    lambda_svc.release_worker = lambda _: None
    lambda_svc.invalidate_worker = lambda *_, **__: None
    function = {"config": {"FunctionName": "f", "FunctionArn": "arn:aws:lambda:us-east-1:000000000000:function:f"}, "code_zip": b"x"}
    return lambda_svc._execute_function_provided_warm(function, {}, "r").get("log")

print(run(RuntimeError("TABLE_NAME is not set")))
print(run({"status": "error", "error": "a panic", "log": "its own words"}))
print(run({"status": "ok", "result": {}, "log": "a line"}))
"""


class FailedInitLogs(unittest.TestCase):
    def test_the_reason_is_logged_and_what_a_function_said_itself_stays(self) -> None:
        command = [sys.executable, "-c", _SCRIPT, str(LOCAL)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
        self.assertEqual(done.stdout.splitlines(), ["TABLE_NAME is not set", "its own words", "a line"])
