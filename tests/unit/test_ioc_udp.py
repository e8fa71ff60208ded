"""Searches."""

from __future__ import annotations

import socket
import struct
from types import SimpleNamespace

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from squirrel_ioc.ioc.protocol.udp import answers, broadcast_address

HEADER = struct.Struct(">HHHHII")


def search(name: str, cid: int = 1) -> bytes:
    body = name.encode("latin-1") + b"\0"
    body = body.ljust(-(-len(body) // 8) * 8, b"\0")
    return HEADER.pack(6, len(body), 5, 13, cid, cid) + body


def known(name: str) -> bool:
    return name in ("T:A", "T:B")


def ask(datagram: bytes) -> list[bytes]:
    return answers(datagram, 5064, b"T:", known)


def test_known_names_are_answered_in_one_datagram() -> None:
    (reply,) = ask(HEADER.pack(0, 0, 1, 13, 77, 0) + search("T:A", 3) + search("X:A", 4) + search("T:B", 5))
    assert HEADER.unpack(reply[:16]) == (0, 0, 1, 13, 77, 0)
    assert [HEADER.unpack(reply[i : i + 16]) for i in (16, 40)] == [
        (6, 8, 5064, 0, 0xFFFFFFFF, 3),
        (6, 8, 5064, 0, 0xFFFFFFFF, 5),
    ]
    assert len(reply) == 64


def test_without_a_sequence_number_there_is_none_in_the_answer() -> None:
    (reply,) = ask(HEADER.pack(0, 0, 0, 13, 0, 0) + search("T:A"))
    assert HEADER.unpack(reply[:16]) == (0, 0, 0, 13, 0, 0)


def test_nothing_is_said_to_what_is_not_ours() -> None:
    for name in ("T:C", "t:a", "T:", "", "T:A\xe9", "U:A"):
        assert ask(search(name)) == []


def test_answers_fit_into_frames() -> None:
    replies = ask(b"".join(search("T:A", i) for i in range(200)))
    assert len(replies) == 4
    assert all(len(reply) <= 1472 for reply in replies)
    assert sum((len(reply) - 16) // 24 for reply in replies) == 200


@given(st.binary(max_size=200))
def test_rubbish_does_no_harm(datagram: bytes) -> None:
    assert isinstance(ask(datagram), list)
    assert isinstance(ask(HEADER.pack(0, 0, 1, 13, 1, 0) + datagram), list)


@given(st.integers(0, 65535), st.binary(max_size=30))
def test_sizes_that_are_not_true_do_no_harm(size: int, body: bytes) -> None:
    assert isinstance(ask(HEADER.pack(6, size, 5, 13, 1, 1) + body), list)


def test_ten_thousand_names_of_others_are_not_answered() -> None:
    datagram = HEADER.pack(0, 0, 1, 13, 1, 0) + b"".join(search(f"OTHER:MAGNET:{i}:BDES", i) for i in range(40))
    for _ in range(250):
        assert ask(datagram) == []


def test_where_broadcasts_go(monkeypatch: pytest.MonkeyPatch) -> None:
    address = SimpleNamespace(family=socket.AF_INET, address="10.1.2.3", broadcast="10.1.2.255")
    monkeypatch.setattr(psutil, "net_if_addrs", lambda: {"eth0": [address]})
    assert broadcast_address("10.1.2.3") == "10.1.2.255"
    assert broadcast_address("10.9.9.9") is None
    assert broadcast_address("127.0.0.1") is None
    assert broadcast_address("0.0.0.0") == "255.255.255.255"  # noqa: S104
