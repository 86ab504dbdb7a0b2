"""Telling what another site's page made a browser send, as `CrossOriginProtection` of Go 1.25 does.

Browsers say where a request comes from: all current ones in `Sec-Fetch-Site`, older ones in `Origin`. What says neither
is no browser, and sends cookies only because somebody told it to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from starlette.datastructures import Headers

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing: RFC 9110, section 9.2.1."""


def is_cross_site(method: str, headers: Headers) -> bool:
    """Whether it may change something, and was not asked for by a page of this very origin, nor by its user."""
    if method in SAFE:
        return False
    fetched_from = headers.get("sec-fetch-site")
    if fetched_from is not None:
        return fetched_from not in {"same-origin", "none"}
    origin = headers.get("origin")
    try:
        return origin is not None and urlsplit(origin).netloc != headers.get("host")
    except ValueError:  # it is no address, such as `http://[`
        return True
