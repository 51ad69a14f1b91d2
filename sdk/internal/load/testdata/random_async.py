"""Answers each question after a random time, when a thousand are open."""

import asyncio
import random

import filter

open_questions = 0


async def on_helo(id, helo):
    global open_questions
    open_questions += 1
    while open_questions < 1000:
        await asyncio.sleep(0.01)
    await asyncio.sleep(random.random() / 10)
    filter.reject_code(id, filter.FILTER_FAIL, 450, helo)
