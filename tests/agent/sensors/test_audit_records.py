import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.sensors.audit_records import parse, type_name


@given(st.integers(0, 70000), st.binary(max_size=300))
def test_any_bytes_give_a_record(number, text):
    record = parse(number, text)
    assert record.kind
    assert all(isinstance(value, bytes) for value in record.fields.values())


@given(
    st.dictionaries(
        st.from_regex(r"[a-z][a-z_]{0,8}", fullmatch=True),
        st.binary(max_size=40).map(lambda raw: raw.hex().upper().encode() or b"00"),
        max_size=6,
    )
)
def test_hexadecimal_is_decoded_where_the_format_writes_it(fields):
    text = b"audit(1.000:2): " + b" ".join(
        name.encode() + b"=" + value for name, value in fields.items()
    )
    read = parse(1100, text).fields
    if "acct" in fields:
        assert read["acct"] == bytes.fromhex(fields["acct"].decode())
    assert read.keys() == fields.keys()


def test_a_user_message_s_own_fields_count():
    record = parse(
        1112,
        b"audit(1795511388.314:12): pid=7464 uid=0 auid=1001 ses=3 msg='op=login id=1001 "
        b'exe="/usr/sbin/sshd" hostname=? addr=127.0.0.1 terminal=/dev/pts/1 res=success\'\0',
    )
    assert record.kind == "USER_LOGIN"
    assert (record.wall_ns, record.serial) == (1795511388314000000, 12)
    assert record.fields == {
        "pid": b"7464",
        "uid": b"0",
        "auid": b"1001",
        "ses": b"3",
        "op": b"login",
        "id": b"1001",
        "exe": b"/usr/sbin/sshd",
        "hostname": b"",
        "addr": b"127.0.0.1",
        "terminal": b"/dev/pts/1",
        "res": b"success",
    }


def test_a_command_in_hexadecimal_is_read():
    record = parse(
        1123,
        b'audit(1.5:1): pid=1 msg=\'cwd="/home/a" cmd=75736572616464202D4D206E exe="/usr/bin/sudo" '
        b"terminal=pts/1 res=success'",
    )
    assert record.fields["cmd"] == b"useradd -M n"
    assert record.wall_ns == 0  # a stamp has three fraction digits


def test_values_with_spaces_stay_whole():
    record = parse(
        1114, b"audit(1.000:1): pid=9 msg='op=adding user acct=\"x\" terminal=? res=success'"
    )
    assert record.fields["op"] == b"adding user"
    assert record.fields["acct"] == b"x"


def test_a_message_cannot_overrule_what_the_kernel_wrote():
    record = parse(1100, b"audit(1.000:1): pid=9 auid=1000 msg='auid=0 op=x res=success'")
    assert record.fields["auid"] == b"1000"
    assert record.fields["op"] == b"x"


def test_digits_that_are_no_hexadecimal_stay_numbers():
    assert parse(1006, b"audit(1.000:1): pid=1234 auid=1001 ses=10").fields["pid"] == b"1234"


def test_firewall_records_are_read():
    record = parse(
        1325, b'audit(1.000:7): table=x:2 family=1 entries=1 op=nft_register_table pid=2 comm="nft"'
    )
    assert record.kind == "NETFILTER_CFG"
    assert record.fields["comm"] == b"nft"
    assert record.fields["op"] == b"nft_register_table"


@pytest.mark.parametrize(
    ("number", "name"), [(1006, "LOGIN"), (1114, "ADD_USER"), (9, "UNKNOWN[9]")]
)
def test_types_have_names(number, name):
    assert type_name(number) == name
