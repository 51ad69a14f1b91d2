"""Refuses the mail of one sender."""

import filter


def on_mail(id, address):
    if address == "spammer@example.net":
        filter.reject_code(id, filter.FILTER_FAIL, 550, "5.7.1 No mail from you, please")
    else:
        filter.accept(id)
