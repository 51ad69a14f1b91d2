"""Coroutines for every question, and whole messages."""

import asyncio

import filter


async def answer(id, *arguments):
    await asyncio.sleep(0)
    filter.accept(id)


on_connect = on_helo = on_mail = on_rcpt = on_data = answer


async def on_message(id, message):
    await asyncio.sleep(0)
    message.remove_header("X-Drop")
    filter.accept(id)
