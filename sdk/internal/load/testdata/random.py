"""Keeps a thousand questions, and answers them in a random order."""

import random

import filter

waiting = []


def on_helo(id, helo):
    waiting.append((id, helo))
    if len(waiting) == 1000:
        random.shuffle(waiting)
        for id, helo in waiting:
            filter.reject_code(id, filter.FILTER_FAIL, 450, helo)
        waiting.clear()
