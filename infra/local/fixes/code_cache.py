"""Unpacked function packages that pile up on disk.

Upstream: each version of a function's code is unpacked once into a folder of its own, and the folders stay until
the emulator ends. An afternoon of edits with debug builds (30-60 MB each, four functions) is gigabytes. This keeps
the newest few; a folder that is needed after all is unpacked again, and a running process does not miss its file.
"""

import inspect
import os
import shutil

from ministack.services import lambda_svc

# Four functions, and some versions of each for invocations that are still running.
KEPT = 16


def needed() -> bool:
    """True while unpacking only ever removes the folder that it is about to write."""
    return "rmtree(code_dir" in inspect.getsource(lambda_svc._provided_runtime_code_dir)


def apply() -> None:
    """Drop the folders used longest ago each time one is asked for."""
    stock = lambda_svc._provided_runtime_code_dir

    def code_dir(code_zip: bytes) -> str:
        path = stock(code_zip)
        os.utime(path)
        with lambda_svc._provided_code_lock:
            _drop_oldest(os.path.dirname(path))
        return path

    lambda_svc._provided_runtime_code_dir = code_dir


def _drop_oldest(cache: str) -> None:
    folders = sorted((entry for entry in os.scandir(cache) if entry.is_dir()), key=lambda entry: entry.stat().st_mtime)
    for entry in folders[:-KEPT]:
        shutil.rmtree(entry.path, ignore_errors=True)
