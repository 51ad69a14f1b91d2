"""Tests of @NAME@ that need no server: python3 -m unittest"""

import os
import sys
import unittest

# Where filter.py, the bridge, is installed; a PYTHONPATH comes before it.
sys.path.append(os.environ.get("WEIR_LIBEXEC", "/usr/local/libexec/weir"))

import filter  # noqa: E402
import @FILE@  # noqa: E402

REFUSAL = "reject|550 5.7.1 No mail from there, please"


class Test(unittest.TestCase):
    def ask(self, address):
        out = []
        bridge = filter.use(filter.Bridge({"on_mail": @FILE@.on_mail}, out.append))
        bridge.feed(b"config|protocol|0.7\nconfig|ready\n")
        out.clear()
        bridge.feed(b"filter|0.7|1.0|smtp-in|mail-from|00000000000000ab|01|" + address.encode() + b"\n")
        return b"".join(out).decode().rstrip("\n").split("|", 3)[3]

    def test_refused(self):
        self.assertEqual(self.ask("somebody@spam.example"), REFUSAL)
        self.assertEqual(self.ask("somebody@SPAM.Example"), REFUSAL)

    def test_others(self):
        for address in "somebody@notspam.example", "somebody@spam.example.net", "":
            self.assertEqual(self.ask(address), "proceed")


if __name__ == "__main__":
    unittest.main()
