"""Large files of our own: compressed as the end of their name says, .gz or .zst, and written whole or not at all."""

from __future__ import annotations

import gzip
import io
import os
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO, Final, cast

import zstandard

from squirrel_ioc.errors import FormatError
from squirrel_ioc.formats._lines import open_regular
from squirrel_ioc.formats._new_file import new_binary
from squirrel_ioc.formats._protocol import Limits, Sink

__all__ = ["BigFile", "new_file"]

_GZIP_LEVEL: Final = 1  # twice as fast as 6, for a file that is a twentieth larger
_ZSTD_LEVEL: Final = 3
_ZSTD_WINDOW: Final = 1 << 27  # bytes of memory at most, whatever a file asks for


class BigFile:
    """A file that is open for reading, several times if need be. Raises FormatError, as everything that reads it."""

    def __init__(self, path: Path, limits: Limits) -> None:
        self.name = path.name
        self._file = open_regular(path, path.name, limits)
        self.size_bytes = os.fstat(self._file.fileno()).st_size
        self._state = self._look()

    def close(self) -> None:
        """Close it."""
        self._file.close()

    @property
    def position(self) -> int:
        """How many of its bytes, compressed, have been read."""
        return self._file.tell()

    @property
    def changed(self) -> bool:
        """Whether somebody has written to it since it was opened."""
        return self._look() != self._state

    @contextmanager
    def text(self) -> Iterator[BinaryIO]:
        """The content from its beginning. What is wrong with the compression is a FormatError."""
        self._file.seek(0)
        try:
            with ExitStack() as stack:
                if self.name.endswith(".gz"):
                    yield cast(BinaryIO, stack.enter_context(gzip.GzipFile(fileobj=self._file, mode="rb")))
                elif self.name.endswith(".zst"):
                    decompressor = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW)
                    reader = decompressor.stream_reader(self._file, read_across_frames=True, closefd=False)
                    yield cast(BinaryIO, stack.enter_context(io.BufferedReader(cast(io.RawIOBase, reader), 1 << 20)))
                else:
                    yield self._file
        except (EOFError, zlib.error, gzip.BadGzipFile, zstandard.ZstdError) as e:
            raise FormatError([f"{self.name}: the compressed data are damaged: {e}"]) from e
        except OSError as e:
            raise FormatError([f"{self.name}: cannot be read: {e.strerror or e}"]) from e

    def _look(self) -> tuple[int, int]:
        status = os.fstat(self._file.fileno())
        return status.st_size, status.st_mtime_ns


@contextmanager
def new_file(path: Path, *, replace: bool) -> Iterator[Sink]:
    """A file to be written with text; it appears, whole, at the end of the block, and not at all when that raises.

    Raises FormatError when it cannot be written, and without `replace` when there is one already.
    """
    with new_binary(path, replace=replace) as file, ExitStack() as stack:
        write = _compressor(file, path.name, stack)
        yield lambda text: write.write(text.encode())


def _compressor(file: BinaryIO, name: str, stack: ExitStack) -> BinaryIO:
    if name.endswith(".gz"):
        # Without a name and a time: the same dump is the same file.
        return cast(
            BinaryIO, stack.enter_context(gzip.GzipFile("", "wb", compresslevel=_GZIP_LEVEL, fileobj=file, mtime=0))
        )
    if name.endswith(".zst"):
        compressor = zstandard.ZstdCompressor(level=_ZSTD_LEVEL, write_checksum=True)
        return cast(BinaryIO, stack.enter_context(compressor.stream_writer(file, closefd=False)))
    return file
