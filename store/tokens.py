"""Secrets that are made here, and shown once: how they look, and what is kept of them.

A token is a prefix, 43 digits in base 62 (256 random bits) and 6 more, the CRC-32 of all that goes before. So a token
that was cut off or mistyped is known for what it is without a look-up, and a scanner that finds one in a repository can
tell it from other text: `octet_[0-9A-Za-z]{49}`. It is the form that GitHub gave its tokens.
"""

from __future__ import annotations

import secrets
import string
from hashlib import sha256
from zlib import crc32

_DIGITS = string.digits + string.ascii_uppercase + string.ascii_lowercase
_BITS, _RANDOM, _CHECKSUM = 256, 43, 6  # bits; digits that they take, and that a CRC-32 takes


def make(prefix: str) -> str:
    """A new token."""
    body = prefix + _base62(secrets.randbits(_BITS), _RANDOM)
    return body + _checksum(body)


def is_sound(prefix: str, token: str) -> bool:
    """Whether `token` has the form and the checksum of one that `make` made. It may be unknown all the same."""
    body, checksum = token[:-_CHECKSUM], token[-_CHECKSUM:]
    return token.startswith(prefix) and len(body) == len(prefix) + _RANDOM and checksum == _checksum(body)


def digest(token: str) -> str:
    """What is kept of a token. It is random and long, so a plain hash is as good as a slow one, and costs nothing."""
    return sha256(token.encode(errors="replace")).hexdigest()


def _checksum(body: str) -> str:
    return _base62(crc32(body.encode(errors="replace")), _CHECKSUM)


def _base62(number: int, length: int) -> str:
    digits = ""
    for _ in range(length):
        number, digit = divmod(number, len(_DIGITS))
        digits = _DIGITS[digit] + digits
    return digits
