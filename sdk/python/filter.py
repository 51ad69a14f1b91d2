"""filter: write a mail filter in Python by defining a few functions.

A script defines any of these and is run by ``filter-python SCRIPT``:

    on_connect(id, local, remote, hostname)   a client connected       question
    on_helo(id, helo)                         HELO or EHLO             question
    on_mail(id, address)                      MAIL FROM                question
    on_rcpt(id, address)                      RCPT TO                  question
    on_data(id)                               DATA                     question
    on_dataline(id, line)                     one line of the message  writeln
    on_eom(id, size)                          the message is complete  question
    on_message(id, message)                   the same, as an object   question
    on_commit(id)                             it was accepted          event
    on_rollback(id)                           it was given up          event
    on_disconnect(id)                         the session is over      event

A question is answered by exactly one accept, reject or reject_code for its
id, in the hook or later: from another hook or from another thread. Nothing
else waits meanwhile. What a hook returns is ignored. A hook may be an "async
def"; then filterasync.py runs it.

This module is the whole bridge: it reads protocol/FILTER.md (0.5 to 0.7) on
standard input and answers on standard output. It needs Python 3.9 and the
standard library. What the script prints goes to standard error, the log. An
exception in a hook ends the filter with its traceback in the log: the server
then fails the mail that waited and starts the filter again.
"""

from __future__ import annotations

import builtins
import sys
import threading
from typing import Any, Callable, Optional, Union

from filtermessage import MAX_MESSAGE, Message, Part

__all__ = [
    "FILTER_OK", "FILTER_FAIL", "FILTER_CLOSE", "FilterError",
    "accept", "reject", "reject_code", "writeln", "Message", "Part", "Bridge", "use",
]

FILTER_OK, FILTER_FAIL, FILTER_CLOSE = 0, 1, 2
"""What reject does: FILTER_FAIL refuses, FILTER_CLOSE also drops the client."""

TOO_BIG = b"reject|552 5.3.4 Message too big for a filter"
"""The answer to a message of more than MAX_MESSAGE bytes, if there is on_message."""

REFUSED = "550 5.7.1 Refused by a filter"
"""The reply of a reject without a code."""

MAX_LINE = 1 << 20
"""Bytes of one protocol line, LF excluded; a longer one is a protocol error."""

READ_SIZE = 1 << 18
"""Bytes asked of one read."""

_FLUSH_PIECES = 4096     # queued pieces of output at which a hook's output is written
_KEY_WINDOW = 96         # bytes within which the head of a data line must end

# Which hook each question belongs to.
_QUESTIONS = {
    b"connect": "on_connect", b"helo": "on_helo", b"ehlo": "on_helo",
    b"mail-from": "on_mail", b"rcpt-to": "on_rcpt", b"data": "on_data",
    b"data-line": "on_dataline", b"commit": "on_eom",
}

# Which hook each event belongs to.
_EVENTS = {
    b"tx-commit": "on_commit", b"tx-rollback": "on_rollback",
    b"link-disconnect": "on_disconnect",
}

# Reports that a hook needs besides its own question.
_FEEDS = {
    "on_connect": (b"link-connect",),
    "on_mail": (b"link-greeting",),
    "on_rcpt": (b"link-greeting",),
    "on_dataline": (b"tx-rollback",),
    "on_message": (b"link-greeting", b"tx-begin", b"tx-mail", b"tx-rcpt", b"tx-rollback"),
}

HOOKS = tuple(dict.fromkeys(list(_QUESTIONS.values()) + ["on_message"] + list(_EVENTS.values())))
"""The names of all hooks."""


class FilterError(Exception):
    """The script used the API wrongly: answered twice, wrote where nothing is read."""


class ProtocolError(Exception):
    """The server sent a line that protocol/FILTER.md does not allow."""


class _Session:
    """What is known of one SMTP session between two lines of the protocol."""

    __slots__ = ("id", "key", "local", "remote", "hostname", "server",
                 "question", "stream", "size", "ending", "verdict", "gone",
                 "lines", "message", "sender", "recipients")

    def __init__(self, number: int, key: bytes) -> None:
        self.id = number
        self.key = key                          # as on the wire, 16 hex digits
        self.local = self.remote = self.hostname = self.server = ""
        self.question: Optional[bytes] = None   # token of the open question
        self.stream: Optional[bytes] = None     # head of our data lines while a message is open
        self.size = 0                           # bytes of the message so far, one LF a line
        self.ending = False                     # on_eom was asked and has not been answered
        self.verdict: Optional[bytes] = None    # its answer, until the server asks
        self.gone = False                       # what was open was given up; late answers are nobody's
        self.lines: Optional[list[bytes]] = None    # of the message, if there is on_message
        self.message: Optional[Message] = None  # what on_message was given, until it is answered
        self.sender = ""
        self.recipients: tuple[str, ...] = ()


def _text(raw: bytes) -> str:
    """Give raw as str; bytes that are not UTF-8 survive the way there and back."""
    return raw.decode("utf-8", "surrogateescape")


def _address(endpoint: bytes) -> str:
    """Give the address of "addr:port", "[v6]:port", "[v6]"; "local" for a socket."""
    if endpoint.startswith(b"unix:"):
        return "local"
    if endpoint.startswith(b"["):
        return _text(endpoint[1:].partition(b"]")[0])
    if endpoint.count(b":") == 1:
        endpoint = endpoint.partition(b":")[0]
    return _text(endpoint)


class Bridge:
    """One script, one server. Tests make their own; scripts use the module's."""

    def __init__(self, hooks: dict[str, Callable[..., Any]],
                 write: Callable[[bytes], object]) -> None:
        self.hooks = dict(hooks)
        self._raw = "on_message" in hooks   # our own on_dataline takes bytes
        if self._raw:
            if "on_dataline" in hooks or "on_eom" in hooks:
                raise FilterError("on_message takes the place of on_dataline and on_eom: define it, or them")
            self.hooks["on_dataline"] = self._keep
            self.hooks["on_eom"] = self._complete_message
        self.sessions: dict[int, _Session] = {}
        self._write = write
        self._out: list[bytes] = []
        self._lock = threading.Lock()       # held while output is written
        self._dispatching = False           # the reader will flush before it reads again
        self._event: Optional[_Session] = None  # session whose event hook runs
        self._asking: Optional[_Session] = None  # session whose question hook runs
        self._ready = False
        self._features: set[bytes] = set()
        self._tail: list[bytes] = []        # pieces of a line that is not complete yet
        self._tail_size = 0
        self._key = b"\n"                   # head of the newest data line: never matches at first
        self._key_session: Optional[_Session] = None

    # -- the script's side ------------------------------------------------

    def answer(self, number: int, verdict: bytes) -> None:
        """Answer the open question of a session."""
        if number is builtins.id and self._asking is not None:
            # The article's first script calls its parameter session and
            # answers for id. That can only mean the question that it was asked.
            number = self._asking.id
        if type(number) is not int:
            raise TypeError(f"the session id must be the int that the hook was given, not {number!r}")
        s = self.sessions.get(number)
        if s is None:                       # the client left meanwhile
            return
        if s.question is not None:
            token, s.question = s.question, None
            self._put(b"filter-result|%s|%s|%s\n" % (s.key, token, verdict))
        elif s.ending:
            s.ending = False
            s.verdict = verdict
            if s.message is not None:
                self._write_message(s)
            self._end_stream(s)
        elif self._event is not s and not s.gone:   # in an event an answer means nothing
            raise FilterError(f"session {number:#x}: no question is open: it was answered already, or never asked")

    def writeln(self, number: int, line: Union[str, bytes]) -> None:
        """Emit one line of the message."""
        raw = line.encode("utf-8", "surrogateescape") if type(line) is str else line
        s = self.sessions.get(number)
        if s is None or s.stream is None:
            if type(number) is int and (s is None or s.gone):
                return                      # the client left meanwhile
            raise FilterError(f"session {number!r}: writeln outside a message: it is open from the first "
                              "on_dataline to the answer of on_eom, and only if on_dataline is defined")
        if b"\n" in raw:
            raise ValueError("writeln takes one line, without its line end")
        # RFC 5321 s4.5.2: a line that begins with a dot gets one more.
        self._put(s.stream + (b"." + raw if raw[:1] == b"." else raw) + b"\n")

    def _keep(self, number: int, line: Any) -> None:
        # on_dataline of a script with on_message; line is bytes.
        s = self.sessions[number]
        if s.lines is None:
            s.lines = []
        if s.size > MAX_MESSAGE:
            s.lines.clear()
        else:
            s.lines.append(line)

    def _complete_message(self, number: int, size: int) -> Any:
        # on_eom of a script with on_message.
        s = self.sessions[number]
        lines, s.lines = s.lines or [], None
        if size > MAX_MESSAGE:
            self.answer(number, TOO_BIG)
            return None
        s.message = Message(lines, s.sender, s.recipients)
        return self.hooks["on_message"](number, s.message)

    def _write_message(self, s: _Session) -> None:
        message, s.message = s.message, None
        if s.stream is None or message is None:
            return
        for line in message.lines:
            self._put(s.stream + (b"." + line if line[:1] == b"." else line) + b"\n")

    def _end_stream(self, s: _Session) -> None:
        if s.stream is not None:
            head, s.stream = s.stream, None
            self._put(head + b".\n")

    def _put(self, piece: bytes) -> None:
        # An append is atomic, so threads need no lock here. Either the reader
        # sees the piece when it flushes, or it was no longer dispatching and
        # the thread flushes itself.
        self._out.append(piece)
        if not self._dispatching or len(self._out) >= _FLUSH_PIECES:
            self.flush()

    def flush(self) -> None:
        """Write everything that is queued."""
        with self._lock:
            out, self._out = self._out, []
            if out:
                self._write(b"".join(out))

    # -- the server's side ------------------------------------------------

    def feed(self, chunk: bytes) -> None:
        """Take what one read gave; answers are written before feed returns."""
        lines = chunk.split(b"\n")
        rest = lines.pop()
        if lines:
            if self._tail:
                lines[0] = b"".join(self._tail) + lines[0]
            self._tail, self._tail_size = [], 0
        if rest:
            self._tail.append(rest)
            self._tail_size += len(rest)
            if self._tail_size > MAX_LINE:
                raise ProtocolError(f"a line of more than {MAX_LINE} bytes")
        self._dispatching = True
        try:
            self._lines(lines)
        finally:
            self._dispatching = False
            self.flush()

    def _lines(self, lines: list[bytes]) -> None:
        # The hot path: a data line of the same message as the one before. Its
        # head, "|smtp-in|data-line|SESSION|TOKEN|", is found, not parsed. The
        # window is too short for it to stand inside another line's argument.
        hook, raw = self.hooks.get("on_dataline"), self._raw
        for line in lines:
            at = line.find(self._key, 7, _KEY_WINDOW)
            if at > 0 and line.startswith(b"filter|"):
                s = self._key_session
                content = line[at + len(self._key):]
                if content != b"." and s.stream is not None:  # type: ignore[union-attr]
                    if content[:1] == b".":
                        content = content[1:]
                    s.size += len(content) + 1                # type: ignore[union-attr]
                    hook(s.id, content if raw else content.decode("utf-8", "surrogateescape"))  # type: ignore
                    continue
            self._line(line)

    def _line(self, line: bytes) -> None:
        if not self._ready:
            self._config(line)
        elif line.startswith(b"filter|"):
            fields = line.split(b"|", 7)
            if len(fields) < 7:
                raise ProtocolError(f"want filter|VERSION|TIME|smtp-in|PHASE|SESSION|TOKEN|ARGUMENT, got {line!r}")
            self._question(self._session(fields[5], line), fields[4], fields[6],
                           fields[7] if len(fields) == 8 else b"")
        elif line.startswith(b"report|"):
            fields = line.split(b"|", 6)
            if len(fields) < 6:
                raise ProtocolError(f"want report|VERSION|TIME|smtp-in|EVENT|SESSION, got {line!r}")
            self._report(self._session(fields[5], line), fields[4],
                         fields[6] if len(fields) == 7 else b"", fields[1])
        # Other kinds of lines may come with later versions: not for us.

    def _session(self, key: bytes, line: bytes) -> _Session:
        try:
            number = int(key, 16)
        except ValueError:
            raise ProtocolError(f"want a session of 16 hex digits, got {key!r} in {line!r}") from None
        s = self.sessions.get(number)
        if s is None:
            s = self.sessions[number] = _Session(number, key)
        return s

    def _config(self, line: bytes) -> None:
        fields = line.split(b"|")
        if fields[0] != b"config":
            raise ProtocolError(f"want config|... until config|ready, got {line!r}")
        if fields[1:2] == [b"feature"] and len(fields) > 2:
            self._features.add(fields[2])
        elif fields[1:] == [b"ready"]:
            self._ready = True
            self._out.extend(self.registrations())

    def registrations(self) -> list[bytes]:
        """Give the lines that ask for what the script's hooks need, and no more."""
        reports = {b"link-disconnect": None}    # always: it ends what we keep of a session
        phases: dict[bytes, None] = {}
        for phase, name in _QUESTIONS.items():
            if name in self.hooks:
                phases[phase] = None
        for event, name in _EVENTS.items():
            if name in self.hooks:
                reports[event] = None
        for name, events in _FEEDS.items():
            if name in self.hooks:
                reports.update(dict.fromkeys(events))
        out = [b"register|report|smtp-in|%s\n" % e for e in reports]
        out += [b"register|filter|smtp-in|%s\n" % p for p in phases]
        if b"message-size" in self._features and "on_eom" in self.hooks and "on_dataline" not in self.hooks:
            out.append(b"register|feature|message-size\n")
        out.append(b"register|ready\n")
        return out

    def _question(self, s: _Session, phase: bytes, token: bytes, arg: bytes) -> None:
        name = _QUESTIONS.get(phase)
        if name is None or name not in self.hooks:
            raise ProtocolError(f"asked about {phase!r}, which was not registered")
        hook = self.hooks[name]
        if phase == b"data-line":
            self._data_line(s, token, arg, hook)
            return
        if phase == b"commit" and s.verdict is not None:    # on_eom was asked at the final dot
            self._put(b"filter-result|%s|%s|%s\n" % (s.key, token, s.verdict))
            s.verdict = None
            return
        s.question, s.gone = token, False
        self._asking = s
        try:
            self._ask(s, phase, arg, hook)
        finally:
            self._asking = None

    def _ask(self, s: _Session, phase: bytes, arg: bytes, hook: Callable[..., Any]) -> None:
        if phase == b"connect":
            hostname, _, address = arg.rpartition(b"|")
            hook(s.id, s.local, s.remote or _address(address), _text(hostname))
        elif phase == b"data":
            hook(s.id)
        elif phase == b"commit":
            hook(s.id, int(arg) if arg.isdigit() else 0)
        elif phase in (b"mail-from", b"rcpt-to"):
            hook(s.id, self._complete(s, _text(arg)))
        else:
            hook(s.id, _text(arg))

    @staticmethod
    def _complete(s: _Session, address: str) -> str:
        # A local part alone gets the server's name; the null path stays empty.
        if not address or not s.server or address.rfind("@") > address.rfind('"'):
            return address
        return f"{address}@{s.server}"

    def _data_line(self, s: _Session, token: bytes, content: bytes, hook: Callable[..., Any]) -> None:
        if s.stream is None:                # first line of a message
            s.stream = b"filter-dataline|%s|%s|" % (s.key, token)
            s.size = 0
            s.ending = s.gone = False
            s.verdict = s.lines = s.message = None
        self._key = b"|smtp-in|data-line|%s|%s|" % (s.key, token)
        self._key_session = s
        if content != b".":
            if content[:1] == b".":
                content = content[1:]
            s.size += len(content) + 1
            hook(s.id, content if self._raw else _text(content))
            return
        self._key, self._key_session = b"\n", None
        on_eom = self.hooks.get("on_eom")
        if on_eom is None:
            self._end_stream(s)
            return
        # The message is complete, and still open: on_eom may write more lines.
        # Its answer closes the message and waits for the commit question.
        s.ending = True
        on_eom(s.id, s.size)

    def _envelope(self, s: _Session, event: bytes, rest: bytes, version: bytes) -> None:
        # MESSAGE|RESULT|ADDRESS; up to 0.5 MESSAGE|ADDRESS|RESULT.
        fields = rest.split(b"|", 2)
        if event == b"tx-begin":
            s.sender, s.recipients = "", ()
        elif len(fields) == 3:
            result, address = fields[1:]
            if version in (b"0.4", b"0.5"):
                address, _, result = rest.partition(b"|")[2].rpartition(b"|")
            if result != b"ok":
                return
            if event == b"tx-mail":
                s.sender = self._complete(s, _text(address))
            else:
                s.recipients += (self._complete(s, _text(address)),)

    def _report(self, s: _Session, event: bytes, rest: bytes, version: bytes) -> None:
        if event == b"link-connect":
            fields = rest.rsplit(b"|", 2)   # rdns|fcrdns, source, destination
            if len(fields) == 3:
                s.remote, s.local = _address(fields[1]), _address(fields[2])
        elif event == b"link-greeting":
            s.server = sys.intern(_text(rest))
        elif event in (b"tx-begin", b"tx-mail", b"tx-rcpt"):
            self._envelope(s, event, rest, version)
        elif event in _EVENTS:              # commit, rollback or the end
            if event != b"tx-commit":       # whatever was still open is nobody's question now
                s.gone = s.gone or s.question is not None or s.stream is not None
                s.question, s.stream, s.ending, s.verdict = None, None, False, None
                s.lines = s.message = None
            hook = self.hooks.get(_EVENTS[event])
            if hook is not None:
                self._event = s
                try:
                    hook(s.id)
                finally:
                    self._event = None
        if event == b"link-disconnect":
            if self._key_session is s:
                self._key, self._key_session = b"\n", None
            self.sessions.pop(s.id, None)


# -- what scripts call ------------------------------------------------------

_bridge: Optional[Bridge] = None


def use(bridge: Bridge) -> Bridge:
    """Make accept and the others answer to bridge; for tests of a script."""
    global _bridge
    _bridge = bridge
    return bridge


def _current() -> Bridge:
    if _bridge is None:
        raise FilterError("no server: this script runs under filter-python")
    return _bridge


def accept(id: int) -> None:
    """Answer the open question of session id: go on."""
    _current().answer(id, b"proceed")


def reject(id: int, status: int = FILTER_FAIL) -> None:
    """Answer the open question of session id: refused, with a 550 of our own words.

    FILTER_CLOSE also drops the client; any other status refuses."""
    _current().answer(id, _verdict(status, REFUSED))


def reject_code(id: int, status: int, code: int, line: str) -> None:
    """Answer the open question of session id: refused with the reply "code line".

    code is 400 to 599; any other raises ValueError. Control bytes in line, which
    may come from outside, become spaces; an empty line becomes "Refused"."""
    if not isinstance(code, int) or not 400 <= code <= 599:
        raise ValueError(f"reject_code: a refusal has a code of 400 to 599, not {code!r}")
    line = "".join(" " if c < " " or c == "\x7f" else c for c in line) or "Refused"
    _current().answer(id, _verdict(status, f"{code} {line}"))


def writeln(id: int, line: Union[str, bytes]) -> None:
    """Emit one line of the message of session id, without its line end.

    What is written between the first on_dataline and the answer of on_eom is
    the message; dots are the bridge's matter."""
    _current().writeln(id, line)


def _verdict(status: int, text: str) -> bytes:
    word = b"disconnect|" if status == FILTER_CLOSE else b"reject|"
    return word + text.encode("utf-8", "surrogateescape")
