"""HTTP as the client needs it: the service's errors as exceptions, and a second try where it can do no harm."""

from __future__ import annotations

import ipaddress
import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import uuid4

import httpx
import httpx_sse
from pydantic import TypeAdapter, ValidationError

from octet.client.errors import ServiceError, ServiceUnreachableError, UnexpectedAnswerError, refusal
from octet.client.outage import Outage
from octet.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from octet.errors import OctetError

DEFAULT_URL = "http://127.0.0.1:8000"

# Seconds before each further try of a request that may be repeated: enough for a dropped connection, and short enough
# that a service that is not there is reported at once.
_PAUSES = (0.1, 0.4)
# Every thread may have a connection: with httpx's limit of 100, the next ones would wait for a long poll to end, and
# take that for a service which does not answer.
_LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=20)
_REPEATABLE = frozenset({"GET", "POST"})
_EVENTS = "text/event-stream"
_DROPPED = (httpx.NetworkError, httpx.RemoteProtocolError)

T = TypeVar("T")


class Transport:
    """A connection to one service, under one key.

    Attributes:
        url: Where the service is.
        patience: Seconds for which what is under way bears a service that does not answer.
    """

    def __init__(self, url: str | None, key: str | None, timeout: float, patience: float) -> None:
        self.patience = patience
        self.url = (url or os.environ.get("OCTET_URL") or DEFAULT_URL).rstrip("/")
        self._timeout = timeout
        key = key or os.environ.get("OCTET_API_KEY")
        headers = [(b"User-Agent", f"octet/{__version__}".encode())]
        if key:
            headers.append((b"Authorization", f"Bearer {_one_line(key)}".encode()))
        try:
            self._http = httpx.Client(
                base_url=self.url + "/v1/",
                headers=headers,
                timeout=timeout,
                trust_env=not _is_local(self.url),  # a proxy from the environment cannot reach this machine's loopback
                limits=_LIMITS,
            )
        except httpx.InvalidURL as error:
            raise self._unreachable(error) from error
        except (ImportError, OSError, ValueError) as error:
            raise ServiceUnreachableError(
                f"No connection to {self.url} can be made ready: {error}.",
                hint="Check what the environment says of proxies (HTTPS_PROXY, ALL_PROXY, …) and in SSL_CERT_FILE.",
            ) from error

    def close(self) -> None:
        """Close every connection."""
        self._http.close()

    def send(self, method: str, path: str, *, seconds: float = 0.0, **request: Any) -> httpx.Response:
        """Send a request and return its answer. Where the service asks for a pause, it is sent again after that.

        Args:
            method: HTTP method. A POST carries a key, by which the service does it once.
            path: Below `/v1/`.
            seconds: How long the service may take over the answer, on top of the client's timeout.
            request: What `attempt` takes.

        Raises:
            ServiceError: If the service refused, or asked for pauses for longer than the patience lasts.
            ServiceUnreachableError: If there was no answer.
        """
        if method == "POST":
            request["headers"] = {"Idempotency-Key": str(uuid4()), **request.get("headers", {})}
        outage = Outage(self.patience + seconds)
        while True:
            try:
                return self.attempt(method, path, seconds=seconds, **request)
            except ServiceError as error:
                outage.bear(error)

    def attempt(
        self,
        method: str,
        path: str,
        *,
        seconds: float = 0.0,
        answers: frozenset[int] = frozenset(),
        **request: Any,
    ) -> httpx.Response:
        """Send a request and return its answer, for those who bear an outage themselves.

        Args:
            method: HTTP method. What may be repeated, a GET and a POST, is sent again when a connection drops.
            path: Below `/v1/`.
            seconds: How long the service may take over the answer, on top of the client's timeout.
            answers: Statuses outside of 200 to 299 that are answers here, not errors.
            request: What `httpx.Client.request` takes.

        Raises:
            ServiceError: If the service refused.
            ServiceUnreachableError: If there was no answer.
        """
        pauses = iter(_PAUSES if method in _REPEATABLE else ())
        timeout = httpx.Timeout(self._timeout, read=self._timeout + seconds)
        while True:
            try:
                response = self._http.request(method, path, timeout=timeout, **request)
            except _DROPPED as error:
                pause = next(pauses, None)
                if pause is None:
                    raise self._unreachable(error) from error
                time.sleep(pause)
            except httpx.TransportError as error:
                raise self._unreachable(error) from error
            else:
                if response.is_success or response.status_code in answers:
                    return response
                raise self._error(response)

    def get(self, kind: type[T], path: str, **params: Any) -> T:
        """The answer to a GET, as `kind`; parameters that are None are left out."""
        given = {name: value for name, value in params.items() if value is not None}
        return read(kind, self.send("GET", path, params=given))

    def delete(self, path: str, **params: Any) -> None:
        """Have something deleted, and see that it was the service that said so."""
        response = self.send("DELETE", path, params=params)
        if response.status_code != httpx.codes.NO_CONTENT:
            raise self._error(response)

    @contextmanager
    def stream(self, path: str, headers: Mapping[str, str]) -> Iterator[httpx.Response]:
        """The answer to a GET whose body is read piece by piece, as it was sent (no content coding)."""
        try:
            with self._http.stream("GET", path, headers={"Accept-Encoding": "identity", **headers}) as response:
                if not response.is_success:
                    raise self._error(response)
                yield response
        except httpx.TransportError as error:
            raise self._unreachable(error) from error

    @contextmanager
    def server_sent_events(
        self, path: str, headers: Mapping[str, str]
    ) -> Iterator[Iterator[httpx_sse.ServerSentEvent]]:
        """One connection, and the events that come by it until the service or the network ends it."""
        with self.stream(path, {"Accept": _EVENTS, "Cache-Control": "no-store", **headers}) as response:
            if not response.headers.get("Content-Type", "").startswith(_EVENTS):
                raise self._error(response)
            yield (event for event in httpx_sse.EventSource(response).iter_sse() if event.data)

    def _error(self, response: httpx.Response) -> OctetError:
        """What an answer stands for that is none."""
        response.read()
        error = refusal(response)
        passing = response.is_server_error or response.status_code == httpx.codes.TOO_MANY_REQUESTS
        if passing and isinstance(error, UnexpectedAnswerError):
            # A proxy whose service is away or busy, or a server that drops its requests as it stops.
            return ServiceUnreachableError(f"The service at {self.url} is not ready: {error.message}", hint=error.hint)
        return error

    def _unreachable(self, error: Exception) -> ServiceUnreachableError:
        reason = str(error).rstrip(".") or type(error).__name__
        if isinstance(error, httpx.ConnectError) and _is_local(self.url) and "SSL" not in reason:
            return ServiceUnreachableError(
                f"There is no service at {self.url}.",
                hint="Start it with `octet-server up`, or say where it is with --url or OCTET_URL.",
            )
        if isinstance(error, (httpx.UnsupportedProtocol, httpx.InvalidURL, httpx.LocalProtocolError)):
            return ServiceUnreachableError(
                f"A request to {self.url!r} could not be made: {reason}.", hint="Check the address and the API key."
            )
        return ServiceUnreachableError(
            f"The service at {self.url} did not answer: {reason}.", hint="Check the address (OCTET_URL) and try again."
        )


def read(kind: type[T], response: httpx.Response) -> T:
    """The body of `response`, as `kind`.

    Raises:
        UnexpectedAnswerError: If it is something else.
    """
    return decode(kind, response.content)


def decode(kind: type[T], text: str | bytes) -> T:
    """JSON, as `kind`.

    Raises:
        UnexpectedAnswerError: If it is something else.
    """
    try:
        return TypeAdapter(kind).validate_json(text)
    except ValidationError as error:
        found = error.errors(include_url=False)[0]
        place = ".".join(map(str, found["loc"])) or "its beginning"
        raise UnexpectedAnswerError(
            f"The service's answer cannot be read: {found['msg']} (at {place}).",
            hint="Check its address (OCTET_URL), and that service and client are of the same version of Octet.",
        ) from error


def _one_line(key: str) -> str:
    """A key as it can be sent; what sends it would put it into its own error otherwise."""
    key = key.strip()
    if not key.isprintable():
        raise ServiceUnreachableError(
            "The API key has a line break in it, or another character that no key has.",
            hint="Check OCTET_API_KEY, or the file that it came from: a key is one word, octet_….",
        )
    return key


def _is_local(url: str) -> bool:
    try:
        host = httpx.URL(url).host
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except (httpx.InvalidURL, ValueError):
        return False
