"""Forms of audit records say what reading field by field says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.sensors.audit_fields import UNTRUSTED, in_form, read, read_one_by_one
from agent.sensors.audit_forms import form_of

USUAL = (
    b"pid=12910 uid=0 auid=1000 ses=1 subj=s0-s0:c0.c1023 msg='op=PAM:session_open "
    b'grantors=pam_unix acct="root" exe="/usr/bin/sudo" hostname=? addr=192.0.2.1 '
    b'terminal=/dev/pts/0 res=success\'\x1dUID="root" AUID="alice"'
)


def test_another_record_of_the_form_is_read_by_it():
    form = form_of(USUAL, UNTRUSTED)
    other = USUAL.replace(b"12910", b"7").replace(b"/usr/bin/sudo", b"/usr/bin/su")
    assert in_form(form, other) == read_one_by_one("USER_START", other)
    assert in_form(form, other)["exe"] == b"/usr/bin/su"


@pytest.mark.parametrize(
    "odd",
    [
        b"op=adding user acct=7",
        b"pid=1 pid=2",
        b"pid=1  uid=2",
        b"user pid=1",
        b"a='b c'",
        b'name=a"b',
        b"msg='a=1' msg='b=2'",
        b"a=(x)",
        b"",
    ],
)
def test_what_is_worded_in_an_odd_way_is_no_form(odd):
    assert form_of(odd, UNTRUSTED) is None


PIECES = st.sampled_from(
    [*USUAL.replace(b"'", b" ' ").split(b" "), b" ", b"  ", b"'", b'"', b"\x1d", b"msg='", b" msg='", b"acct=41", b"acct=?", b"op=a b", b"x=", b"exe=(null)", b"a=(b", b"=", b"name=4142", b'exe="a b=c"']
)  # fmt: skip
TEXTS = st.lists(PIECES | st.binary(max_size=3)).map(b" ".join) | st.lists(PIECES).map(b"".join)


@given(TEXTS, TEXTS)
def test_a_form_says_what_reading_one_by_one_says(learned, text):
    form = form_of(learned, UNTRUSTED)
    if form is not None:
        assert in_form(form, learned) == read_one_by_one("USER", learned)
        assert in_form(form, text) in (None, read_one_by_one("USER", text))


@given(st.data())
def test_values_of_a_form_may_be_anything(data):
    values = st.binary(max_size=6) | st.sampled_from(
        [b"?", b"(null)", b"", b"41", b'"a"', b"a b=c"]
    )
    form = form_of(b"pid=1 msg='acct=\"a\" exe=41 res=1'", UNTRUSTED)
    text = b"pid=%b msg='acct=\"%b\" exe=%b res=%b'" % tuple(data.draw(values) for _ in range(4))
    assert in_form(form, text) in (None, read_one_by_one("USER", text))


def test_reading_does_not_change_once_a_form_is_known():
    texts = [USUAL.replace(b"12910", b"%d" % number) for number in range(100)]
    assert [read("USER_START", text) for text in texts] == [
        read_one_by_one("USER_START", text) for text in texts
    ]
