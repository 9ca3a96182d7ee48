"""No secret survives, nothing else is lost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.stages.redact import REMOVED, redact, redact_text

SECRET = b"hunter2-S3cr3t"


@pytest.mark.parametrize(
    "arguments",
    [
        [b"tool", b"--password=" + SECRET],
        [b"tool", b"--password", SECRET],
        [b"tool", b"--db-password=" + SECRET, b"x"],
        [b"tool", b"--API-Key", SECRET],
        [b"env", b"PGPASSWORD=" + SECRET, b"psql"],
        [b"mysql", b"-uroot", b"-p" + SECRET],
        [b"/usr/bin/sshpass", b"-p", SECRET, b"ssh", b"h"],
        [b"curl", b"-u", b"joe:" + SECRET, b"https://h/"],
        [b"curl", b"https://joe:" + SECRET + b"@h/path"],
        [b"curl", b"-H", b"Authorization: Bearer " + SECRET],
        [b"curl", b"-H", b"X-Api-Key: " + SECRET],
        [b"sh", b"-c", b"mysql --password=" + SECRET + b" -e 'select 1'"],
        [b"sh", b"-c", b"export TOKEN=" + SECRET + b"; run"],
        [b"sh", b"-c", b"tool --token '" + SECRET + b"'"],
        [b"useradd", b"-m", b"-p", SECRET, b"bob"],
        [b"usermod", b"-p" + SECRET, b"bob"],
        [b"tool", b"-----BEGIN RSA PRIVATE KEY-----\n" + SECRET],
        [b"redis-cli", b"-a", SECRET],
    ],
)
def test_a_secret_is_removed(arguments):
    kept = redact(arguments)
    assert SECRET not in b"\0".join(kept)
    assert REMOVED in b"\0".join(kept)
    assert len(kept) == len(arguments)
    assert kept[0] == arguments[0]


@pytest.mark.parametrize(
    "arguments",
    [
        [b"useradd", b"-m", b"-s", b"/bin/bash", b"bob"],
        [b"passwd", b"bob"],
        [b"tool", b"--password-file=/etc/pw", b"--token-file", b"/run/t"],
        [b"cat", b"/etc/passwd"],
        [b"curl", b"https://example.org/token"],
        [b"echo", b"the password is secret"],
        [b"ls", b"\xff\xfe"],
        [b"docker", b"login", b"--password-stdin"],
    ],
)
def test_what_is_no_secret_stays(arguments):
    assert redact(arguments) == arguments


@given(st.lists(st.binary(max_size=40), max_size=6))
def test_redaction_is_idempotent_and_keeps_the_number_of_arguments(arguments):
    once = redact(arguments)
    assert len(once) == len(arguments)
    assert redact(once) == once


@given(st.binary(max_size=200))
def test_any_text_passes(text):
    once = redact_text(text)
    assert redact_text(once) == once


@given(
    st.sampled_from([b"--password=", b"--client-secret=", b"AUTH_TOKEN=", b"--private-key="]),
    st.binary(min_size=12, max_size=30).filter(lambda b: b"\0" not in b and not b.isspace()),
)
def test_no_value_of_a_secret_option_survives(option, value):
    assert redact([b"tool", option + value])[1] == option + REMOVED
