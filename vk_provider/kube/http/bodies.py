"""The bodies of answers: whole or in lines, plain or compressed, never larger than what an API server would send."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator, Iterator
from typing import Final

import aiohttp

GZIP: Final = "gzip"
_PIECE: Final = 2**20  # bytes that are decompressed at a time
_LARGEST_LINE: Final = 2**26  # bytes of an event; etcd accepts objects of 1.5 MiB
_END_OF_LIST: Final = b'"k8s.io/initial-events-end"'
_COMPRESSED_EVENTS: Final = 100  # each costs 20 us to decompress here; a handshake costs 2 ms
_LARGEST_PAGE: Final = 2**28  # bytes of a page of a list: 500 objects of half a MiB each


class Gunzip:
    """Decompresses a stream of gzip members: an API server begins another one for each event (RFC 1952, 2.2)."""

    def __init__(self) -> None:
        self._member: zlib._Decompress | None = None  # none between members: it takes memory while a watch is quiet

    def feed(self, data: bytes) -> Iterator[bytes]:
        """What the data decompresses to, in pieces of a bounded size. Raises ClientPayloadError."""
        try:
            while data or self._member is not None:
                member = self._member = self._member or zlib.decompressobj(16 + zlib.MAX_WBITS)
                piece = member.decompress(data, _PIECE)
                yield piece
                if member.eof:
                    data, self._member = member.unused_data, None
                elif not (data := member.unconsumed_tail) and len(piece) < _PIECE:
                    return
        except zlib.error as error:
            raise aiohttp.ClientPayloadError(f"the answer is not valid gzip: {error}") from error


def is_compressed(response: aiohttp.ClientResponse) -> bool:
    """Whether the body has to be decompressed."""
    return response.headers.get("Content-Encoding") == GZIP


async def read(response: aiohttp.ClientResponse) -> bytes:
    """The whole body of a list. Raises ClientPayloadError if it is larger than any page."""
    parts, size = [], 0
    async for part in _parts(response):
        size += len(part)
        if size > _LARGEST_PAGE:
            raise aiohttp.ClientPayloadError(f"the answer has more than {_LARGEST_PAGE >> 20} MiB")
        parts.append(part)
    return b"".join(parts)


async def lines(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """Splits the body at newlines. An object may be larger than any buffer.

    Raises ClientPayloadError if a line is longer than any event.
    """
    parts: list[bytes] = []
    size = 0
    async for part in _parts(response):
        if b"\n" not in part:
            parts.append(part)
            size += len(part)
            if size > _LARGEST_LINE:
                raise aiohttp.ClientPayloadError(f"a line has more than {_LARGEST_LINE >> 20} MiB")
            continue
        head, *whole = part.split(b"\n")
        yield b"".join([*parts, head])
        parts = [whole.pop()]
        size = len(parts[0])
        for line in whole:
            yield line


async def events(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """The lines of a watch. A compressed one ends some events after its list: each is compressed alone, which costs
    more than another connection if there are many."""
    compressed, since_list = is_compressed(response), -1
    async for line in lines(response):
        yield line
        if compressed:
            if since_list >= 0:
                since_list += 1
            elif _END_OF_LIST in line:
                since_list = 0
            if since_list > _COMPRESSED_EVENTS:
                return


async def _parts(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """The body as it comes, decompressed."""
    if not is_compressed(response):
        async for chunk in response.content.iter_any():
            yield chunk
        return
    gunzip = Gunzip()
    async for chunk in response.content.iter_any():
        for piece in gunzip.feed(chunk):
            yield piece
