"""What a runner takes in of what a child says."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING, Any

import pytest

from worker.protocol import MAX_LINE, MAX_MESSAGE, Advanced, Channel, ProtocolError

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def ends() -> Iterator[tuple[Channel, socket.socket]]:
    ours, theirs = socket.socketpair()
    channel = Channel(ours)
    with theirs:
        yield channel, theirs
    channel.close()


def progress(**changes: Any) -> dict[str, Any]:
    return {"kind": "advanced", "progress": {"stage": "measure", "fraction": 0.5, "message": "", **changes}}


def test_a_long_message_is_cut(ends: tuple[Channel, socket.socket]) -> None:
    channel, child = ends
    child.sendall(json.dumps(progress(message="x" * 10_000)).encode() + b"\n")
    (heard,) = channel.receive()
    assert isinstance(heard, Advanced)
    assert len(heard.progress.message) == MAX_MESSAGE


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"null",
        b"[" * 10_000,
        b'{"kind": "done"}',
        b"\xff\xfe",
        json.dumps(progress(fraction=2)).encode(),
        json.dumps(progress(fraction="NaN")).encode(),
        json.dumps(progress(stage="escape")).encode(),
        json.dumps({"kind": "failed", "error": {"code": "a sentence; <b>", "message": ""}}).encode(),
    ],
)
def test_what_is_not_the_protocol_is_refused(ends: tuple[Channel, socket.socket], line: bytes) -> None:
    channel, child = ends
    child.sendall(line + b"\n")
    with pytest.raises(ProtocolError):
        list(channel.receive())


def test_a_line_without_end_is_refused(ends: tuple[Channel, socket.socket]) -> None:
    channel, child = ends

    def go_on() -> None:
        for _ in range(3):
            child.send(b"x" * (MAX_LINE // 2))
            list(channel.receive())

    with pytest.raises(ProtocolError):
        go_on()


def test_descriptors_that_a_child_sends_are_not_taken(ends: tuple[Channel, socket.socket]) -> None:
    channel, child = ends
    with socket.socket() as other:
        socket.send_fds(child, [json.dumps(progress()).encode() + b"\n"], [other.fileno()])
        assert len(list(channel.receive())) == 1
