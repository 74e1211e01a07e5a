"""An answer's body: unpacked within bounds whatever was sent, and as the UTF-8 that JSON is."""

import re
import zlib
from collections.abc import Iterator
from typing import Final

import httpx

#: The compression we ask for. httpx would also offer zstd, and unpacks every packet of the network
#: whole: 64 KB can become gigabytes.
ACCEPT_ENCODING: Final = "gzip"
#: Bytes unpacked at a time; the caller counts them before the next piece is made.
_PIECE_BYTES: Final = 256 * 1024
_BOM: Final = b"\xef\xbb\xbf"
#: Charsets that old servers write JSON in. No others are tried, because Python knows codecs that
#: are slow, or no charsets at all.
_OTHER_CHARSET: Final = re.compile(
    r"charset\s*=\s*[\"']?(iso-8859-\d{1,2}|latin-?1|windows-125\d|cp125\d|utf-16(?:le|be)?)\b",
    re.IGNORECASE,
)


class UnaskedEncodingError(Exception):
    """The answer is packed in a way we did not ask for; the message is its name."""


def pieces(response: httpx.Response) -> Iterator[bytes]:
    """The body as it arrives, unpacked, in pieces of bounded size.

    A piece is never much larger than what the network gave, or 256 KB.

    Raises:
        UnaskedEncodingError: If it is packed otherwise than asked for.
        httpx.DecodingError: If it cannot be unpacked.
        httpx.TransportError: If the connection breaks.
    """
    if response.is_stream_consumed:  # a transport without a network has read it whole
        yield response.content
        return
    encoding = response.headers.get("content-encoding", "").strip().lower()
    if encoding in ("", "identity"):
        yield from response.iter_raw()
    elif encoding in ("gzip", "x-gzip"):
        yield from _unpacked(response)
    else:
        raise UnaskedEncodingError(
            encoding if re.fullmatch(r"[a-z0-9, -]{1,30}", encoding) else "unknown"
        )


def _unpacked(response: httpx.Response) -> Iterator[bytes]:
    """A gzip body, unpacked piece by piece; several packed parts behind each other are one body."""
    unpacking, any_bytes = zlib.decompressobj(zlib.MAX_WBITS | 16), False
    for packed in response.iter_raw():
        left = packed
        any_bytes = any_bytes or bool(packed)
        while left or not unpacking.eof:
            if unpacking.eof and not left.strip(b"\0"):  # padding
                break
            if unpacking.eof:  # another part follows
                unpacking = zlib.decompressobj(zlib.MAX_WBITS | 16)
            try:
                piece = unpacking.decompress(left, _PIECE_BYTES)
            except zlib.error as error:
                raise httpx.DecodingError("not gzip", request=response.request) from error
            left = unpacking.unconsumed_tail or unpacking.unused_data
            if piece:
                yield piece
            elif not left:
                break
    if any_bytes and not unpacking.eof:
        raise httpx.DecodingError("cut off", request=response.request)


def utf8(body: bytes, content_type: str) -> bytes:
    """The body in UTF-8, without a byte order mark.

    It stays as it is where it is neither UTF-8 nor in the charset that the content type names.

    What is valid UTF-8 is taken for that, whatever the content type says: a wrong content type is
    more frequent than another charset.
    """
    named = _OTHER_CHARSET.search(content_type)
    if named is None:
        return body.removeprefix(_BOM)
    wide = named[1].lower().startswith("utf-16")  # ASCII in it would pass as UTF-8, full of zeros
    try:
        if not wide:
            body.decode()
            return body.removeprefix(_BOM)
    except UnicodeDecodeError:
        pass
    try:
        return body.decode(named[1]).removeprefix("\ufeff").encode()
    except (LookupError, UnicodeDecodeError):
        return body
