"""The program filter-python: loads a script and serves it until the server ends."""

from __future__ import annotations

import inspect
import io
import os
import sys
import traceback
import types
from typing import Any, Callable

from filter import HOOKS, READ_SIZE, Bridge, ProtocolError, use

_HELP = """filter-python: runs a mail filter written in Python.

It is started by the mail server, not by hand. In the server's configuration:

    filter NAME python "{script}"
    listen on ... filter NAME
"""


def load(script: str) -> dict[str, Callable[..., Any]]:
    with open(script, "rb") as f:
        code = compile(f.read(), script, "exec")
    sys.path.insert(0, os.path.dirname(os.path.abspath(script)))
    module = types.ModuleType("filter_script")  # not __main__: that is the bridge
    module.__file__ = script
    sys.modules["filter_script"] = module
    exec(code, module.__dict__)
    return {name: getattr(module, name) for name in HOOKS if callable(getattr(module, name, None))}


def _take_stdio() -> tuple[int, int]:
    """Keep the protocol's descriptors for ourselves.

    What the script, a library or a child prints goes to standard error, and
    nobody but the bridge reads the server's lines."""
    source, sink = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    sys.stdin = io.TextIOWrapper(open(0, "rb", closefd=False), encoding="utf-8")
    sys.stdout = io.TextIOWrapper(open(1, "wb", closefd=False), encoding="utf-8",
                                  errors="backslashreplace", line_buffering=True)
    return source, sink


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view):]


def make(hooks: dict[str, Callable[..., Any]], write: Callable[[bytes], object]) -> Bridge:
    if any(inspect.iscoroutinefunction(h) for h in hooks.values()):
        import filterasync      # asyncio is large: only for those who use it
        return filterasync.AsyncBridge(hooks, write)
    return Bridge(hooks, write)


def _serve(bridge: Bridge, source: int) -> None:
    if type(bridge) is not Bridge:
        bridge.serve(source)    # type: ignore[attr-defined]
        return
    while True:
        chunk = os.read(source, READ_SIZE)
        if not chunk:
            return
        bridge.feed(chunk)


def main(argv: list[str]) -> int:
    """Run "filter-python SCRIPT [ARGS]"; give the exit status."""
    if len(argv) < 2 or os.isatty(0):
        sys.stderr.write(_HELP.format(script=os.path.abspath(argv[1]) if len(argv) > 1 else "SCRIPT"))
        return 0 if os.isatty(0) else 2
    script = argv[1]
    sys.argv = argv[1:]
    source, sink = _take_stdio()
    try:
        hooks = load(script)
        if not hooks:
            sys.stderr.write(f"filter-python: {script} defines none of {', '.join(HOOKS)}\n")
            return 1
        bridge = use(make(hooks, lambda data: _write_all(sink, data)))
        _serve(bridge, source)
        if not bridge._ready:
            sys.stderr.write("filter-python: the server ended before config|ready\n")
            return 1
        return 0
    except BrokenPipeError:
        sys.stderr.write("filter-python: the server no longer reads our answers\n")
    except ProtocolError as err:
        sys.stderr.write(f"filter-python: the server broke the protocol: {err}\n")
    except FileNotFoundError as err:
        if err.filename != script:
            traceback.print_exc()
        else:
            sys.stderr.write(f"filter-python: {script}: no such file\n")
    except Exception:
        traceback.print_exc()
    return 1


def run(argv: list[str]) -> None:
    """Run main and end the process, threads of the script or not."""
    try:
        status = main(argv)
    except SystemExit as err:
        status = err.code if isinstance(err.code, int) else 0 if err.code is None else 1
        if isinstance(err.code, str):
            sys.stderr.write(err.code + "\n")
    except KeyboardInterrupt:
        status = 130
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            pass
    os._exit(status)
