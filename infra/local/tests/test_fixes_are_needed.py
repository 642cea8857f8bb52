"""Each fix says itself whether the pinned emulator still needs it; after an upgrade this tells which to delete."""

import os
import tempfile
import unittest

# The emulator reads its settings at import; none of them matters here, but it must not log or listen.
os.environ.update(LOG_LEVEL="ERROR", STACK_DIR=tempfile.gettempdir())

import fixes  # noqa: E402


class FixesAreNeeded(unittest.TestCase):
    def test_each_fix_adds_what_the_stock_emulator_lacks(self) -> None:
        for fix in fixes.ALL:
            with self.subTest(fix.__name__):
                self.assertTrue(fix.needed(), f"the emulator now does this itself: delete {fix.__name__}")

    def test_each_fix_says_what_is_missing_upstream(self) -> None:
        for fix in fixes.ALL:
            with self.subTest(fix.__name__):
                self.assertIn("pstream", fix.__doc__ or "")
