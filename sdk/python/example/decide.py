"""Refuses mail by its sender and by a word in its subject, and marks the rest."""

import filter


def on_mail(id, address):
    if address.lower().endswith("@spam.example"):
        filter.reject_code(id, filter.FILTER_FAIL, 550, "5.7.1 No mail from there, please")
    else:
        filter.accept(id)


def on_message(id, message):
    if "lottery" in message.text("Subject").lower():
        filter.reject_code(id, filter.FILTER_FAIL, 550, "5.7.1 No lottery here, please")
    else:
        message.add_header("X-Decide", "seen")
        filter.accept(id)
