"""Where a webhook may go.

Its address comes from a stranger, and it is this service that connects to it, from inside somebody's network. So a name
is looked up once, everything that it stands for must be an address that anybody on the internet can reach, and the
connection then goes to one of these: a name that stands for something else a moment later gains nothing.
"""

from __future__ import annotations

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING, TypeAlias

import httpx

from store.errors import InvalidWebhookError

if TYPE_CHECKING:
    from collections.abc import Collection

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

_LOOK_UP_SECONDS = 5.0
# A look-up holds a thread, and cannot be stopped: names of strangers that take their time hold up none but each other.
_LOOK_UPS = ThreadPoolExecutor(32, "look-up")
_PORTS = {"http": 80, "https": 443}
_VALID_PORTS = range(1, 2**16)

# IPv6 hands out public addresses of this network alone.
_UNICAST = IPv6Network("2000::/3")
# IPv6 spellings of an IPv4 address: what counts is where a translator would send it. RFC 4291, 6052.
_SPELLINGS = (IPv6Network("::ffff:0:0/96"), IPv6Network("64:ff9b::/96"))
# What `is_global` of some Python lets through, and is not public all the same: IANA's registries of special-purpose
# addresses, and what a cloud answers at to its own machines only.
_SPECIAL: tuple[Network, ...] = tuple(
    ip_network(text)
    for text in (
        "192.0.0.0/24",  # protocol assignments; a cloud's metadata
        "192.88.99.0/24",  # 6to4 relays, RFC 7526
        "168.63.129.16/32",  # a cloud's platform, from within its machines
        "2001::/23",  # protocol assignments, Teredo
        "2002::/16",  # 6to4: any IPv4 address
        "3fff::/20",  # documentation, RFC 9637
    )
)


@dataclass(frozen=True)
class Destination:
    """Where to connect to, and under which name.

    Attributes:
        url: The address as it was given.
        addresses: What its host stood for when it was looked up; all of them may be reached.
    """

    url: httpx.URL
    addresses: tuple[Address, ...]


async def resolve(url: str, networks: Collection[Network]) -> Destination:
    """Look up where `url` leads.

    Args:
        url: The address of a webhook.
        networks: Networks that may be reached although they are not public.

    Raises:
        InvalidWebhookError: If it is not an address that may be told. It says the same of a name that there is not and
            of one that stands for something private: nobody can learn from it which names an inner network has.
    """
    parsed = _parse(url)
    addresses = await _look_up(parsed.raw_host.decode(), parsed.port or _PORTS[parsed.scheme])
    if not addresses or not all(_may_be_reached(address, networks) for address in addresses):
        raise InvalidWebhookError(
            f"The host {parsed.host} does not have public addresses, or not only.",
            hint="Operators can let webhooks reach other networks with OCTET_WEBHOOK_NETWORKS.",
        )
    return Destination(parsed, addresses)


def _parse(url: str) -> httpx.URL:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise InvalidWebhookError("The address is not a URL.", hint="Such as https://example.com/octet.") from error
    if parsed.scheme not in _PORTS or not parsed.host:
        raise InvalidWebhookError("The address must begin with https:// or http://, and name a host.")
    if parsed.port is not None and parsed.port not in _VALID_PORTS:
        raise InvalidWebhookError(f"There is no port {parsed.port}.")
    if parsed.userinfo:
        raise InvalidWebhookError(
            "The address holds a user name or a password.", hint="Check the signature to know who is calling."
        )
    return parsed


async def _look_up(host: str, port: int) -> tuple[Address, ...]:
    """Every address of `host`, in the order in which they should be tried; none if there is no such name."""
    try:
        async with asyncio.timeout(_LOOK_UP_SECONDS):
            ask = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
            found = await asyncio.get_running_loop().run_in_executor(_LOOK_UPS, ask)
    except (OSError, UnicodeError):  # UnicodeError: a label is longer than names allow. A time-out is an OSError.
        return ()
    return tuple(ip_address(address[4][0]) for address in found)


def _may_be_reached(address: Address, networks: Collection[Network]) -> bool:
    meant = _meant(address)
    return any(meant in network for network in networks) or _is_public(meant)


def _meant(address: Address) -> Address:
    if any(address in spelling for spelling in _SPELLINGS):
        return IPv4Address(address.packed[-4:])
    return address


def _is_public(address: Address) -> bool:
    if address.is_multicast or any(address in network for network in _SPECIAL):
        return False
    return address.is_global and (address.version == 4 or address in _UNICAST)  # noqa: PLR2004 - IPv4
