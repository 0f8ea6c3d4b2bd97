"""Two spliced connections in memory: bytes arrive, congestion pauses reading, and both connections end together."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web

from vk_provider.kubelet.splice import Splice, Tail
from vk_provider.kubelet.streams import Sessions


class End(asyncio.Transport):
    """A transport in memory. The test simulates the network with `receive`, `close_remotely` and `congest`."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closing = self.aborted = False
        self.unsent = 0
        self.reading = True
        self.lost: list[BaseException | None] = []  # calls of connection_lost of the original protocol
        self.protocol: asyncio.Protocol | None = None

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        assert isinstance(protocol, asyncio.Protocol)
        self.protocol = protocol

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.limit = high

    def write(self, data: bytes | bytearray | memoryview[int]) -> None:
        self.written += bytes(data)

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def is_closing(self) -> bool:
        return self.closing

    def is_reading(self) -> bool:
        return self.reading

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def close(self) -> None:
        if not self.closing:
            self.closing = True
            asyncio.get_running_loop().call_soon(self._owner.connection_lost, None)

    def abort(self) -> None:
        self.aborted = True
        self.close()

    @property
    def _owner(self) -> asyncio.Protocol:
        assert self.protocol is not None
        return self.protocol

    def receive(self, data: bytes) -> None:
        self._owner.data_received(data)

    def congest(self, *, on: bool) -> None:
        """The write buffer is full, or has been drained."""
        if on:
            self._owner.pause_writing()
        else:
            self._owner.resume_writing()

    def close_remotely(self, error: Exception | None = None) -> None:
        if error is None:
            self._owner.eof_received()
        self.closing = True
        self._owner.connection_lost(error)


def spliced(one: End, other: End, idle_seconds: float = 100.0) -> Splice:
    return Splice(one, other, one_lost=one.lost.append, other_lost=other.lost.append, idle_seconds=idle_seconds)


async def test_bytes_of_each_side_reach_the_other() -> None:
    one, other = End(), End()
    splice = spliced(one, other)
    one.receive(b"a question")
    other.receive(b"an ")
    other.receive(b"answer")
    assert (one.written, other.written) == (b"an answer", b"a question")
    splice.close()


async def test_a_full_write_buffer_of_one_side_pauses_reading_from_the_other() -> None:
    one, other = End(), End()
    splice = spliced(one, other)
    one.congest(on=True)
    assert (one.reading, other.reading) == (True, False)
    one.congest(on=False)
    assert other.reading
    splice.close()


async def test_reading_that_was_paused_before_the_splice_resumes() -> None:
    one, other = End(), End()
    one.pause_reading()
    splice = spliced(one, other)
    assert one.reading
    splice.close()


async def test_when_one_side_ends_the_other_ends_after_its_buffered_bytes() -> None:
    one, other = End(), End()
    splice = spliced(one, other)
    one.receive(b"final bytes")
    one.close_remotely()
    await splice.done.wait()
    assert other.written == b"final bytes"
    assert (other.closing, other.aborted) == (True, False)
    assert (one.lost, other.lost) == ([None], [None])


@pytest.mark.looptime
async def test_a_side_stays_open_until_its_buffer_is_sent() -> None:
    one, other = End(), End()
    splice = spliced(one, other)
    other.unsent = 10
    one.close_remotely()
    await asyncio.sleep(30)
    assert not other.closing
    other.unsent = 0
    await splice.done.wait()
    assert (other.closing, other.aborted) == (True, False)


async def test_an_error_of_one_side_aborts_the_other() -> None:
    """A broken stream must not look like one that has ended."""
    one, other = End(), End()
    splice = spliced(one, other)
    broken = ConnectionResetError("reset")
    one.close_remotely(broken)
    await splice.done.wait()
    assert other.aborted
    assert one.lost == [broken]


async def test_both_original_protocols_get_connection_lost_once() -> None:
    one, other = End(), End()
    splice = spliced(one, other)
    splice.close()
    splice.close()
    await splice.done.wait()
    assert (one.lost, other.lost) == ([None], [None])


@pytest.mark.parametrize("reported", [True, False])
async def test_a_side_that_is_already_closing_ends_the_other(reported: bool) -> None:
    one, other = End(), End()
    one.closing = True
    splice = spliced(one, other)
    if not reported:
        one.close_remotely()
    await splice.done.wait()
    assert (other.closing, other.aborted) == (True, False)
    assert (one.lost, other.lost) == ([None], [None])


@pytest.mark.looptime
async def test_an_idle_splice_is_closed() -> None:
    one, other = End(), End()
    splice = spliced(one, other, idle_seconds=100)
    async with asyncio.timeout(201):
        await splice.done.wait()
    assert asyncio.get_running_loop().time() >= 100


@pytest.mark.looptime
async def test_occasional_bytes_keep_a_splice_open() -> None:
    one, other = End(), End()
    splice = spliced(one, other, idle_seconds=100)
    for side in (one, other) * 5:
        await asyncio.sleep(99)
        side.receive(b".")
    assert not splice.done.is_set()
    splice.close()


async def test_the_timer_ends_with_the_splice() -> None:
    one, other = End(), End()
    splice = spliced(one, other)
    splice.close()
    await splice.done.wait()
    assert splice._timer.cancelled()


async def test_the_tail_keeps_bytes_that_arrive_together_with_the_answer() -> None:
    tail = Tail()
    assert [tail.feed_data(b"first "), tail.feed_data(b"second")] == [(False, b""), (False, b"")]
    tail.feed_eof()
    assert tail.data == b"first second"


class TestSessions:
    async def test_are_counted_while_they_are_open(self) -> None:
        sessions, one, other = Sessions(limit=2), End(), End()
        splice = spliced(one, other)
        task = asyncio.create_task(sessions.follow(splice))
        await asyncio.sleep(0)
        assert len(sessions) == 1
        one.close_remotely()
        await task
        assert len(sessions) == 0

    async def test_reserve_a_slot_before_they_are_open(self) -> None:
        sessions = Sessions(limit=2)
        with sessions.slot():
            with sessions.slot(), pytest.raises(web.HTTPTooManyRequests), sessions.slot():
                pass
            with sessions.slot():
                pass
        assert len(sessions) == 0

    async def test_end_when_their_request_is_cancelled(self) -> None:
        sessions, one, other = Sessions(limit=2), End(), End()
        task = asyncio.create_task(sessions.follow(spliced(one, other)))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert (one.closing, other.closing, len(sessions)) == (True, True, 0)

    @pytest.mark.looptime
    async def test_get_a_grace_period_to_end_by_themselves(self) -> None:
        sessions, ends = Sessions(limit=2), [End() for _ in range(4)]
        tasks = [asyncio.create_task(sessions.follow(spliced(ends[i], ends[i + 1]))) for i in (0, 2)]
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_later(3, ends[0].close_remotely)
        await sessions.drain(5)
        await asyncio.gather(*tasks)
        assert asyncio.get_running_loop().time() == pytest.approx(5, abs=0.1)
        assert [end.aborted for end in ends] == [False, False, True, True]

    @pytest.mark.looptime
    async def test_that_have_ended_do_not_delay_the_drain(self) -> None:
        sessions, one, other = Sessions(limit=2), End(), End()
        task = asyncio.create_task(sessions.follow(spliced(one, other)))
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_later(1, one.close_remotely)
        await sessions.drain(5)
        await task
        assert asyncio.get_running_loop().time() == pytest.approx(1, abs=0.1)
