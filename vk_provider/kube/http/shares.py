"""Fair shares of a bounded number of concurrent requests.

    begin: a slot is free, and nothing of the share waits --> at once
           else it waits; first come, first served within a share
    end:   the slot goes to the waiting share with the fewest requests in flight; of equal ones, to the one that has
           been served least recently

Guarantees: never more requests in flight than there are slots, and of one share never more than its part of them. A
share that has nothing in flight gets the next slot that becomes free, however many requests the others have waiting.
Not thread-safe: used from one event loop.
"""

from __future__ import annotations

import asyncio


class Slots:
    """The slots that shares compete for. Owns which share gets the next one."""

    def __init__(self, number: int) -> None:
        self.number = self._free = number
        self._waiting: dict[Share, None] = {}  # shares with waiting requests, the least recently served one first

    def share(self, most: int) -> Share:
        """A new share, with at most that many requests in flight. It ends with its last request."""
        return Share(self, most)

    def take(self, share: Share) -> bool:
        """Takes a slot if the share may have one now."""
        if self._free and share.in_flight < share.most and not share.waiting:
            self._give(share)
            return True
        return False

    def give_back(self, share: Share) -> None:
        """Ends a request of the share, and begins those that may begin now."""
        share.in_flight -= 1
        self._free += 1
        while self._free and (chosen := self._next()) is not None:
            del self._waiting[chosen]
            if chosen.wake():
                self._give(chosen)
            self.queue(chosen)

    def queue(self, share: Share) -> None:
        """Registers a share while requests of it wait."""
        if share.waiting:
            self._waiting.setdefault(share)
        else:
            self._waiting.pop(share, None)

    def _give(self, share: Share) -> None:
        self._free -= 1
        share.in_flight += 1

    def _next(self) -> Share | None:
        if not self._waiting:
            return None
        return min(
            (share for share in self._waiting if share.in_flight < share.most),
            key=lambda share: share.in_flight,
            default=None,
        )


class Share:
    """What one user has of the slots. `begin` before a request, and `end` after it."""

    def __init__(self, slots: Slots, most: int) -> None:
        self.most, self.in_flight = most, 0
        self._slots = slots
        self._queue: dict[asyncio.Future[None], None] = {}  # in order of arrival

    @property
    def waiting(self) -> int:
        """Number of requests that wait for a slot."""
        return len(self._queue)

    async def begin(self, deadline: float) -> None:
        """Returns when the request may be sent. Raises TimeoutError after `deadline` seconds."""
        if self._slots.take(self):
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue[turn] = None
        self._slots.queue(self)
        try:
            async with asyncio.timeout(deadline):
                await turn
        except BaseException:
            if turn.done() and not turn.cancelled():
                self._slots.give_back(self)  # its turn came in the same tick as the end of its wait
            else:
                self._queue.pop(turn, None)
                self._slots.queue(self)
            raise

    def end(self) -> None:
        """The request has ended, in any way."""
        self._slots.give_back(self)

    def wake(self) -> bool:
        """Begins the request that has waited longest. False if it has been cancelled, and does not know it yet."""
        turn = next(iter(self._queue))
        del self._queue[turn]
        if turn.done():
            return False
        turn.set_result(None)
        return True
