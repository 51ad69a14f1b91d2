"""Tests of a script without a server.

    import filtertest

    server = filtertest.Server("refuse.py")
    client = server.session()
    assert client.mail("spammer@example.net") == "reject|550 5.7.1 No mail from you, please"
    assert client.mail("friend@example.net") == "proceed"

An answer is what the protocol says: "proceed", "reject|CODE TEXT",
"disconnect|CODE TEXT". A question that has no answer yet gives None, and one
that the script did not register "proceed", as with a server.
"""

from __future__ import annotations

import asyncio
import types
from typing import Any, Callable, Optional, Union

import filter
import filterrun

__all__ = ["Server", "Session"]

_HEAD = b"|0.7|1700000000.000000|smtp-in|"


class Server:
    """A server that knows one script: a path, a module, or a dict of hooks."""

    def __init__(self, script: Union[str, types.ModuleType, dict[str, Callable[..., Any]]],
                 features: tuple[str, ...] = ("message-size", "final-address")) -> None:
        if isinstance(script, str):
            hooks = filterrun.load(script)
        elif isinstance(script, dict):
            hooks = script
        else:
            hooks = {n: getattr(script, n) for n in filter.HOOKS if callable(getattr(script, n, None))}
        self._lines: list[bytes] = []
        self._count = 0
        self.bridge = filter.use(filterrun.make(hooks, self._write))
        self.feed(b"config|protocol|0.7\n" + b"".join(b"config|feature|%s\n" % f.encode() for f in features)
                  + b"config|ready\n")
        self.registered = {line.decode() for line in self._take(b"register|")}

    def _write(self, data: bytes) -> None:
        self._lines += data.split(b"\n")[:-1]

    def _take(self, prefix: bytes) -> list[bytes]:
        found = [line for line in self._lines if line.startswith(prefix)]
        self._lines = [line for line in self._lines if not line.startswith(prefix)]
        return found

    def feed(self, data: bytes) -> None:
        """Give the script lines of the protocol, and let its coroutines finish."""
        filter.use(self.bridge)
        if type(self.bridge) is filter.Bridge:
            self.bridge.feed(data)
        else:
            asyncio.run(self._feed(data))

    async def _feed(self, data: bytes) -> None:
        self.bridge.feed(data)
        await self.bridge.idle()        # type: ignore[attr-defined]

    def session(self, hostname: str = "client.example", remote: str = "192.0.2.1",
                local: str = "198.51.100.1", server: str = "mx.example") -> "Session":
        """Begin a session. The script is told of it; connect asks about it."""
        self._count += 1
        return Session(self, self._count, hostname, remote, local, server)


class Session:
    """One session. Its id is what the hooks are given."""

    def __init__(self, server: Server, number: int, hostname: str, remote: str, local: str, name: str) -> None:
        self.id = number
        self._server, self._hostname, self._remote = server, hostname, remote
        self._key = b"%016x" % number
        self._tokens = 0
        self._open: Optional[bytes] = None
        self.report("link-connect", f"{hostname}|pass|{remote}:4321|{local}:25")
        self.report("link-greeting", name)

    def report(self, event: str, *fields: str) -> None:
        """Tell the script of an event, if it registered it."""
        if f"register|report|smtp-in|{event}" in self._server.registered:
            self._server.feed(b"|".join((b"report" + _HEAD + event.encode(), self._key,
                                         *(f.encode("utf-8", "surrogateescape") for f in fields))) + b"\n")

    def ask(self, phase: str, argument: str = "") -> Optional[str]:
        """Ask about a phase of the protocol: "helo", "rcpt-to", "commit"."""
        if f"register|filter|smtp-in|{phase}" not in self._server.registered:
            return "proceed"
        self._tokens += 1
        self._open = b"filter-result|%s|%016x|" % (self._key, self._tokens)
        self._server.feed(b"filter" + _HEAD + b"%s|%s|%016x|%s\n" % (
            phase.encode(), self._key, self._tokens, argument.encode("utf-8", "surrogateescape")))
        return self.answer()

    def answer(self) -> Optional[str]:
        """Give the answer to the last question, None if it has not come."""
        if self._open is None:
            return None
        found = self._server._take(self._open)
        if len(found) > 1:
            raise AssertionError(f"answered {len(found)} times: {found}")
        return found[0][len(self._open):].decode("utf-8", "surrogateescape") if found else None

    def connect(self) -> Optional[str]:
        """Ask about the connection."""
        return self.ask("connect", f"{self._hostname}|{self._remote}")

    def helo(self, name: str) -> Optional[str]:
        """Ask about EHLO."""
        return self.ask("ehlo", name)

    def mail(self, address: str) -> Optional[str]:
        """Ask about MAIL FROM; if it proceeds, the transaction begins."""
        answer = self.ask("mail-from", address)
        if answer == "proceed":
            self.report("tx-begin", "0badcafe")
            self.report("tx-mail", "0badcafe", "ok", address)
        return answer

    def rcpt(self, address: str) -> Optional[str]:
        """Ask about RCPT TO."""
        answer = self.ask("rcpt-to", address)
        if answer == "proceed":
            self.report("tx-rcpt", "0badcafe", "ok", address)
        return answer

    def data(self) -> Optional[str]:
        """Ask about DATA."""
        return self.ask("data")

    def message(self, text: Union[str, bytes]) -> tuple[bytes, Optional[str]]:
        """Send a message, and give what comes out and the answer about it. Lines end in LF."""
        raw = text.encode() if isinstance(text, str) else text
        out = raw
        if "register|filter|smtp-in|data-line" in self._server.registered:
            self._tokens += 1
            head = b"%s|%016x|" % (self._key, self._tokens)
            lines = raw.split(b"\n")[:-1] if raw.endswith(b"\n") or not raw else raw.split(b"\n")
            self._server.feed(b"".join(
                b"filter" + _HEAD + b"data-line|" + head + (b"." if x[:1] == b"." else b"") + x + b"\n" for x in lines)
                + b"filter" + _HEAD + b"data-line|" + head + b".\n")
            back = [x[len(b"filter-dataline|" + head):] for x in self._server._take(b"filter-dataline|" + head)]
            if back[-1:] != [b"."]:         # not answered: the message is not complete
                return b"".join(x + b"\n" for x in back), None
            out = b"".join((x[1:] if x[:1] == b"." else x) + b"\n" for x in back[:-1])
        answer = self.ask("commit", str(len(out)) if "register|feature|message-size" in self._server.registered else "")
        if answer == "proceed":
            self.report("tx-commit", "0badcafe", str(len(out)))
        elif answer is not None:
            self.report("tx-rollback", "0badcafe")
        return out, answer

    def rollback(self) -> None:
        """The client gives the transaction up."""
        self.report("tx-rollback", "0badcafe")

    def end(self) -> None:
        """The session is over."""
        self.report("link-disconnect")
