"""Tests of the Python SDK: python3 -m unittest, in this folder."""

import glob
import importlib.util
import os
import pty
import random
import subprocess
import sys
import tempfile
import threading
import unittest

import filter

HERE = os.path.dirname(os.path.abspath(__file__))
TRANSCRIPTS = os.path.join(HERE, "..", "..", "protocol", "transcripts")
BRIDGE = os.path.join(HERE, "filter-python")
ID, KEY = 0x5E55000000000001, b"5e55000000000001"
HELLO = b"config|protocol|0.7\nconfig|ready\n"


def ask(phase, token=b"a1", arg=b"", key=KEY):
    return b"filter|0.7|1.000001|smtp-in|%s|%s|%s|%s\n" % (phase, key, token, arg)


def report(event, *fields, key=KEY):
    return b"|".join((b"report|0.7|1.000001|smtp-in", event, key) + fields) + b"\n"


class Fake:
    """A bridge without a server: what was answered is in out."""

    def __init__(self, hello=HELLO, **hooks):
        self.out = b""
        self.bridge = filter.use(filter.Bridge(hooks, self._write))
        self.bridge.feed(hello)
        self.asked, self.out = self.out, b""

    def _write(self, data):
        self.out += data

    def feed(self, *lines):
        self.bridge.feed(b"".join(lines))
        return self.take()

    def take(self):
        out, self.out = self.out, b""
        return out


class Transcripts(unittest.TestCase):
    def load(self):
        spec = importlib.util.spec_from_file_location("reference", os.path.join(HERE, "testdata", "reference.py"))
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return {name: getattr(module, name) for name in filter.HOOKS if hasattr(module, name)}

    def play(self, path, cut):
        """Feed a transcript in pieces of cut bytes; answers must come out in its order."""
        with open(path, "rb") as f:
            lines = f.read().split(b"\n")[:-1]
        head = lines.index(b"< config|ready") + 1
        fake = Fake(b"".join(x[2:] + b"\n" for x in lines[:head] if x.startswith(b"< ")), **self.load())
        given, wanted, asked = [], [], set()
        for line in lines[head:]:
            fields = line[2:].split(b"|")
            if line.startswith(b"< "):
                if b"register|%s|smtp-in|%s\n" % (fields[0], fields[4]) not in fake.asked:
                    asked.discard(tuple(fields[5:7]))
                    continue
                asked.add(tuple(fields[5:7]))
                given.append(line[2:] + b"\n")
            elif line.startswith(b"> ") and tuple(fields[1:3]) in asked:
                wanted.append(line[2:] + b"\n")
        data = b"".join(given)
        for i in range(0, len(data), cut):
            fake.bridge.feed(data[i:i + cut])
        self.assertEqual(fake.out, b"".join(wanted))
        self.assertEqual(fake.bridge.sessions, {}, "sessions that ended are forgotten")

    def test_all(self):
        paths = glob.glob(os.path.join(TRANSCRIPTS, "*.txt"))
        self.assertGreater(len(paths), 10)
        for path in sorted(paths):
            for cut in (1, 7, 100, 1 << 20):
                with self.subTest(os.path.basename(path), cut=cut):
                    self.play(path, cut)


class Registration(unittest.TestCase):
    def test_only_what_is_defined(self):
        fake = Fake(on_helo=lambda id, helo: None)
        self.assertEqual(fake.asked, b"register|report|smtp-in|link-disconnect\nregister|filter|smtp-in|helo\n"
                                     b"register|filter|smtp-in|ehlo\nregister|ready\n")

    def test_message_size_only_if_offered_and_needed(self):
        offer = b"config|feature|message-size\nconfig|ready\n"
        feature = b"register|feature|message-size\n"
        eom, line = (lambda id, size: None), (lambda id, line: None)
        self.assertIn(feature, Fake(offer, on_eom=eom).asked)
        self.assertNotIn(feature, Fake(on_eom=eom).asked)
        self.assertNotIn(feature, Fake(offer, on_eom=eom, on_dataline=line).asked)

    def test_unknown_config_is_ignored(self):
        self.assertIn(b"register|ready", Fake(b"config|\nconfig|new|thing\nconfig|ready\n", on_data=print).asked)


class Answers(unittest.TestCase):
    def test_words(self):
        for call, want in (
            (lambda id, _: filter.accept(id), b"proceed"),
            (lambda id, _: filter.reject(id), b"reject|550 5.7.1 Refused by a filter"),
            (lambda id, _: filter.reject(id, filter.FILTER_OK), b"reject|550 5.7.1 Refused by a filter"),
            (lambda id, _: filter.reject(id, filter.FILTER_CLOSE), b"disconnect|550 5.7.1 Refused by a filter"),
            (lambda id, _: filter.reject_code(id, filter.FILTER_FAIL, 451, "try later"), b"reject|451 try later"),
            (lambda id, _: filter.reject_code(id, filter.FILTER_FAIL, 400, "a|b"), b"reject|400 a|b"),
            (lambda id, _: filter.reject_code(id, filter.FILTER_CLOSE, 599, "\xe9"), b"disconnect|599 \xc3\xa9"),
            (lambda id, _: filter.reject_code(id, filter.FILTER_FAIL, 550, "a\r\nb\0"), b"reject|550 a  b "),
            (lambda id, _: filter.reject_code(id, filter.FILTER_FAIL, 550, ""), b"reject|550 Refused"),
        ):
            self.assertEqual(Fake(on_helo=call).feed(ask(b"helo")), b"filter-result|%s|a1|%s\n" % (KEY, want))

    def test_wrong_codes(self):
        for code in (250, 399, 600, "550", None):
            fake = Fake(on_helo=lambda id, _: filter.reject_code(id, filter.FILTER_FAIL, code, "x"))
            with self.assertRaisesRegex(ValueError, "400 to 599"):
                fake.feed(ask(b"helo"))

    def test_twice(self):
        def on_helo(id, helo):
            filter.accept(id)
            filter.accept(id)
        fake = Fake(on_helo=on_helo)
        with self.assertRaisesRegex(filter.FilterError, "answered already"):
            fake.feed(ask(b"helo"))
        self.assertEqual(fake.take(), b"filter-result|%s|a1|proceed\n" % KEY)

    def test_not_an_id(self):
        fake = Fake(on_helo=lambda session, helo: filter.accept("x"), on_data=lambda session: None)
        with self.assertRaisesRegex(TypeError, "the int that the hook was given"):
            fake.feed(ask(b"helo"))
        fake.feed(ask(b"data"))
        with self.assertRaisesRegex(TypeError, "the int that the hook was given"):
            filter.accept(id)       # outside of a hook the built-in means nothing

    def test_the_built_in_as_the_article_has_it(self):
        fake = Fake(on_connect=lambda session, local, remote, hostname: filter.accept(id))
        self.assertEqual(fake.feed(ask(b"connect", b"c", b"h|192.0.2.1")), b"filter-result|%s|c|proceed\n" % KEY)

    def test_later_from_another_hook(self):
        fake = Fake(on_connect=lambda *a: None, on_commit=filter.accept)
        self.assertEqual(fake.feed(ask(b"connect", b"c", b"h|192.0.2.1")), b"")
        self.assertEqual(fake.feed(report(b"tx-commit", b"0badcafe", b"1")), b"filter-result|%s|c|proceed\n" % KEY)

    def test_events_may_be_answered_in_vain(self):
        fake = Fake(on_commit=filter.accept, on_rollback=filter.accept, on_disconnect=filter.accept)
        self.assertEqual(fake.feed(report(b"tx-commit", b"m", b"1"), report(b"tx-rollback", b"m"),
                                   report(b"link-disconnect")), b"")

    def test_after_the_client_left(self):
        fake = Fake(on_data=lambda id: None, on_rollback=lambda id: None)
        fake.feed(ask(b"data"), report(b"tx-rollback", b"m"))
        filter.accept(ID)
        fake.feed(report(b"link-disconnect"))
        filter.accept(ID)
        self.assertEqual(fake.take(), b"")

    def test_from_many_threads(self):
        asked = []
        fake = Fake(on_helo=lambda id, _: asked.append(id))
        keys = [b"%016x" % n for n in range(1, 1001)]
        fake.feed(*(ask(b"helo", b"t" + k, b"x", k) for k in keys))
        random.shuffle(asked)
        threads = [threading.Thread(target=lambda part: [filter.accept(i) for i in part], args=(asked[n::8],))
                   for n in range(8)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual(sorted(fake.take().splitlines()), [b"filter-result|%s|t%s|proceed" % (k, k) for k in keys])


class Messages(unittest.TestCase):
    def lines(self, *lines):
        return [ask(b"data-line", b"d1", x) for x in lines]

    def out(self, *lines):
        return b"".join(b"filter-dataline|%s|d1|%s\n" % (KEY, x) for x in lines)

    def test_bytes_survive(self):
        seen = []
        fake = Fake(on_dataline=lambda id, line: (seen.append(line), filter.writeln(id, line)))
        raw = (b"", b"..", b"..x", b"a|b", b"\xe9\xff", "é".encode(), b"\0", b"x\r", b".")
        self.assertEqual(fake.feed(*self.lines(*raw)), self.out(*raw))
        self.assertEqual(seen[1:3], [".", ".x"])
        self.assertEqual(seen[5], "é")

    def test_a_single_dot_is_taken_away(self):
        fake = Fake(on_dataline=filter.writeln)
        self.assertEqual(fake.feed(*self.lines(b".x", b".y", b".")), self.out(b"x", b"y", b"."))

    def test_on_eom_may_still_write_and_answer_later(self):
        kept = []
        fake = Fake(on_dataline=lambda id, line: kept.append(line), on_eom=lambda id, size: kept.append(size))
        self.assertEqual(fake.feed(*self.lines(b"one", b"..two", b".")), b"")
        self.assertEqual(kept, ["one", ".two", 9])
        filter.writeln(ID, ".footer")
        filter.reject(ID, filter.FILTER_FAIL)
        self.assertEqual(fake.take(), self.out(b"..footer", b"."))
        self.assertIn(b"|c1|reject|550", fake.feed(ask(b"commit", b"c1")))
        with self.assertRaises(filter.FilterError):
            filter.writeln(ID, "late")

    def test_an_answer_is_for_one_message(self):
        fake = Fake(on_dataline=filter.writeln, on_eom=lambda id, size: filter.accept(id))
        fake.feed(*self.lines(b"x", b"."), report(b"tx-rollback", b"m"))     # commit was never asked
        self.assertEqual(fake.feed(*self.lines(b"y", b".")), self.out(b"y", b"."))
        self.assertEqual(fake.feed(ask(b"commit", b"c1")), b"filter-result|%s|c1|proceed\n" % KEY)

    def test_size_of_the_server(self):
        sizes = []
        fake = Fake(b"config|feature|message-size\nconfig|ready\n", on_eom=lambda id, size: sizes.append(size))
        fake.feed(ask(b"commit", b"c", b"195"), ask(b"commit", b"c", b""))
        self.assertEqual(sizes, [195, 0])

    def test_wrong_lines(self):
        fake = Fake(on_dataline=lambda id, line: filter.writeln(id, "a\nb"))
        with self.assertRaisesRegex(ValueError, "one line"):
            fake.feed(*self.lines(b"x"))
        fake = Fake(on_helo=lambda id, helo: filter.writeln(id, "x"))
        with self.assertRaisesRegex(filter.FilterError, "outside a message"):
            fake.feed(ask(b"helo"))

    def test_a_dead_message_is_written_in_vain(self):
        fake = Fake(on_dataline=lambda id, line: None)
        fake.feed(*self.lines(b"x"), report(b"tx-rollback", b"m"))
        filter.writeln(ID, "x")
        self.assertEqual(fake.take(), b"")

    def test_a_line_that_looks_like_another_head(self):
        # The second line is a report; the head of a data line in it is only text.
        seen = []
        fake = Fake(on_dataline=lambda id, line: seen.append(line))
        fake.feed(*self.lines(b"x"), report(b"tx-rollback", b"|smtp-in|data-line|%s|d1|no" % KEY))
        self.assertEqual(seen, ["x"])


class Arguments(unittest.TestCase):
    def connect(self, *link, arg=b"host|192.0.2.1"):
        got = []
        fake = Fake(on_connect=lambda *a: got.extend(a))
        if link:
            fake.feed(report(b"link-connect", *link))
        fake.feed(ask(b"connect", b"c", arg))
        return tuple(got[1:])

    def test_connect(self):
        self.assertEqual(self.connect(b"h", b"pass", b"192.0.2.1:9", b"192.0.2.2:25", arg=b"h|192.0.2.1"),
                         ("192.0.2.2", "192.0.2.1", "h"))
        self.assertEqual(self.connect(b"h", b"pass", b"[2001:db8::1]:9", b"[2001:db8::2]:25", arg=b"h|[2001:db8::1]"),
                         ("2001:db8::2", "2001:db8::1", "h"))
        self.assertEqual(self.connect(b"mx", b"pass", b"unix:/s:1", b"unix:/s:1", arg=b"mx|local"), ("local", "local", "mx"))
        self.assertEqual(self.connect(arg=b"<unknown>|[2001:db8::1]"), ("", "2001:db8::1", "<unknown>"))

    def test_addresses_get_the_servers_name(self):
        got = []
        fake = Fake(on_mail=lambda id, a: got.append(a))
        fake.feed(report(b"link-greeting", b"mx.example"))
        for a in (b"gilles", b"a@b", b"", b'"x@y"', b'"x@y"@z', b"\xe9"):
            fake.feed(ask(b"mail-from", b"m", a))
        self.assertEqual(got, ["gilles@mx.example", "a@b", "", '"x@y"@mx.example', '"x@y"@z', "\udce9@mx.example"])


class BrokenServers(unittest.TestCase):
    def test_lines(self):
        for line in (b"filter|0.7|1.0|smtp-in|helo\n", b"report|0.7|1.0|smtp-in|tx-mail\n",
                     ask(b"noop"), ask(b"helo", key=b"xyz")):
            with self.subTest(line), self.assertRaises(filter.ProtocolError):
                Fake(on_helo=lambda id, helo: filter.accept(id)).feed(line)
        with self.assertRaises(filter.ProtocolError):
            Fake(b"hello\n", on_helo=print)

    def test_length_of_a_line(self):
        fake = Fake(on_dataline=filter.writeln)
        head = ask(b"data-line", b"d1")[:-1]
        fake.feed(head + b"x" * (filter.MAX_LINE - len(head)), b"\n")
        with self.assertRaisesRegex(filter.ProtocolError, "more than"):
            for _ in range(filter.MAX_LINE // 1024 + 1):
                fake.feed(b"x" * 1024)

    def test_random_bytes_never_hang_or_leak_other_errors(self):
        rnd = random.Random(5)
        words = [b"filter", b"report", b"|", b"|", b"0.7", b"smtp-in", b"data-line", b"helo", b"\n", KEY, b".", b"\xff", b"a1"]
        for _ in range(3000):
            fake = Fake(on_helo=lambda id, helo: filter.accept(id), on_dataline=filter.writeln)
            try:
                fake.feed(b"".join(rnd.choice(words) for _ in range(rnd.randrange(40))))
            except filter.ProtocolError:
                pass


class Program(unittest.TestCase):
    def run_script(self, script, text=HELLO):
        with tempfile.TemporaryDirectory() as d:
            path = os.path.join(d, "script.py")
            with open(path, "w") as f:
                f.write(script)
            return subprocess.run([sys.executable, BRIDGE, path, "arg"], input=text, capture_output=True, timeout=60)

    def test_prints_go_to_the_log(self):
        p = self.run_script("import filter, os, sys\nprint(sys.argv[1:], flush=True)\n"
                            "def on_helo(id, helo):\n  print('caf\\udce9')\n  os.system('echo child')\n  filter.accept(id)\n",
                            HELLO + ask(b"helo"))
        self.assertEqual(p.stdout.splitlines()[-1], b"filter-result|%s|a1|proceed" % KEY)
        self.assertEqual(p.stderr, b"['arg']\ncaf\\udce9\nchild\n")
        self.assertEqual(p.returncode, 0)

    def test_an_exception_ends_the_filter(self):
        p = self.run_script("import filter\ndef on_helo(id, helo):\n  filter.accept(id)\n  1 / 0\n", HELLO + ask(b"helo"))
        self.assertEqual(p.returncode, 1)
        self.assertIn(b"ZeroDivisionError", p.stderr)
        self.assertTrue(p.stdout.endswith(b"|proceed\n"), "what was answered before stands")

    def test_no_hooks_no_script_no_server(self):
        self.assertIn(b"defines none of", self.run_script("x = 1\n").stderr)
        self.assertEqual(self.run_script("def on_data(id): pass\n", b"config|protocol|0.7\n").returncode, 1)
        p = subprocess.run([sys.executable, BRIDGE, "/nonexistent.py"], input=HELLO, capture_output=True, timeout=60)
        self.assertEqual((p.returncode, p.stderr), (1, b"filter-python: /nonexistent.py: no such file\n"))

    def test_by_hand_it_says_what_it_is(self):
        ours, its = pty.openpty()
        try:
            p = subprocess.run([sys.executable, BRIDGE, "x.py"], stdin=its, capture_output=True, timeout=60)
        finally:
            os.close(ours)
            os.close(its)
        self.assertEqual(p.returncode, 0)
        self.assertIn(b'filter NAME python "', p.stderr)


class Readme(unittest.TestCase):
    def test_the_example_test_runs(self):
        with open(os.path.join(HERE, "README.md")) as f:
            text = f.read()
        block = text[text.index("    import filtertest"):text.index("Put this folder into")]
        code = "\n".join(line[4:] for line in block.splitlines())
        here = os.getcwd()
        os.chdir(os.path.join(HERE, "..", "..", "filters", "callbacks"))
        try:
            exec(code, {})
        finally:
            os.chdir(here)


class Memory(unittest.TestCase):
    def test_sessions_are_forgotten(self):
        fake = Fake(on_helo=lambda id, helo: filter.accept(id))
        for n in range(20000):
            fake.feed(ask(b"helo", key=b"%016x" % n), report(b"link-disconnect", key=b"%016x" % n))
        self.assertEqual(fake.bridge.sessions, {})


if __name__ == "__main__":
    unittest.main()
