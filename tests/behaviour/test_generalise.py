"""A generalised path matches its origin; generalising again changes nothing."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from behaviour.generalise import PLACEHOLDERS, PROGRAM_FOLDERS, generalise
from behaviour.text import as_text

PIECES = st.sampled_from(
    [
        "a", "log", "tmp", "sed", ".", "-", "_", "passwd", "/etc", "/tmp", "/home", "/var", "/",
        "1234", "2026-11-24", "20261124", "deadbeef01", "3f2504e0-4f89-11d3-9a0c-0305e82c3301",
        "aB3dE9", "tmpab12cd_4", "<n>", "<tmp>", "x86_64", "é", "0", "cafe",
    ]
)  # fmt: skip
PATHS = st.one_of(
    st.lists(PIECES, max_size=12).map("".join),
    st.text(st.characters(blacklist_categories=["Cs"]), max_size=40),
).map(lambda path: f"/{path}")


def matches(general: str, path: str) -> bool:
    """Read placeholders as what they stand for; one that stands in the path itself is itself."""
    parts = re.split(r"(<[a-z]+>)", general)
    pattern = "".join(
        f"(?:{PLACEHOLDERS[part]}|{part})" if part in PLACEHOLDERS else re.escape(part)
        for part in parts
    )
    return re.fullmatch(pattern, path, re.DOTALL) is not None


@given(PATHS)
def test_a_general_path_matches_its_origin(path):
    assert matches(generalise(path), path)


@given(PATHS)
def test_generalising_again_changes_nothing(path):
    assert generalise(generalise(path)) == generalise(path)


@given(st.sampled_from(PROGRAM_FOLDERS), PATHS)
def test_programs_keep_their_names(folder, path):
    assert generalise(folder + path) == folder + path


@given(
    st.sampled_from(["/etc/sudoers.d", "/etc/cron.d", "/etc/pam.d", "/etc/ssh", "/etc/systemd"]),
    PATHS,
)
def test_what_security_stands_on_keeps_its_name(folder, path):
    assert generalise(folder + path) == folder + path


@given(st.binary(max_size=60))
def test_any_bytes_become_text_and_a_general_path(raw):
    general = generalise(as_text(raw))
    assert general.encode().decode() == general


@pytest.mark.parametrize(
    ("path", "general"),
    [
        ("/etc/passwd", "/etc/passwd"),
        ("/etc/passwd-", "/etc/passwd-"),
        ("/etc/passwd+", "/etc/passwd+"),
        ("/etc/passwd.lock", "/etc/passwd.lock"),
        ("/etc/passwd.4711", "/etc/passwd.<n>"),
        ("/etc/gshadow.1", "/etc/gshadow.<n>"),
        ("/var/lib/x/3f2504e0-4f89-11d3-9a0c-0305e82c3301/a", "/var/lib/x/<uuid>/a"),
        ("/var/log/app-2026-11-24.log", "/var/log/app-<date>.log"),
        ("/var/log/syslog.2.gz", "/var/log/syslog.<n>.gz"),
        ("/run/user/1000/bus", "/run/user/<n>/bus"),
        ("/tmp/tmp.Ab3dEfGh12/out", "/tmp/tmp.<tmp>/out"),
        ("/var/lib/app/tmpab12cd_4", "/var/lib/app/<tmp>"),
        ("/etc/app/sedXy12Ab", "/etc/app/sed<tmp>"),
        ("/home/bob/.bashrc", "/home/<user>/.bashrc"),
        ("/home/bob/.ssh/authorized_keys", "/home/bob/.ssh/authorized_keys"),
        ("/var/cache/PackageKit/config.backup", "/var/cache/PackageKit/config.backup"),
    ],
)
def test_what_differs_from_run_to_run_becomes_a_placeholder(path, general):
    assert generalise(path) == general
