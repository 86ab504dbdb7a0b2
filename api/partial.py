"""Taking in a file in parts: each is stored as it arrives, and with the last one the file is read like any other."""

from __future__ import annotations

import hashlib
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, NamedTuple

from starlette.concurrency import run_in_threadpool

from api import bodies, tus
from api.disk import require_room
from api.errors import BodyTooLargeError, ChecksumMismatchError
from api.uploads import REFUSALS, Spooled, keep, label, path_of, recognise
from store import blobs, partial
from store.errors import RefusedUploadError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from uuid import UUID

    from fastapi import Request

    from api.doors.caller import Identity
    from api.service import Service
    from api.uploads import Reader, Row
    from octet.errors import OctetError
    from store.database import Session
    from store.tables import PartialUpload

_TELLING = 4096  # bytes of a file's beginning that tell its format


class Partial(NamedTuple):
    """An upload of some owner's, and what there is to do things to it."""

    service: Service
    readers: Mapping[str, Reader]
    caller: Identity
    id: UUID

    async def settled(self) -> PartialUpload:
        """Its row, once what a broken connection had sent of it is stored.

        Raises:
            NotFoundError: If the owner has none of that id; a subclass of it if it was given up.
        """
        await self.service.writers.settle(self.id)
        return await run_in_threadpool(self.get)

    def get(self) -> PartialUpload:
        """Its row, as it is."""
        with self.service.database.begin() as session:
            return partial.get(session, self.id, owner_id=self.caller.owner_id)

    def hold(self, session: Session) -> PartialUpload:
        """Its row, for this transaction alone."""
        return partial.hold(session, self.id, owner_id=self.caller.owner_id)

    def append(self, offset: int, data: bytes) -> PartialUpload:
        """Its row, with `data` added."""
        seconds = self.service.settings.partial_upload_seconds
        with self.service.database.begin() as session:
            return partial.append(session, self.id, offset, data, owner_id=self.caller.owner_id, keep_seconds=seconds)

    def complete(self, session: Session, result: Row) -> None:
        """Note what its file has become."""
        partial.complete(session, self.hold(session), result.id)

    def refuse(self, error: OctetError) -> None:
        """Note that its file is none that the service takes."""
        with self.service.database.begin() as session:
            partial.refuse(session, self.hold(session), error)


async def take_in_part(request: Request, upload: Partial, offset: int, checksum: tus.Checksum | None) -> PartialUpload:
    """Store the body of `request` as the part of a file that begins at `offset`.

    What has arrived of a part that breaks off is kept, unless it has a checksum: then all of it is, or nothing.

    Returns:
        The upload as it is then. With the last byte it becomes a model or a dataset.

    Raises:
        OctetError: If the part does not follow what has arrived, or the file is refused.
    """
    row = await upload.settled()
    if row.received == row.size:  # then somebody is reading it through, and has the answer in the end
        await upload.service.writers.settle(upload.id, None)
        row = await run_in_threadpool(upload.get)
    if row.error is not None:
        raise RefusedUploadError(row.error)
    partial.check_offset(row, offset)
    _check_size(row, offset + (bodies.announced(request) or 0))
    blocks = bodies.blocks(bodies.arriving(request), blobs.CHUNK)
    if checksum is not None:
        blocks = _checked(blocks, checksum, upload)
    with upload.service.writers.writing(upload.id):
        await _append(upload, row, blocks)
        row = await run_in_threadpool(upload.get)
        if row.received < row.size or row.result_id is not None:
            return row
        return await run_in_threadpool(_finish, upload, row)


async def _append(upload: Partial, row: PartialUpload, blocks: AsyncIterator[bytes]) -> None:
    """Add the blocks to what has arrived, one transaction each: what breaks off costs no more than a block."""
    offset = row.received
    async with bodies.Behind() as behind:
        async for block in blocks:
            _check_size(row, offset + len(block))
            if offset == 0 and len(block) >= _TELLING:
                await run_in_threadpool(_recognise, upload, row, block)
            await behind.do(upload.append, offset, block)
            offset += len(block)


def _check_size(row: PartialUpload, end: int) -> None:
    if end > row.size:
        raise BodyTooLargeError(f"The part ends beyond the file's {row.size:,} bytes.")


def _recognise(upload: Partial, row: PartialUpload, head: bytes) -> None:
    try:
        recognise(upload.service, upload.readers[row.kind], head)
    except REFUSALS as error:
        upload.refuse(error)
        raise


async def _checked(blocks: AsyncIterator[bytes], checksum: tus.Checksum, upload: Partial) -> AsyncIterator[bytes]:
    """The blocks, once all of them have arrived and have the checksum."""
    settings, digest = upload.service.settings, tus.new_hash(checksum)
    with TemporaryFile(dir=settings.spool_dir) as file:

        def keep_aside(block: bytes) -> None:
            require_room(settings)
            digest.update(block)
            file.write(block)

        async with bodies.Behind() as behind:
            async for block in blocks:
                await behind.do(keep_aside, block)
        if digest.digest() != checksum.digest:
            raise ChecksumMismatchError("The part does not have the checksum that came with it.", hint="Send it again.")
        file.seek(0)
        while block := await run_in_threadpool(file.read, blobs.CHUNK):
            yield block


def _finish(upload: Partial, row: PartialUpload) -> PartialUpload:
    """Read the file through and store it, as one that came in one piece.

    Repeating this does no harm: the same bytes are one model. So no lock is held while the file is read.
    """
    service, reader = upload.service, upload.readers[row.kind]
    require_room(service.settings, row.size)
    with TemporaryFile(dir=service.settings.spool_dir) as file:
        digest = hashlib.sha256()
        with service.database.begin() as session:
            for chunk in partial.read(session, upload.hold(session)):
                digest.update(chunk)
                file.write(chunk)
        file.flush()
        sha256 = digest.hexdigest()
        spooled = Spooled(path_of(file), sha256, row.size, label(row.name, sha256))
        try:
            keep(service, upload.caller, reader, spooled, row.upload_expires_at, upload.complete)
        except REFUSALS as error:
            upload.refuse(error)
            raise
    return upload.get()
