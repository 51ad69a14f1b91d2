"""Prints every callback with what it was given, and lets all mail through."""

import filter


def on_connect(id, local_ip, remote_ip, hostname):
    print("on_connect:", hex(id), local_ip, remote_ip, hostname)
    return filter.accept(id)


def on_helo(id, helo):
    print("on_helo:", hex(id), helo)
    return filter.accept(id)


def on_mail(id, mail):
    print("on_mail:", hex(id), mail)
    return filter.accept(id)


def on_rcpt(id, rcpt):
    print("on_rcpt:", hex(id), rcpt)
    return filter.accept(id)


def on_data(id):
    print("on_data:", hex(id))
    return filter.accept(id)


def on_dataline(id, line):
    print("on_dataline:", hex(id), line)
    return filter.writeln(id, line)


def on_eom(id, size):
    print("on_eom:", hex(id), size)
    return filter.accept(id)


def on_commit(id):
    print("on_commit:", hex(id))
    return filter.accept(id)


def on_rollback(id):
    print("on_rollback:", hex(id))
    return filter.accept(id)


def on_disconnect(id):
    print("on_disconnect:", hex(id))
