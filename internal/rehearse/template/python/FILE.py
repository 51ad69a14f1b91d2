"""@NAME@ is a mail filter: it refuses mail from one domain."""

import filter

REFUSED = "spam.example"  # in lower case


def on_mail(id, address):
    # Each question is answered exactly once: here, or later from another hook.
    if address.lower().endswith("@" + REFUSED):
        return filter.reject_code(id, filter.FILTER_FAIL, 550, "5.7.1 No mail from there, please")
    return filter.accept(id)
