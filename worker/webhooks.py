"""Tells webhooks that jobs have ended, as Standard Webhooks 1.0 has it: signed, at least once, again when it fails.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, Any

import httpx
import structlog
from standardwebhooks import Webhook as Signer

from octet.version import __version__
from store import outbox
from store.destinations import Destination, resolve
from store.errors import InvalidWebhookError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from uuid import UUID

    from store.database import Database
    from store.outbox import Message
    from store.settings import Settings

_AT_ONCE = 32  # receivers that one worker waits for at a time
_ATTEMPT_SECONDS = 15.0  # for all of it: one that answers a byte at a time gets no longer
_CONNECT_SECONDS = 5.0  # for each address of a name
_LOOK_SECONDS = 1.0  # for what has become due meanwhile
_GONE = 410

_log = structlog.get_logger()
# An address may hold a token, and httpx logs every one.
logging.getLogger("httpx").setLevel(logging.WARNING)


def deliver(database: Database, settings: Settings) -> None:
    """Send the messages that are due, and those that become due meanwhile, until none is left.

    Any number of workers may do this at the same time. It may be cut off at any moment: what was not noted as delivered
    by then is sent again.
    """
    due = _take(database, (), _AT_ONCE)
    if due:
        asyncio.run(_Round(database, settings).send_all(due))


class _Round:
    """One event loop's worth of sending."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._networks = settings.webhook_networks
        self._tls = httpx.create_ssl_context()
        self._one_by_one = asyncio.Lock()  # one connection to the database is enough, and jobs need the others

    async def send_all(self, due: list[Message]) -> None:
        """Send `due` and what becomes due meanwhile. A webhook gets one message at a time from each worker."""
        sending: dict[asyncio.Task[None], UUID] = {}
        while due or sending:
            sending |= {asyncio.create_task(self._send(message)): message.webhook_id for message in due}
            done, _ = await asyncio.wait(sending, timeout=_LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                del sending[task]
                if error := task.exception():
                    _log.warning("a message is left to be sent again", error=str(error), exc_info=error)
            due = await self._in_database(_take, self._database, sending.values(), _AT_ONCE - len(sending))

    async def _send(self, message: Message) -> None:
        with structlog.contextvars.bound_contextvars(webhook_id=str(message.webhook_id), message_id=str(message.id)):
            note = await self._attempt(message)
            await self._in_database(_write, self._database, note, message)

    async def _attempt(self, message: Message) -> Callable[..., None]:
        """Send a message; what is to be noted about it.

        The receiver's own words are not kept: a webhook is no way to read what only this service can reach.
        """
        try:
            async with asyncio.timeout(_ATTEMPT_SECONDS):
                answer = await self._post(await resolve(message.url, self._networks), message)
        except InvalidWebhookError as error:
            why = error.message
        except (TimeoutError, httpx.TimeoutException):
            why = f"No answer within {_ATTEMPT_SECONDS:g} s."
        except (httpx.HTTPError, OSError) as error:  # httpx passes on as it is what TLS says once a connection stands
            why = _in_words(error)
        else:
            _log.info("webhook answered", attempt=message.attempt, status=answer.status_code)
            return _note(answer)
        _log.info("webhook failed", attempt=message.attempt, error=why)
        return partial(outbox.failed, error=why)

    async def _post(self, destination: Destination, message: Message) -> httpx.Response:
        """The head of the answer, from the first address that takes a connection."""
        url = destination.url
        refused: httpx.TransportError = httpx.ConnectError("")
        timeout = httpx.Timeout(_ATTEMPT_SECONDS, connect=_CONNECT_SECONDS)
        # A client of its own for each message: a connection that was made for one name is never used for another.
        async with httpx.AsyncClient(verify=self._tls, timeout=timeout, trust_env=False) as http:
            for address in destination.addresses:
                try:
                    async with http.stream(
                        "POST",
                        url.copy_with(host=str(address)),
                        content=message.payload.encode(),
                        headers={"Host": url.netloc.decode(), **_headers(message)},
                        extensions={"sni_hostname": url.raw_host.decode()},  # the certificate must be of the name
                    ) as answer:
                        return answer
                except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                    refused = error
        raise refused

    async def _in_database(self, call: Callable[..., Any], *values: Any) -> Any:
        async with self._one_by_one:
            return await asyncio.to_thread(call, *values)


def _take(database: Database, busy: Collection[UUID], limit: int) -> list[Message]:
    with database.begin() as session:
        return outbox.take(session, busy=busy, limit=limit)


def _write(database: Database, note: Callable[..., None], message: Message) -> None:
    with database.begin() as session:
        note(session, message)


def _headers(message: Message) -> dict[str, str]:
    return {
        "Content-Type": "application/json",
        "User-Agent": f"octet/{__version__}",
        "webhook-id": str(message.id),
        "webhook-timestamp": str(int(message.at.timestamp())),
        "webhook-signature": Signer(message.secret).sign(str(message.id), message.at, message.payload),
    }


def _note(answer: httpx.Response) -> Callable[..., None]:
    """What an answer says: redirects are not followed, so only 2xx is success."""
    status = answer.status_code
    if answer.is_success:
        return partial(outbox.delivered, status=status)
    if status == _GONE:
        return partial(outbox.gone, status=status)
    asked = answer.headers.get("Retry-After", "")
    wait = float(asked) if asked.isdecimal() else 0.0
    return partial(outbox.failed, error=f"It answered {status}.", status=status, wait_seconds=wait)


def _in_words(error: httpx.HTTPError | OSError) -> str:
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return "The certificate is not of this host, or of nobody who is trusted."
    if isinstance(error, httpx.ConnectError):
        return "No connection could be made."
    return "The connection broke before there was an answer."
