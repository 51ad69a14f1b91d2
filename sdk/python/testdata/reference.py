"""The filter of protocol/transcripts/README.md, with the article's hooks."""

import filter

state = {}  # session: [reverse-path, refuse the message]


def decide(id, argument):
    if "refused" in argument:
        filter.reject_code(id, filter.FILTER_FAIL, 550, "5.7.1 refused by the filter")
    elif "later" in argument:
        filter.reject_code(id, filter.FILTER_FAIL, 451, "4.7.1 later, says the filter")
    elif "dropped" in argument:
        filter.reject_code(id, filter.FILTER_CLOSE, 421, "4.7.0 dropped by the filter")
    else:
        filter.accept(id)


def on_connect(id, local, remote, hostname):
    state[id] = ["", False]
    decide(id, hostname)


def on_helo(id, helo):
    decide(id, helo)


def on_mail(id, address):
    state[id] = [address, False]
    decide(id, address)


def on_rcpt(id, address):
    decide(id, address)


def on_data(id):
    if state[id][0].startswith("no-data@"):
        filter.reject_code(id, filter.FILTER_FAIL, 550, "5.7.1 no data from there")
    else:
        filter.accept(id)


def on_dataline(id, line):
    if line == "X-Refuse: yes":
        state[id][1] = True
    if line.startswith("X-Drop:"):
        return
    filter.writeln(id, line)
    if line.startswith("X-Double:"):
        filter.writeln(id, line)


def on_eom(id, size):
    if state[id][1]:
        filter.reject_code(id, filter.FILTER_FAIL, 550, "5.7.1 refused for what it says")
    else:
        filter.accept(id)


def on_disconnect(id):
    del state[id]
