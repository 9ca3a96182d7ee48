"""What passes and what is refused, batch by batch, without its neighbours."""

import contextlib
import struct

import pytest
import zstandard
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from chassis.tls import Peer
from delivery.checks import Limits, RejectedError, check
from delivery.frames import BadFrameError, SizeMismatchError, open_frame
from nightherd.event.v1 import delivery_pb2 as pb
from tests.builders import HOST, a_body, sealed_batch

PEER = Peer("host", HOST, "default")
REJECTION = pb.Rejection
KEY = Ed25519PrivateKey.generate()
SIGNED = Peer("host", HOST, "default", KEY.public_key().public_bytes_raw())


def compress(raw: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=3).compress(raw)


def refused(batch, peer=PEER, **options):
    with pytest.raises(RejectedError) as why:
        check(batch, peer, Limits(), **options)
    assert str(why.value)
    return why.value.reason


def test_a_good_batch_passes_with_its_body():
    checked = check(sealed_batch(signer=KEY), SIGNED, Limits(), decode=True)
    assert checked.body() == a_body()
    assert checked.flags == ()


def test_garbage_foreign_and_bent_batches_are_refused_each_for_its_reason():
    good = sealed_batch()
    garbage = pb.SealedBatch(header=b"\xff\xff\xff", body=good.body)
    assert refused(garbage) == REJECTION.REASON_MALFORMED
    assert refused(pb.SealedBatch()) == REJECTION.REASON_MALFORMED
    assert refused(sealed_batch(host_id="f" * 32)) == REJECTION.REASON_FOREIGN_HOST
    assert refused(sealed_batch(herd="other")) == REJECTION.REASON_FOREIGN_HERD
    assert refused(sealed_batch(body_hash=bytes(32))) == REJECTION.REASON_BAD_HASH
    assert refused(sealed_batch(number=0)) == REJECTION.REASON_MALFORMED
    assert refused(sealed_batch(chain_id=b"short")) == REJECTION.REASON_MALFORMED
    assert refused(sealed_batch(body_size_bytes=1)) == REJECTION.REASON_SIZE_MISMATCH
    assert refused(sealed_batch(body_size_bytes=5 << 20)) == REJECTION.REASON_OVERSIZE
    assert refused(sealed_batch(body_size_bytes=-1)) == REJECTION.REASON_OVERSIZE


def test_a_declared_bomb_is_refused_without_decompressing():
    batch = sealed_batch()
    batch.body = compress(bytes(100 << 20))
    assert refused(batch) == REJECTION.REASON_SIZE_MISMATCH
    bomb = sealed_batch(body_size_bytes=100 << 20)
    bomb.body = batch.body
    assert refused(bomb) == REJECTION.REASON_OVERSIZE


def test_two_frames_and_trailing_bytes_are_refused():
    batch = sealed_batch()
    one = batch.body
    batch.body = one + one
    assert refused(batch) == REJECTION.REASON_BAD_FRAME
    batch.body = one + b"x"
    assert refused(batch) == REJECTION.REASON_BAD_FRAME
    batch.body = one[:-1]
    assert refused(batch) == REJECTION.REASON_BAD_FRAME


def test_a_frame_that_holds_more_than_it_declares_fails_without_growing():
    block = struct.pack("<I", (128 * 1024 << 3) | 2)[:3] + b"a"
    last = struct.pack("<I", (1 << 3) | 3)[:3] + b"a"
    lying = b"\x28\xb5\x2f\xfd\x20" + bytes([100]) + block * 1000 + last
    with pytest.raises(BadFrameError):
        open_frame(lying, 100)


@given(st.binary(max_size=200), st.integers(0, 300))
def test_any_bytes_are_opened_or_refused(frame, size):
    with contextlib.suppress(BadFrameError, SizeMismatchError):
        assert len(open_frame(frame, size)) == size


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_any_header_and_body_are_refused_not_fatal(header, body):
    refused(pb.SealedBatch(header=header, body=body))


def test_a_wrong_signature_is_refused_and_none_is_flagged():
    other = Ed25519PrivateKey.generate()
    assert refused(sealed_batch(signer=other), SIGNED) == REJECTION.REASON_BAD_SIGNATURE
    assert check(sealed_batch(), SIGNED, Limits()).flags == ("unsigned",)


def test_what_newer_agents_add_is_accepted_and_flagged():
    newer = sealed_batch(body_format=9)
    newer.body = b"not zstd at all"
    assert "unknown body format" in check(newer, PEER, Limits()).flags
    batch = sealed_batch()
    batch.header += b"\xf8\x07\x01"
    assert "unknown header field" in check(batch, PEER, Limits()).flags


def test_an_importer_speaks_for_imported_hosts_only():
    importer = Peer("importer", "", "")
    imported = sealed_batch(host_id="import-1", origin=pb.ORIGIN_IMPORTED, herd="any")
    assert check(imported, importer, Limits()).header.host_id == "import-1"
    assert refused(sealed_batch(), importer) == REJECTION.REASON_FOREIGN_HOST
    bound = Peer("importer", "", "web")
    assert refused(imported, bound) == REJECTION.REASON_FOREIGN_HERD


def test_a_body_that_is_no_event_batch_is_refused_where_it_is_decoded():
    batch = sealed_batch()
    raw = b"\xff\xff\xff\xff"
    import hashlib

    header = pb.BatchHeader.FromString(batch.header)
    header.body_hash = hashlib.sha256(raw).digest()
    header.body_size_bytes = len(raw)
    bad = pb.SealedBatch(header=header.SerializeToString(), body=compress(raw))
    check(bad, PEER, Limits())
    assert refused(bad, decode=True) == REJECTION.REASON_MALFORMED


def test_an_index_that_is_too_large_is_refused():
    batch = sealed_batch()
    batch.index.terms.extend(f"u:{n}" for n in range(600))
    assert refused(batch) == REJECTION.REASON_OVERSIZE


def test_numbers_and_host_ids_that_would_bend_document_ids_are_refused():
    assert refused(sealed_batch(number=10**15)) == REJECTION.REASON_MALFORMED
    importer = Peer("importer", "", "")
    for odd in ("a/b", "$a", "a\0b", "x" * 129):
        bent = sealed_batch(host_id=odd, origin=pb.ORIGIN_IMPORTED)
        assert refused(bent, importer) == REJECTION.REASON_MALFORMED


def test_an_index_with_too_many_counts_is_refused():
    batch = sealed_batch()
    for minute in range(3000):
        batch.index.counts.add(minute=minute, kind="exec", count=1)
    assert refused(batch) == REJECTION.REASON_OVERSIZE
