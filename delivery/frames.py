"""One zstd frame with a declared size, opened without trusting what it declares.

Source: RFC 8878 (frame header), facts about `ZstdDecompressor`: it allocates what a frame declares.
"""

import threading

import zstandard

_here = threading.local()
"""A thread's own: making one costs as much as opening a small frame."""


class BadFrameError(ValueError):
    """The bytes are not exactly one zstd frame with a declared content size."""


class SizeMismatchError(ValueError):
    """The frame declares, or holds, another size than was said outside."""


def open_frame(frame: bytes, expected_size: int) -> bytes:
    """Return the content of `frame`, which must be `expected_size` bytes.

    Nothing is decompressed before the declared size was compared, so a bomb costs nothing.

    Raises:
        BadFrameError: not one frame, no declared size, damaged, or bytes after it.
        SizeMismatchError: another size than expected.
    """
    try:
        parameters = zstandard.get_frame_parameters(frame)
    except zstandard.ZstdError as error:
        raise BadFrameError("the body is not a zstd frame") from error
    if parameters.content_size == zstandard.CONTENTSIZE_UNKNOWN:
        raise BadFrameError("the body's frame declares no size")
    if parameters.content_size != expected_size:
        raise SizeMismatchError(
            f"the body's frame declares {parameters.content_size} bytes, "
            f"the header says {expected_size}"
        )
    # One call into a buffer of the declared size, now known to be small: a frame that holds more
    # than it declares fails instead of growing.
    try:
        content = _decompressor().decompress(frame, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise BadFrameError("the body is not exactly one whole frame") from error
    if len(content) != expected_size:
        raise SizeMismatchError(f"the body holds {len(content)} bytes, not {expected_size}")
    return content


def make_frame(content: bytes) -> bytes:
    """Return `content` as one frame that declares its size."""
    return _compressor().compress(content)


def _compressor() -> zstandard.ZstdCompressor:
    found: zstandard.ZstdCompressor | None = getattr(_here, "compressor", None)
    if found is None:
        found = _here.compressor = zstandard.ZstdCompressor()
    return found


def _decompressor() -> zstandard.ZstdDecompressor:
    found: zstandard.ZstdDecompressor | None = getattr(_here, "decompressor", None)
    if found is None:
        found = _here.decompressor = zstandard.ZstdDecompressor()
    return found
