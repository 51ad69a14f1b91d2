"""A mail message for scripts: on_message(id, message). It is bytes throughout.

Nothing here changes a byte that the script did not ask to change: what was not
touched comes out as it came in, valid MIME or not.
"""

from __future__ import annotations

import email
import email.errors
import email.header
import email.message
import re
from typing import Iterator, Optional, Union

__all__ = ["MAX_MESSAGE", "Message", "Part"]

MAX_MESSAGE = 64 << 20
"""Bytes of a message that on_message is given; a longer one is refused with 552."""

_NAME = re.compile(rb"[!-9;-~]+")       # RFC 5322 s2.2
_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")


def _name(name: Union[str, bytes]) -> bytes:
    raw = name.encode("utf-8", "surrogateescape") if isinstance(name, str) else name
    if not _NAME.fullmatch(raw):
        raise ValueError(f"not the name of a header field: {name!r}")
    return raw


def _bytes(text: Union[str, bytes]) -> bytes:
    return text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text


def _readable(value: bytes) -> str:
    """Give a header value as text: RFC 2047 words decoded, nothing ever raised."""
    out = []
    try:
        words = email.header.decode_header(value.decode("utf-8", "replace"))
    except (email.errors.HeaderParseError, ValueError):
        return value.decode("utf-8", "replace")
    for word, charset in words:
        if isinstance(word, bytes):
            try:
                word = word.decode(charset or "utf-8", "replace")
            except LookupError:
                word = word.decode("latin-1")
        out.append(word)
    return "".join(out)


class Part:
    """One leaf of a message's MIME tree: a body, an attachment."""

    def __init__(self, node: email.message.Message) -> None:
        self._node = node

    @property
    def content_type(self) -> str:
        """Its type in lower case, "text/plain" if it says none (RFC 2045 s5.2)."""
        return self._node.get_content_type()

    @property
    def filename(self) -> Optional[str]:
        """The name that it gives its file, None without one."""
        return self._node.get_filename()

    @property
    def charset(self) -> Optional[str]:
        """The charset that it says it has, in lower case, None without one."""
        return self._node.get_content_charset()

    def header(self, name: str) -> Optional[bytes]:
        """Give the value of its first header field of that name."""
        value = self._node.get(name)
        return None if value is None else str(value).encode("utf-8", "surrogateescape")

    @property
    def content(self) -> bytes:
        """What it holds, base64 or quoted-printable undone."""
        payload = self._node.get_payload(decode=True)
        return payload if isinstance(payload, bytes) else b""


class Message:
    """A message on its way through a filter.

    Its lines may be changed until the script answers for it; what they are then
    is the message. sender and recipients are those that the server accepted, in
    the form that on_mail and on_rcpt get; a change of them has no effect.
    """

    def __init__(self, lines: list[bytes], sender: str = "", recipients: tuple[str, ...] = ()) -> None:
        self._lines = lines
        self.sender = sender
        self.recipients = recipients

    @classmethod
    def from_bytes(cls, raw: bytes, sender: str = "", recipients: tuple[str, ...] = ()) -> "Message":
        """Make one for a test; lines end in LF or CR LF."""
        message = cls([], sender, recipients)
        message.raw = raw
        return message

    @property
    def lines(self) -> list[bytes]:
        """Header, empty line and body, without line ends. To change it, assign a list."""
        return self._lines

    @lines.setter
    def lines(self, lines: list[bytes]) -> None:
        for line in lines:
            if not isinstance(line, bytes) or b"\n" in line:
                raise ValueError(f"a line is bytes without a line end, not {line!r}")
        self._lines = list(lines)

    @property
    def raw(self) -> bytes:
        """The whole message, each line ended by LF."""
        return b"".join(line + b"\n" for line in self._lines)

    @raw.setter
    def raw(self, raw: bytes) -> None:
        lines = raw.replace(b"\r\n", b"\n").split(b"\n")
        self._lines = lines[:-1] if lines[-1] == b"" else lines

    def _end(self) -> int:
        # The number of header lines.
        try:
            return self._lines.index(b"")
        except ValueError:
            return len(self._lines)

    def _fields(self) -> Iterator[tuple[int, int]]:
        # The lines of each field: those that begin with white space go on with it.
        end, start = self._end(), 0
        while start < end:
            after = start + 1
            while after < end and self._lines[after][:1] in (b" ", b"\t"):
                after += 1
            yield start, after
            start = after

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """Name and value of each header field, unfolded (RFC 5322 s2.2.3)."""
        fields = []
        for start, after in self._fields():
            name, _, value = b"".join(self._lines[start:after]).partition(b":")
            fields.append((name, value.strip()))
        return fields

    def header(self, name: Union[str, bytes]) -> Optional[bytes]:
        """Give the value of the first field of that name, None without one. Case does not matter."""
        wanted = _name(name).lower()
        return next((value for key, value in self.headers if key.lower() == wanted), None)

    def text(self, name: Union[str, bytes]) -> str:
        """Give header(name) to look at: encoded words decoded, "" without the field."""
        return _readable(self.header(name) or b"")

    def add_header(self, name: Union[str, bytes], value: Union[str, bytes]) -> None:
        """Put a field on top. Control bytes in value, which may come from outside, become spaces."""
        self._lines = [_name(name) + b": " + _CONTROL.sub(b" ", _bytes(value)), *self._lines]

    def remove_header(self, name: Union[str, bytes]) -> int:
        """Take all fields of that name away; give how many there were."""
        wanted, gone = _name(name).lower(), []
        for start, after in self._fields():
            if self._lines[start].partition(b":")[0].strip().lower() == wanted:
                gone.append((start, after))
        for start, after in reversed(gone):
            del self._lines[start:after]
        return len(gone)

    @property
    def body(self) -> bytes:
        """What follows the header's empty line, each line ended by LF. It may be assigned."""
        return b"".join(line + b"\n" for line in self._lines[self._end() + 1:])

    @body.setter
    def body(self, body: bytes) -> None:
        header = self._lines[:self._end()]
        self.raw = body
        self._lines = [*header, b"", *self._lines]

    @property
    def parts(self) -> list[Part]:
        """The leaves of the MIME tree in their order; one part if the message is not MIME."""
        tree = email.message_from_bytes(self.raw)
        return [Part(node) for node in tree.walk() if not node.is_multipart()]
