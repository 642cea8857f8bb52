"""The Python of README.md, as it is printed there."""

import contextlib
import io
import re
import unittest
from pathlib import Path

from sdk.stack import URL

README = Path(__file__).resolve().parents[2] / "README.md"


class Readme(unittest.TestCase):
    def test_every_python_block_works(self) -> None:
        blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
        self.assertGreaterEqual(len(blocks), 1)
        for block in blocks:
            self.assertIn("http://localhost:8000", block)
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                exec(compile(block.replace("http://localhost:8000", URL), "README.md", "exec"), {})
            self.assertIn("run_", printed.getvalue())
