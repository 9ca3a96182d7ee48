"""Signed lists of heads: good ones pass, any change is found."""

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from evidence.heads import Head, ListCheck, line

KEY = Ed25519PrivateKey.generate()
PUBLIC = KEY.public_key().public_bytes_raw()


def head(number, host="h", letter="a"):
    return Head(host, "0" * 32, number, f"{letter * 60}{number:04x}")


def a_list(*heads):
    lines = []
    for hour, found in enumerate(heads):
        previous = lines[-1] if lines else b""
        lines.append(line(f"2026-11-24T{hour:02}:00:00Z", found, previous, KEY))
    return lines


GOOD = a_list([head(1), head(4, "other")], [], [head(7)], [head(9)])


def checked(lines, key=PUBLIC):
    check = ListCheck(key)
    for one in lines:
        check.see(one)
    return check


def test_a_good_list_says_the_latest_head_of_each_chain():
    check = checked(GOOD)
    assert check.faults == []
    assert {h.host: h.number for h in check.heads.values()} == {"h": 9, "other": 4}
    assert (check.lines, check.last_time) == (4, "2026-11-24T03:00:00Z")


def test_another_key_is_nobodys():
    other = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    assert len(checked(GOOD, other).faults) == len(GOOD)


@given(st.integers(0, 3), st.data())
def test_any_changed_byte_is_found(place, data):
    lines = list(GOOD)
    at = data.draw(st.integers(0, len(lines[place]) - 2))
    changed = bytearray(lines[place])
    changed[at] ^= data.draw(st.integers(1, 255))
    lines[place] = bytes(changed)
    assert checked(lines).faults


def test_a_line_that_was_taken_out_or_moved_is_found():
    assert checked(GOOD[:1] + GOOD[2:]).faults
    assert checked([GOOD[0], GOOD[2], GOOD[1], GOOD[3]]).faults
    assert checked(GOOD[1:]).faults


def test_a_chain_that_went_back_is_found():
    for later in (head(6), head(7, letter="b")):
        (fault,) = checked(a_list([head(7)], [later])).faults
        assert "went back" in fault


@given(st.binary(max_size=200))
def test_anything_can_be_read(content):
    assert checked([content]).faults
