from __future__ import annotations

import asyncio
from ipaddress import ip_network

import pytest

from store.destinations import Destination, resolve
from store.errors import InvalidWebhookError

# Each is an address that somebody on the inside may reach and the internet may not, or a way to spell one.
PRIVATE = [
    "127.0.0.1",
    "127.1",
    "2130706433",
    "0x7f000001",
    "0.0.0.0",  # noqa: S104 - it is not bound to
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.100.100.200",
    "192.0.0.192",
    "168.63.129.16",
    "198.18.0.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "[::]",
    "[::1]",
    "[::7f00:1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:a9fe:a9fe]",
    "[64:ff9b::7f00:1]",
    "[64:ff9b:1::7f00:1]",
    "[2002:7f00:1::]",
    "[2001:0:7f00:1::]",
    "[2001:db8::1]",
    "[3fff::1]",
    "[fc00::1]",
    "[fd00:ec2::254]",
    "[fe80::1]",
    "[fec0::1]",
    "[ff02::1]",
]
PUBLIC = ["93.184.216.34", "[2606:4700::1111]", "[::ffff:8.8.8.8]", "[64:ff9b::808:808]"]


def look_up(url: str, *networks: str) -> Destination:
    return asyncio.run(resolve(url, [ip_network(network) for network in networks]))


@pytest.mark.parametrize("host", [*PRIVATE, "localhost", "localhost."])
def test_an_address_that_is_not_public_is_refused(host: str) -> None:
    with pytest.raises(InvalidWebhookError, match="public"):
        look_up(f"https://{host}/hook")


@pytest.mark.parametrize("host", PUBLIC)
def test_a_public_address_is_taken(host: str) -> None:
    assert len(look_up(f"https://{host}:8443/hook").addresses) == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "[::ffff:127.0.0.1]", "[64:ff9b::7f00:1]"])
def test_a_network_that_the_operator_names_may_be_reached(host: str) -> None:
    assert look_up(f"http://{host}/hook", "127.0.0.0/8").addresses
    with pytest.raises(InvalidWebhookError):
        look_up(f"http://{host}/hook", "10.0.0.0/8", "::1/128")


def test_a_name_is_refused_for_one_private_address_among_public_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    def answers(*_: object, **__: object) -> list[tuple[object, ...]]:
        return [(2, 1, 6, "", (address, 443)) for address in ("93.184.216.34", "10.0.0.1")]

    monkeypatch.setattr("socket.getaddrinfo", answers)
    with pytest.raises(InvalidWebhookError):
        look_up("https://two-faced.example/hook")


def test_a_name_that_there_is_not_is_told_from_a_private_one_by_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    def said_of(host: str) -> str:
        with pytest.raises(InvalidWebhookError) as refusal:
            look_up(f"https://{host}/hook")
        return refusal.value.message.replace(host, "HOST")

    def nobody(*_: object, **__: object) -> list[object]:
        raise OSError

    private = said_of("localhost")
    monkeypatch.setattr("socket.getaddrinfo", nobody)
    assert said_of("octet.invalid") == private


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.com/",
        "file:///etc/passwd",
        "gopher://example.com/",
        "//example.com/",
        "example.com",
        "",
        "https://",
        "https:///hook",
        "https://user@93.184.216.34/",
        "https://user:password@93.184.216.34/",
        "https://93.184.216.34:0/",
        "https://93.184.216.34:65536/",
        "https://exa mple.com/",
        "https://example.com/\n",
        "https://0177.0.0.1/",
        f"https://{'a' * 64}.example/",
        "https://[::1/",
        "https://[fe80::1%25lo]/",
    ],
)
def test_what_is_no_address_for_a_webhook_is_refused(url: str) -> None:
    with pytest.raises(InvalidWebhookError):
        look_up(url)
