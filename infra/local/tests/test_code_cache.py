"""The folder of unpacked packages stays small however often a function changes."""

import subprocess
import sys
import tempfile
import unittest

from tests.stack import LOCAL

_SCRIPT = """
import io, os, sys, tempfile, zipfile
tempfile.tempdir = sys.argv[2]
sys.path.insert(0, sys.argv[1])
from ministack.services import lambda_svc
from fixes import code_cache
code_cache.apply()

def package(text):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as zipped:
        zipped.writestr("bootstrap", text)
    return out.getvalue()

first = lambda_svc._provided_runtime_code_dir(package("0"))
for number in range(1, 40):
    last = lambda_svc._provided_runtime_code_dir(package(str(number)))
print(len(os.listdir(os.path.dirname(last))), os.path.isdir(first))
again = lambda_svc._provided_runtime_code_dir(package("0"))
print(open(os.path.join(again, "bootstrap")).read())
"""


class CodeCache(unittest.TestCase):
    def test_only_the_newest_packages_stay_unpacked_and_an_old_one_comes_back(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-c", _SCRIPT, str(LOCAL), folder]
            done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
        self.assertEqual(done.stdout.split(), ["16", "False", "0"])
