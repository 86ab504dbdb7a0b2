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

from octet.client.errors import ServiceUnreachableError, UnexpectedAnswerError, refusal
from octet.client.outage import Outage
from octet.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from octet.errors import OctetError

DEFAULT_URL = "http://127.0.0.1:8000"

# Seconds before each further try of a request that may be repeated: enough for a dropped connection, and short enough
# that a service that is not there is reported at once.
_PAUSES = (0.1, 0.4)
_REPEATABLE = frozenset({"GET", "POST"})
_IN_PROGRESS = "idempotency_in_progress"
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
            headers.append((b"Authorization", f"Bearer {key.strip()}".encode()))
        try:
            self._http = httpx.Client(
                base_url=self.url + "/v1/",
                headers=headers,
                timeout=timeout,
                trust_env=not _is_local(self.url),  # a proxy from the environment cannot reach this machine's loopback
            )
        except httpx.InvalidURL as error:
            raise self._unreachable(error) from error

    def close(self) -> None:
        """Close every connection."""
        self._http.close()

    def send(
        self,
        method: str,
        path: str,
        *,
        seconds: float = 0.0,
        answers: frozenset[int] = frozenset(),
        **request: Any,
    ) -> httpx.Response:
        """Send a request and return its answer.

        Args:
            method: HTTP method. A GET is tried again when a connection drops, and so is a POST: it carries a key, by
                which the service does it once. Both are tried again, for as long as the patience lasts, where the
                service asks for that because there were too many (429).
            path: Below `/v1/`.
            seconds: How long the service may take over the answer, on top of the client's timeout.
            answers: Statuses of 400 and above that are answers here, not errors.
            request: What `httpx.Client.request` takes.

        Raises:
            ServiceError: If the service refused.
            ServiceUnreachableError: If there was no answer.
        """
        if method == "POST":
            request["headers"] = {"Idempotency-Key": str(uuid4()), **request.get("headers", {})}
        pauses = iter(_PAUSES if method in _REPEATABLE else ())
        first_try = Outage(self.patience + seconds)
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
                if response.status_code < httpx.codes.BAD_REQUEST or response.status_code in answers:
                    return response
                refused = self._error(response)
                if method in _REPEATABLE and response.status_code == httpx.codes.TOO_MANY_REQUESTS:
                    first_try.bear(refused, getattr(refused, "retry_after", 0.0))
                elif refused.code == _IN_PROGRESS:
                    first_try.bear(refused)  # the service is at work on what it got before the connection dropped
                else:
                    raise refused

    def get(self, kind: type[T], path: str, **params: Any) -> T:
        """The answer to a GET, as `kind`; parameters that are None are left out."""
        given = {name: value for name, value in params.items() if value is not None}
        return read(kind, self.send("GET", path, params=given))

    @contextmanager
    def stream(self, path: str, headers: Mapping[str, str]) -> Iterator[httpx.Response]:
        """The answer to a GET whose body is read piece by piece, as it was sent (no content coding)."""
        try:
            with self._http.stream("GET", path, headers={"Accept-Encoding": "identity", **headers}) as response:
                if response.status_code >= httpx.codes.BAD_REQUEST:
                    response.read()
                    raise self._error(response)
                yield response
        except httpx.TransportError as error:
            raise self._unreachable(error) from error

    def server_sent_events(self, path: str, headers: Mapping[str, str]) -> Iterator[httpx_sse.ServerSentEvent]:
        """The events of one connection, until the service or the network ends it."""
        with self.stream(path, {"Accept": "text/event-stream", "Cache-Control": "no-store", **headers}) as response:
            yield from httpx_sse.EventSource(response).iter_sse()

    def _error(self, response: httpx.Response) -> OctetError:
        error = refusal(response)
        if response.is_server_error and isinstance(error, UnexpectedAnswerError):
            # A proxy whose service is away, or a server that drops its requests as it stops.
            return ServiceUnreachableError(f"The service at {self.url} is not ready: {error.message}", hint=error.hint)
        return error

    def _unreachable(self, error: Exception) -> ServiceUnreachableError:
        reason = str(error).rstrip(".") or type(error).__name__
        if isinstance(error, httpx.ConnectError) and _is_local(self.url):
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


def _is_local(url: str) -> bool:
    try:
        host = httpx.URL(url).host
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except (httpx.InvalidURL, ValueError):
        return False
