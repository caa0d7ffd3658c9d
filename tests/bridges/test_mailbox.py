from __future__ import annotations

import asyncio

from mediaserver.bridges.mailbox import MAX_WAITING, Mailbox


async def test_items_come_in_order_and_it_ends() -> None:
    """What waits at the end comes before the end."""
    mailbox: Mailbox[int] = Mailbox()
    reader = asyncio.create_task(collect(mailbox))
    for n in range(3):
        mailbox.put(n)
        await asyncio.sleep(0)
    mailbox.put(3)
    mailbox.close()
    assert await reader == [0, 1, 2, 3]


async def test_it_is_bounded() -> None:
    """The oldest go where nobody reads."""
    mailbox: Mailbox[int] = Mailbox()
    for n in range(MAX_WAITING + 2):
        mailbox.put(n)
    mailbox.close()
    assert mailbox.dropped == 2
    assert (await collect(mailbox))[0] == 2


async def collect(mailbox: Mailbox[int]) -> list[int]:
    return [item async for item in mailbox]
