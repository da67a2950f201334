# SPDX-License-Identifier: MPL-2.0
"""Record batches (docs/PROTOCOL.md, Batches): 80 bytes of header with integers of constant width, then the records.

Records are packed and unpacked by one call into msgpack's C code for a whole batch; nothing here loops over bytes. The CRC is
left to the leader (attribute bit 15) when no C implementation of CRC-32C is installed."""
import bisect
import itertools
import struct
from functools import partial
from typing import Any, Callable, Iterator, List, Optional, Sequence, Tuple

import msgpack

from . import _errors
from .structs import ConsumerRecord

HEADER_BYTES = 80
_FIXED = struct.Struct(">B BqBiBBBIBHBIBqBqBqBhBiBIBIBI".replace(" ", ""))
NO_CRC = 1 << 15
NONE, LZ4, ZSTD = 0, 3, 4
BATCH_BYTES_MAX = 16777216
RAW_BYTES_MAX = 67108864
RECORD_BYTES_MAX = 8388608
OVERHEAD = 24  # bytes of a record beside key and value, at most, but for headers

_packer = partial(msgpack.Packer, use_bin_type=True, autoreset=True)
_new_record = partial(tuple.__new__, ConsumerRecord)


def _find_crc32c() -> Optional[Callable[..., int]]:
    try:
        from crc32c import crc32c as found  # type: ignore[import-not-found]

        return lambda data, before=0: found(data, before)
    except ImportError:
        pass
    try:
        import google_crc32c  # type: ignore[import-not-found]

        if google_crc32c.implementation != "c":
            return None
        return lambda data, before=0: google_crc32c.extend(before, bytes(data))
    except ImportError:
        return None


def _table() -> List[int]:
    rows = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        rows.append(byte)
    return rows


_TABLE = _table()


def slow_crc32c(data: bytes, before: int = 0) -> int:
    """Castagnoli's CRC in Python: for names, and for who insists."""
    crc = before ^ 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 255] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


fast_crc32c = _find_crc32c()
crc32c: Callable[..., int] = fast_crc32c or slow_crc32c


# ---- compression

def codec_of(name: Optional[str]) -> Tuple[int, Callable[[bytes], bytes]]:
    """(attribute bits, function) of a compression_type. ImportError says which package is missing."""
    if not name or name == "none":
        return NONE, bytes
    if name == "lz4":
        try:
            import lz4.frame  # type: ignore[import-untyped,import-not-found]
        except ImportError:
            raise ImportError("compression_type='lz4' needs the package lz4 (Debian: python3-lz4)") from None
        return LZ4, lz4.frame.compress
    if name == "zstd":
        try:
            import zstandard  # type: ignore[import-untyped,import-not-found]
        except ImportError:
            raise ImportError("compression_type='zstd' needs the package zstandard (Debian: python3-zstandard)") from None
        return ZSTD, zstandard.ZstdCompressor(level=3).compress
    raise ValueError("compression_type is %r; None, 'lz4' and 'zstd' are known (gzip and snappy are not)" % (name,))


def _inflate(codec: int, payload: bytes, raw_bytes: int) -> bytes:
    if raw_bytes > RAW_BYTES_MAX:
        raise _errors.BadBatchError("a batch says that it inflates to %d bytes; %d are allowed" % (raw_bytes, RAW_BYTES_MAX))
    try:
        if codec == LZ4:
            import lz4.frame

            inflater = lz4.frame.LZ4FrameDecompressor()
            raw = inflater.decompress(payload, raw_bytes + 1)
        elif codec == ZSTD:
            import zstandard

            raw = zstandard.ZstdDecompressor().decompress(payload, max_output_size=raw_bytes)
        else:
            raise _errors.UnsupportedCompressionError("a batch is compressed by codec %d, which is not known" % codec)
    except ImportError as error:
        raise _errors.UnsupportedCompressionError(
            "a batch is compressed with %s; install the package %s" % (("lz4", "lz4") if codec == LZ4 else ("zstd", "zstandard"))
        ) from error
    except _errors.WeftError:
        raise
    except Exception as error:  # of the library, whatever its class
        raise _errors.BadBatchError("a batch can't be inflated: %s" % error) from error
    if len(raw) != raw_bytes:
        raise _errors.BadBatchError("a batch says that it inflates to %d bytes; it does not" % raw_bytes)
    return raw


# ---- encoding

def pack_records(records: List[Tuple[Any, ...]]) -> bytes:
    """[(ts_delta, key, value, headers)] -> the records, one behind the other."""
    packed = _packer().pack(records)
    return packed[1 if len(records) < 16 else 3 if len(records) < 65536 else 5:]


def header_bytes(attributes: int, count: int, base_ms: int, max_ms: int, producer_id: int, epoch: int, sequence: int,
                 raw_bytes: int, payload_bytes: int) -> bytes:
    return _FIXED.pack(0x9E, 0xD3, 0, 0xD2, 0, 0xCC, 1, 0xCE, 0, 0xCD, attributes, 0xCE, count - 1, 0xD3, base_ms, 0xD3, max_ms,
                       0xD3, producer_id, 0xD1, epoch, 0xD2, sequence, 0xCE, count, 0xCE, raw_bytes, 0xC6, payload_bytes)


def seal(header: bytes, payload: bytes) -> bytes:
    """The whole batch; with its CRC where that costs nothing worth mentioning."""
    if fast_crc32c is None:
        attributes = int.from_bytes(header[23:25], "big") | NO_CRC
        return b"".join((header[:23], attributes.to_bytes(2, "big"), header[25:], payload))
    crc = fast_crc32c(header[:17], fast_crc32c(payload, fast_crc32c(header[22:])))
    return b"".join((header[:18], crc.to_bytes(4, "big"), header[22:], payload))


# ---- decoding

class Batch:
    """One batch of a fetched frame: what its header says, and where it lies."""

    __slots__ = ("at", "end", "base_offset", "leader_epoch", "attributes", "next_offset", "base_ms", "max_ms", "count",
                 "raw_bytes", "frame")

    def __init__(self, frame: bytes, at: int) -> None:
        try:
            (first, head0, base, head1, epoch, head2, form, head3, _crc, head4, attributes, head5, last, head6, base_ms, head7,
             max_ms, _h8, _pid, _h9, _pe, _h10, _seq, head11, count, head12, raw, head13, size) = _FIXED.unpack_from(frame, at)
        except struct.error:
            raise _errors.BadBatchError("a batch ends within its header") from None
        heads = (first, head0, head1, head2, head3, head4, head5, head6, head7, head11, head12, head13)
        if heads != (0x9E, 0xD3, 0xD2, 0xCC, 0xCE, 0xCD, 0xCE, 0xD3, 0xD3, 0xCE, 0xCE, 0xC6) or form != 1:
            raise _errors.BadBatchError("what stands where a batch is expected is none")
        self.frame, self.at, self.end = frame, at, at + HEADER_BYTES + size
        if self.end > len(frame):
            raise _errors.BadBatchError("a batch is longer than what was received")
        self.base_offset, self.leader_epoch, self.attributes = base, epoch, attributes
        self.next_offset, self.base_ms, self.max_ms, self.count, self.raw_bytes = base + last + 1, base_ms, max_ms, count, raw

    def check(self) -> None:
        """Its CRC. BadCrcError."""
        data = memoryview(self.frame)[self.at:self.end]
        found = crc32c(bytes(data[:17]), crc32c(bytes(data[22:])))
        if found != int.from_bytes(data[18:22], "big"):
            raise _errors.BadCrcError("the batch does not match its checksum")

    def rows(self) -> Any:
        """The records as msgpack has them: a list of [ts_delta, key, value, headers], with integers for what is gone."""
        codec = self.attributes & 7
        payload: Any = memoryview(self.frame)[self.at + HEADER_BYTES:self.end]
        if codec:
            payload = _inflate(codec, bytes(payload), self.raw_bytes)
        whole = self.next_offset - self.base_offset == self.count
        try:
            if whole:  # an array's head before them, and they are one value
                return msgpack.unpackb(b"".join((b"\xdd", self.count.to_bytes(4, "big"), payload)), raw=True, use_list=False)
            unpacker = msgpack.Unpacker(raw=True, use_list=False, max_buffer_size=len(payload) + 1)
            unpacker.feed(payload)
            return list(unpacker)
        except Exception as error:  # msgpack has many, and none of them may pass as ours
            raise _errors.BadBatchError("the batch holds no legal records: %s" % error) from error


def batches(frame: bytes) -> Iterator[Batch]:
    """The whole batches of a frame; BadBatchError where none can be read."""
    at = 0
    while at < len(frame):
        batch = Batch(frame, at)
        yield batch
        at = batch.end


def _headers(flat: Any) -> List[Tuple[str, Optional[bytes]]]:
    if not flat:
        return []
    return [(name.decode("utf-8", "surrogateescape"), value) for name, value in zip(flat[::2], flat[1::2])]




class Undecoded(Exception):
    """A deserializer of the program failed: what it raised, at which offset, and the records before that one."""

    def __init__(self, error: Exception, offset: int, before: List[ConsumerRecord]) -> None:
        Exception.__init__(self, error, offset)
        self.error, self.offset, self.before = error, offset, before


def records_of(topic: str, number: int, batch: Batch, from_offset: int, key_of: Optional[Callable[[bytes], Any]],
               value_of: Optional[Callable[[bytes], Any]]) -> List[ConsumerRecord]:
    """The records of a batch from an offset on, as the program sees them. Undecoded."""
    rows, offsets = batch.rows(), range(batch.base_offset, batch.next_offset)  # type: Any, Sequence[int]
    if len(offsets) != batch.count:
        rows, offsets = _without_gaps(rows, batch.base_offset)
    if from_offset > batch.base_offset:  # those before it are not even deserialized: one may be what the program seeks to get past
        skipped = bisect.bisect_left(offsets, from_offset)
        rows, offsets = rows[skipped:], offsets[skipped:]
    if not rows:
        return []
    try:
        deltas, keys, values, headers = zip(*rows)
    except (TypeError, ValueError):
        raise _errors.BadBatchError("the batch holds what is no record") from None
    kind = batch.attributes >> 3 & 1
    times: Any = itertools.repeat(batch.max_ms) if kind else map(batch.base_ms.__add__, deltas)
    error = late = None
    if key_of:
        keys, error = _deserialized(keys, key_of)
    if value_of:
        values, late = _deserialized(values, value_of)
    if late is not None and len(values) <= len(keys):
        error = late
    # iter(list, None): an empty list for each, made without a line of Python
    heads: Any = map(_headers, headers) if any(headers) else iter(list, None)
    made = list(map(_new_record, zip(itertools.repeat(topic), itertools.repeat(number), offsets, times, itertools.repeat(kind),
                                     keys, values, heads)))
    if error is not None:
        raise Undecoded(error, offsets[len(made)], made)
    return made


def _deserialized(raws: Any, function: Callable[[bytes], Any]) -> Tuple[Any, Optional[Exception]]:
    """All of them, or those before the first that fails, and why."""
    made: List[Any] = []
    try:
        made.extend(None if raw is None else function(raw) for raw in raws)
    except Exception as error:
        return made, error
    return made, None


def _without_gaps(rows: Any, at: int) -> Tuple[List[Any], List[int]]:
    kept, offsets = [], []
    for row in rows:
        if isinstance(row, int):  # compacted: so many are gone
            at += row
        else:
            kept.append(row)
            offsets.append(at)
            at += 1
    return kept, offsets
