"""The output of a command, from the WebSocket frames with which an API server sends it.

    frames (RFC 6455, not masked) -> messages -> first byte: the channel; the rest: its data

(k8s.io/apimachinery pkg/util/remotecommand: v4.channel.k8s.io, v5.channel.k8s.io)
"""

from __future__ import annotations

from typing import Final

import msgspec

_STDOUT, _STDERR, _ERROR = 1, 2, 3
_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING = 0x0, 0x1, 0x2, 0x8, 0x9
_LIMIT: Final = 16 << 20  # bytes of each channel, as a kubelet's ExecSync; the rest is dropped


class _Cause(msgspec.Struct):
    reason: str = ""
    message: str = ""


class _Details(msgspec.Struct):
    causes: list[_Cause] = []


class _Status(msgspec.Struct):
    status: str = ""
    message: str = ""
    details: _Details | None = None


class Output:
    """What a command has written so far, and how it ended."""

    def __init__(self) -> None:
        self._received = bytearray()
        self._message = bytearray()
        self._channels = {_STDOUT: bytearray(), _STDERR: bytearray(), _ERROR: bytearray()}
        self.ended = False

    def feed(self, data: bytes) -> list[bytes]:
        """Takes bytes as they arrive. Returns the payloads of pings, which must be answered."""
        self._received += data
        pings = []
        while (frame := self._next_frame()) is not None:
            final, opcode, payload = frame
            if opcode == _PING:
                pings.append(payload)
            elif opcode == _CLOSE:
                self.ended = True
            elif opcode in (_CONTINUATION, _TEXT, _BINARY):
                self._message += payload[: _LIMIT + 1 - len(self._message)]
                if final:
                    self._take(bytes(self._message))
                    self._message.clear()
        return pings

    @property
    def text(self) -> bytes:
        """What it wrote to stdout, then what it wrote to stderr."""
        return bytes(self._channels[_STDOUT] + self._channels[_STDERR])

    def failure(self, command: str) -> str:
        """Why the command failed, as a kubelet reports it; empty if it did not."""
        try:
            status = msgspec.json.decode(bytes(self._channels[_ERROR]), type=_Status)
        except msgspec.DecodeError:
            return "the connection to the member ended before the command"
        if status.status == "Success":
            return ""
        causes = status.details.causes if status.details else []
        code = next((cause.message for cause in causes if cause.reason == "ExitCode"), "")
        if not code:
            return status.message
        return f"command '{command}' exited with {code}: {self._channels[_STDERR].decode(errors='replace')}"

    def _next_frame(self) -> tuple[bool, int, bytes] | None:
        """Whether it is the last one of its message, its opcode and its payload; None if it is not complete yet."""
        received = self._received
        if len(received) < 2:
            return None
        size, start = received[1] & 0x7F, 2
        if size > 125:
            start += 2 if size == 126 else 8
            size = int.from_bytes(received[2:start], "big")
        if size > _LIMIT + 1:
            self.ended = True
        if self.ended or len(received) < start + size:
            return None
        first, payload = received[0], bytes(received[start : start + size])
        del received[: start + size]
        return bool(first & 0x80), first & 0x0F, payload

    def _take(self, message: bytes) -> None:
        if message and message[0] in self._channels:
            channel = self._channels[message[0]]
            channel += message[1 : 1 + _LIMIT - len(channel)]


def pong(payload: bytes) -> bytes:
    """The frame that answers a ping. Clients mask their frames; a mask of zeros changes nothing."""
    return bytes([0x8A, 0x80 | len(payload)]) + bytes(4) + payload
