"""Tests of messages, coroutines and the test double: python3 -m unittest, in this folder."""

import asyncio
import os
import random
import subprocess
import sys
import tempfile
import unittest

import filter
import filterasync
import filtermessage
import filtertest
from filter import Message

HERE = os.path.dirname(os.path.abspath(__file__))
BRIDGE = os.path.join(HERE, "filter-python")

MIME = b"""Received: from x\r
\tby y\r
Subject: =?utf-8?q?caf=C3=A9?=\r
 and more\r
Content-Type: multipart/mixed; boundary=b\r
\r
--b\r
Content-Type: text/plain; charset=iso-8859-1\r
\r
na\xefve\r
--b\r
Content-Type: application/octet-stream; name="a.bin"\r
Content-Disposition: attachment; filename="a.bin"\r
Content-Transfer-Encoding: base64\r
\r
AAH/\r
--b--\r
"""


class Messages(unittest.TestCase):
    def test_headers(self):
        m = Message.from_bytes(MIME)
        self.assertEqual([name for name, _ in m.headers], [b"Received", b"Subject", b"Content-Type"])
        self.assertEqual(m.header("received"), b"from x\tby y")
        self.assertEqual(m.header(b"SUBJECT"), b"=?utf-8?q?caf=C3=A9?= and more")
        self.assertEqual(m.text("subject"), "caf\u00e9 and more")
        self.assertIsNone(m.header("X-None"))
        self.assertEqual(m.text("X-None"), "")

    def test_parts(self):
        parts = Message.from_bytes(MIME).parts
        self.assertEqual([p.content_type for p in parts], ["text/plain", "application/octet-stream"])
        self.assertEqual(parts[0].content, b"na\xefve")
        self.assertEqual((parts[0].charset, parts[0].filename), ("iso-8859-1", None))
        self.assertEqual((parts[1].filename, parts[1].content), ("a.bin", b"\x00\x01\xff"))
        self.assertEqual(parts[1].header("content-transfer-encoding"), b"base64")
        self.assertIsNone(parts[1].header("x"))
        plain = Message.from_bytes(b"\nx\xff\n").parts
        self.assertEqual([(p.content_type, p.content) for p in plain], [("text/plain", b"x\xff\n")])

    def test_changes(self):
        m = Message.from_bytes(b"A: 1\nB: 2\n 2\na: 3\n\nA: body\n")
        self.assertEqual(m.remove_header("a"), 2)
        m.add_header("C", "x\ny\0")
        self.assertEqual(m.raw, b"C: x y \nB: 2\n 2\n\nA: body\n")
        self.assertEqual(m.body, b"A: body\n")
        m.body = b".\n\nx"
        self.assertEqual(m.lines, [b"C: x y ", b"B: 2", b" 2", b"", b".", b"", b"x"])
        self.assertEqual(Message.from_bytes(b"A: 1\n").body, b"")
        self.assertEqual(Message.from_bytes(b"").headers, [])
        for wrong in ("", "a b", "a:", "\u00e9", b"a\n"):
            with self.assertRaises(ValueError):
                m.add_header(wrong, "x")
        for wrong in ([b"a\nb"], ["a"]):
            with self.assertRaises(ValueError):
                m.lines = wrong

    def test_random_bytes_never_raise(self):
        rnd = random.Random(3)
        words = [b"Subject: ", b"=?utf-8?b?", b"?=", b"=?x?q?=", b"\n", b"\n", b":", b" ", b"\xff", b"Content-Type: multipart/a; boundary=b\n",
                 b"--b\n", b"Content-Transfer-Encoding: base64\n", b"\0", b"charset=unknown-8bit", b"a"]
        for _ in range(2000):
            raw = b"".join(rnd.choice(words) for _ in range(rnd.randrange(30)))
            m = Message.from_bytes(raw)
            self.assertEqual(m.raw, raw if raw.endswith(b"\n") or not raw else raw + b"\n")
            m.text("subject")
            for p in m.parts:
                self.assertIsInstance(p.content, bytes)
                p.content_type, p.filename, p.charset, p.header("subject")
            m.remove_header("Subject")
            self.assertIsNone(m.header("Subject"))


class OnMessage(unittest.TestCase):
    def play(self, hook, text, **hooks):
        return filtertest.Server({"on_message": hook, **hooks}).session().message(text)

    def test_untouched_is_untouched(self):
        raw = b"Subject: \xff\n\n.\n..\n\0|\r\n\n"
        self.assertEqual(self.play(lambda id, m: filter.accept(id), raw), (raw, "proceed"))

    def test_envelope(self):
        seen = []
        s = filtertest.Server({"on_message": lambda id, m: (seen.append((m.sender, m.recipients)), filter.accept(id))}).session()
        for sender in ("a@b", "gilles"):
            s.mail(sender), s.rcpt("c@d"), s.rcpt("e"), s.message("x")
        s.report("tx-rcpt", "0badcafe", "permfail", "no@d")
        self.assertEqual(seen, [("a@b", ("c@d", "e@mx.example")), ("gilles@mx.example", ("c@d", "e@mx.example"))])

    def test_old_versions_have_another_order(self):
        seen = []
        server = filtertest.Server({"on_message": lambda id, m: (seen.append((m.sender, m.recipients)), filter.accept(id))})
        for event, fields in (("tx-begin", "m"), ("tx-mail", "m|a@b|ok"), ("tx-rcpt", "m|x|y@d|ok"), ("tx-rcpt", "m|no|permfail")):
            server.feed(b"report|0.5|1.0|smtp-in|%s|01|%s\n" % (event.encode(), fields.encode()))
        server.feed(b"filter|0.5|1.0|smtp-in|data-line|01|t|.\n")
        self.assertEqual(seen, [("a@b", ("x|y@d",))])

    def test_an_answer_later_takes_what_the_message_is_then(self):
        kept = []
        server = filtertest.Server({"on_message": lambda id, m: kept.append(m), "on_commit": lambda id: None})
        s = server.session()
        self.assertEqual(s.message("x\n"), (b"", None))
        kept[0].add_header("A", "b")
        filter.accept(s.id)
        self.assertEqual(server._take(b"filter-dataline|")[0].split(b"|")[-1], b"A: b")

    def test_too_big(self):
        before = filtermessage.MAX_MESSAGE, filter.MAX_MESSAGE
        filter.MAX_MESSAGE = 100
        try:
            hook = lambda id, m: filter.accept(id)
            self.assertEqual(self.play(hook, b"x" * 99 + b"\n")[1], "proceed")
            self.assertEqual(self.play(hook, b"x" * 100 + b"\n"), (b"", filter.TOO_BIG.decode()))
        finally:
            filtermessage.MAX_MESSAGE, filter.MAX_MESSAGE = before

    def test_not_with_the_hooks_that_it_replaces(self):
        for name in ("on_dataline", "on_eom"):
            with self.assertRaisesRegex(filter.FilterError, "takes the place"):
                filtertest.Server({"on_message": print, name: print})

    def test_a_transaction_that_ends_within_the_message_is_forgotten(self):
        server = filtertest.Server({"on_message": lambda id, m: filter.accept(id)})
        s = server.session()
        server.feed(b"filter|0.7|1.0|smtp-in|data-line|%016x|t|one\n" % s.id)
        s.rollback()
        self.assertEqual(s.message("two\n"), (b"two\n", "proceed"))


class Coroutines(unittest.TestCase):
    def test_answers(self):
        async def on_rcpt(id, address):
            await asyncio.sleep(0)
            filter.reject_code(id, filter.FILTER_FAIL, 550, address)
        s = filtertest.Server({"on_rcpt": on_rcpt, "on_mail": lambda id, a: filter.accept(id)}).session()
        self.assertEqual((s.mail("a@b"), s.rcpt("c@d")), ("proceed", "reject|550 c@d"))

    def test_lines_keep_their_order(self):
        async def on_dataline(id, line):
            if line.startswith("slow"):
                await asyncio.sleep(0.001)
            filter.writeln(id, line)
        server = filtertest.Server({"on_dataline": on_dataline})
        text = b"a\nslow 1\nb\n.\nslow 2\nc\n"
        self.assertEqual(server.session().message(text), (text, "proceed"))

    def test_message(self):
        async def on_message(id, message):
            await asyncio.sleep(0.001)
            message.add_header("X", "y")
            filter.accept(id)
        self.assertEqual(filtertest.Server({"on_message": on_message}).session().message("a: b\n"), (b"X: y\na: b\n", "proceed"))

    def test_sessions_do_not_wait_for_each_other(self):
        gate = {}

        async def on_helo(id, helo):
            gate[helo] = asyncio.Event()
            await gate[helo].wait()
            filter.reject_code(id, filter.FILTER_FAIL, 450, helo)
        out = []

        async def main():
            bridge = filter.use(filterasync.AsyncBridge({"on_helo": on_helo}, out.append))
            bridge.feed(b"config|ready\n" + b"".join(
                b"filter|0.7|1|smtp-in|helo|%016x|t|%d\n" % (n, n) for n in range(1000)))
            await asyncio.sleep(0)
            order = list(gate)
            random.Random(1).shuffle(order)
            for name in order:
                gate[name].set()
            await bridge.idle()
            return order
        order = asyncio.run(main())
        self.assertEqual(b"".join(out).splitlines()[-1000:],
                         [b"filter-result|%016x|t|reject|450 %d" % (int(n), int(n)) for n in order])

    def test_a_late_answer_is_for_its_own_question(self):
        # The server lost patience with t1 and asks t2: that waits for t1's hook.
        async def main():
            gate, out = asyncio.Event(), []

            async def on_rcpt(id, address):
                if address == "slow":
                    await gate.wait()
                filter.reject_code(id, filter.FILTER_FAIL, 450, address)
            bridge = filter.use(filterasync.AsyncBridge({"on_rcpt": on_rcpt}, out.append))
            bridge.feed(b"config|ready\nfilter|0.7|1|smtp-in|rcpt-to|01|t1|slow\nfilter|0.7|1|smtp-in|rcpt-to|01|t2|fast\n")
            await asyncio.sleep(0)
            gate.set()
            await bridge.idle()
            return b"".join(out).splitlines()[-2:]
        self.assertEqual(asyncio.run(main()), [b"filter-result|01|t1|reject|450 slow", b"filter-result|01|t2|reject|450 fast"])

    def test_events_may_be_answered_in_vain(self):
        async def answer(id):
            await asyncio.sleep(0)
            filter.accept(id)
        s = filtertest.Server({"on_commit": answer, "on_rollback": answer, "on_disconnect": answer}).session()
        s.report("tx-commit", "m", "1"), s.rollback(), s.end()

    def test_an_exception_comes_out(self):
        async def on_data(id):
            await asyncio.sleep(0)
            1 / 0
        with self.assertRaises(ZeroDivisionError):
            filtertest.Server({"on_data": on_data}).session().data()

    def run_script(self, script, text):
        with tempfile.TemporaryDirectory() as d:
            path = os.path.join(d, "script.py")
            with open(path, "w") as f:
                f.write(script)
            return subprocess.run([sys.executable, BRIDGE, path], input=text, capture_output=True, timeout=60)

    def test_the_program(self):
        ask = b"config|ready\nfilter|0.7|1|smtp-in|helo|01|t|x\n"
        head = "import asyncio, filter\nasync def on_helo(id, helo):\n  await asyncio.sleep(0.01)\n"
        p = self.run_script(head + "  filter.accept(id)\n", ask)
        self.assertEqual((p.stdout.splitlines()[-1], p.stderr, p.returncode), (b"filter-result|01|t|proceed", b"", 0))
        p = self.run_script(head + "  1 / 0\n", ask)
        self.assertEqual(p.returncode, 1)
        self.assertIn(b"ZeroDivisionError", p.stderr)

    def test_more_lines_than_may_wait(self):
        text = b"config|ready\n" + b"filter|0.7|1|smtp-in|data-line|01|t|x\n" * (2 * filterasync.MAX_WAITING) \
            + b"filter|0.7|1|smtp-in|data-line|01|t|.\n"
        p = self.run_script("import asyncio, filter\nasync def on_dataline(id, line):\n  await asyncio.sleep(0)\n"
                            "  filter.writeln(id, line)\n", text)
        self.assertEqual((p.stdout.count(b"|t|x\n"), p.stderr), (2 * filterasync.MAX_WAITING, b""))
        self.assertTrue(p.stdout.endswith(b"|t|.\n"))


class Examples(unittest.TestCase):
    def test_decide(self):
        s = filtertest.Server(os.path.join(HERE, "example", "decide.py")).session()
        self.assertEqual(s.mail("x@SPAM.example"), "reject|550 5.7.1 No mail from there, please")
        self.assertEqual(s.mail("x@example.org"), "proceed")
        self.assertEqual(s.message("Subject: the Lottery\n\n"), (b"Subject: the Lottery\n\n", "reject|550 5.7.1 No lottery here, please"))
        self.assertEqual(s.message("Subject: hi\n\nlottery\n"), (b"X-Decide: seen\nSubject: hi\n\nlottery\n", "proceed"))

    def test_later(self):
        s = filtertest.Server(os.path.join(HERE, "example", "later.py")).session()
        self.assertEqual(s.rcpt("nobody@example.org"), "reject|550 5.1.1 Nobody here has that name")
        self.assertEqual(s.rcpt("a@example.org"), "proceed")

    def test_double(self):
        s = filtertest.Server({"on_helo": lambda id, helo: None}).session()
        self.assertEqual((s.helo("x"), s.connect(), s.data()), (None, "proceed", "proceed"))
        filter.accept(s.id)
        s = filtertest.Server({"on_connect": lambda id, l, r, h: filter.reject_code(id, 1, 550, f"{l} {r} {h}")}).session(remote="192.0.2.9")
        self.assertEqual(s.connect(), "reject|550 198.51.100.1 192.0.2.9 client.example")


if __name__ == "__main__":
    unittest.main()
