"""Says accept to every HELO and returns every line."""

import filter


def on_helo(id, helo):
    filter.accept(id)


def on_dataline(id, line):
    filter.writeln(id, line)
