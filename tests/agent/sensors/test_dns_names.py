from hypothesis import given
from hypothesis import strategies as st

from agent.sensors.dns_names import MOST_NAME_BYTES, MOST_NAMES, questions

HEADER = bytes.fromhex("1234 0100 0001 0000 0000 0000")


def encoded(*labels: bytes) -> bytes:
    return b"".join(bytes([len(each)]) + each for each in labels) + b"\0\0\1\0\1"


def test_a_query_names_what_it_asks_for():
    assert questions(HEADER + encoded(b"Www", b"EXAMPLE", b"org")) == ("www.example.org",)


def test_several_questions_are_told_each_once():
    packet = HEADER[:4] + b"\0\3" + HEADER[6:] + encoded(b"a", b"b") * 2 + encoded(b"c")
    assert questions(packet) == ("a.b", "c")


def test_what_is_not_printable_is_escaped():
    assert questions(HEADER + encoded(b"a.b\\c d\0\xff")) == (r"a\x2eb\x5cc\x20d\x00\xff",)


def test_answers_pointers_and_cut_packets_have_no_names():
    query = HEADER + encoded(b"a", b"b")
    assert questions(query[:2] + b"\x81" + query[3:]) == ()
    assert questions(HEADER + b"\xc0\x0c\0\1\0\1") == ()
    assert questions(query[:-5]) == ()
    assert questions(HEADER + encoded()) == ()


@given(st.binary(max_size=512) | st.binary(max_size=500).map(HEADER.__add__))
def test_any_bytes_give_bounded_printable_names_or_none(packet):
    names = questions(packet)
    assert len(names) <= MOST_NAMES
    for name in names:
        assert 0 < len(name) <= MOST_NAME_BYTES
        assert name.isascii()
        assert name.isprintable()


@given(
    st.lists(
        st.lists(st.from_regex(r"[a-z0-9_-]{1,63}", fullmatch=True), min_size=1, max_size=3),
        min_size=1,
        max_size=16,
    )
)
def test_names_that_are_asked_for_are_found(names):
    packet = HEADER[:4] + len(names).to_bytes(2, "big") + HEADER[6:]
    for name in names:
        packet += encoded(*(each.encode() for each in name))
    assert questions(packet) == tuple(dict.fromkeys(".".join(name) for name in names))
