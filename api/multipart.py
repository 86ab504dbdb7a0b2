"""The one file of a `multipart/form-data` body, piece by piece as it arrives."""

from __future__ import annotations

from typing import TYPE_CHECKING

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from api.errors import IncompleteBodyError, InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_MAX_FIELD = 4096  # bytes of a text field: a label
_MAX_BOUNDARY = 70  # RFC 2046, section 5.1.1
_HOW = "Send one file in the field `file`, for example with `curl -F file=@model.pt2`."


class FileForm:
    """A form with one file and, beside it, a label; other text fields are passed over, not kept.

    Attributes:
        file_name: The name the file has on the sender's side, once its part has begun.
        name: The text field `name`, once its part has ended.
    """

    def __init__(self, content_type: str) -> None:
        _, options = parse_options_header(content_type)
        boundary = options.get(b"boundary", b"")
        if not 1 <= len(boundary) <= _MAX_BOUNDARY:
            said = f"The form's Content-Type names no boundary of 1 to {_MAX_BOUNDARY} characters."
            raise InvalidRequestError(said, hint=_HOW)
        self.file_name: str | None = None
        self.name: str | None = None
        self._file_data: list[bytes] = []
        self._header_name = self._header_value = self._text = b""
        self._disposition = b""
        self._field = ""
        self._in_file = self._ended = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._part_begin,
                "on_header_field": self._header_field,
                "on_header_value": self._header_value_data,
                "on_header_end": self._header_end,
                "on_headers_finished": self._headers_finished,
                "on_part_data": self._part_data,
                "on_part_end": self._part_end,
                "on_end": self._end,
            },
        )

    async def file(self, body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The bytes of the file, out of the bytes of the form.

        Raises:
            InvalidRequestError: If the body is not a form with exactly one file.
            IncompleteBodyError: If the form's closing boundary never comes.
        """
        async for received in body:
            try:
                self._parser.write(received)
            except MultipartParseError as error:
                raise InvalidRequestError(f"The form cannot be read: {error}.", hint=_HOW) from error
            for data in self._file_data:
                yield data
            self._file_data.clear()
        if not self._ended:
            raise IncompleteBodyError("The form ended before its closing boundary.", hint="Send it again.")
        if self.file_name is None:
            raise InvalidRequestError("The form has no file.", hint=_HOW)

    def _part_begin(self) -> None:
        self._disposition = self._text = b""
        self._in_file = False

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _header_value_data(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _header_end(self) -> None:
        if self._header_name.lower() == b"content-disposition":
            self._disposition = self._header_value
        self._header_name = self._header_value = b""

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        self._field = options.get(b"name", b"").decode(errors="replace")
        if b"filename" in options:
            if self.file_name is not None:
                raise InvalidRequestError("The form has more than one file.", hint=_HOW)
            self.file_name = options[b"filename"].decode(errors="replace")
            self._in_file = True

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        if self._in_file:
            self._file_data.append(data[start:end])
            return
        self._text += data[start:end]
        if len(self._text) > _MAX_FIELD:
            raise InvalidRequestError(f"The form's field {self._field!r} is longer than {_MAX_FIELD} bytes.", hint=_HOW)

    def _part_end(self) -> None:
        if self._field == "name" and not self._in_file:
            self.name = self._text.decode(errors="replace")

    def _end(self) -> None:
        self._ended = True
