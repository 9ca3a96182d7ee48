"""Who owns a file, as the databases of dpkg and rpm say."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import rpm_files
from agent.owners import Index, Owners
from tests.agent import package_databases


@pytest.fixture
def owners(tmp_path):
    return Owners(tmp_path)


def test_nobody_is_known_where_there_is_no_database(owners):
    owners.refresh()
    assert (owners.known, owners.owner(b"/usr/bin/dpkg")) == (False, "")


def test_dpkg_lists_name_owners_whatever_alias_they_spell(tmp_path, owners):
    (tmp_path / "usr/bin").mkdir(parents=True)
    (tmp_path / "bin").symlink_to("usr/bin")
    files = {"coreutils": ["/bin/ls", "/usr/bin/env"], "libc6:amd64": ["/lib64/ld.so"]}
    package_databases.dpkg(tmp_path, files)
    assert owners.refresh()
    assert owners.known
    for path in (b"/usr/bin/ls", b"/bin/ls", b"/usr/bin/env", b"/bin/env"):
        assert owners.owner(path) == "coreutils", path
    # /lib64 is no link on this host: the two are different files.
    assert (owners.owner(b"/lib64/ld.so"), owners.owner(b"/usr/lib64/ld.so")) == ("libc6", "")
    assert owners.owner(b"/usr/bin") == ""
    assert owners.owner(b"/tmp/ls") == ""


def test_a_diverted_file_is_owned_where_it_lies(tmp_path, owners):
    files = {"libpq-dev": ["/usr/bin/pg_config"], "postgresql-common": ["/usr/bin/pg_config"]}
    lines = ["/usr/bin/pg_config", "/usr/bin/pg_config.libpq-dev", "postgresql-common"]
    package_databases.dpkg(tmp_path, files, lines)
    owners.refresh()
    assert owners.owner(b"/usr/bin/pg_config") == "postgresql-common"
    assert owners.owner(b"/usr/bin/pg_config.libpq-dev") == "libpq-dev"


def test_a_change_is_seen_and_no_change_costs_no_reading(tmp_path, owners):
    package_databases.dpkg(tmp_path, {"a": ["/usr/bin/a"]})
    assert owners.refresh()
    assert not owners.refresh()
    assert owners.owner(b"/usr/bin/b") == ""
    package_databases.dpkg(tmp_path, {"b": ["/usr/bin/b"]})
    assert owners.refresh()
    assert (owners.owner(b"/usr/bin/a"), owners.owner(b"/usr/bin/b")) == ("a", "b")


@pytest.mark.parametrize("place", rpm_files.DATABASES)
@pytest.mark.parametrize("journal", [True, False], ids=["in its journal", "settled"])
def test_rpm_headers_name_owners(tmp_path, owners, place, journal):
    headers = [
        package_databases.rpm_header("bash", ["/usr/bin/bash", "/usr/bin/sh", "/etc/skel/.bashrc"]),
        package_databases.rpm_header("gpg-pubkey", []),
        package_databases.rpm_header("sudo", ["/usr/bin/sudo", "/usr/libexec/sudo/sudoers.so"]),
    ]
    connection = package_databases.rpm(tmp_path, headers, place)
    if not journal:
        package_databases.closed(connection)
        before = sorted((tmp_path / place).parent.iterdir())
    owners.refresh()
    assert owners.owner(b"/usr/bin/sh") == "bash"
    assert owners.owner(b"/usr/libexec/sudo/sudoers.so") == "sudo"
    assert owners.owner(b"/usr/libexec/sudo/sudo") == ""
    if journal:
        connection.close()
    else:
        assert sorted((tmp_path / place).parent.iterdir()) == before


def test_damaged_rpm_headers_cost_only_themselves(tmp_path, owners):
    good = package_databases.rpm_header("good", ["/usr/bin/good"])
    text = package_databases.STRING_ARRAY
    bad = [
        b"",
        b"\xff" * 40,
        good[:-3],
        package_databases.entries((1117, text, [b"x"]), (1000, text, [b"n"])),
        package_databases.entries((1000, package_databases.INT32, [7])),
    ]
    package_databases.closed(package_databases.rpm(tmp_path, [*bad, good]))
    owners.refresh()
    assert owners.owner(b"/usr/bin/good") == "good"


def test_a_file_that_is_no_database_is_survived(tmp_path, owners):
    file = tmp_path / rpm_files.DATABASES[0]
    file.parent.mkdir(parents=True)
    file.write_bytes(b"not sqlite at all" * 100)
    owners.refresh()
    assert not owners.known


@given(st.binary(max_size=400))
def test_no_bytes_of_a_header_raise_anything_unexpected(blob):
    try:
        name, paths = rpm_files.files_of(blob)
    except rpm_files.BadHeaderError:
        return
    assert name is not None
    assert all(path.startswith(b"/") for path in paths)


@given(st.dictionaries(st.text("ab/", min_size=1, max_size=6), st.text("xyz", min_size=1)))
def test_each_path_of_an_index_has_its_owner_and_no_other_has(owned):
    index = Index([(package, [b"/" + p.encode()]) for p, package in owned.items()], {})
    for path, package in owned.items():
        assert index.owner(b"/" + path.encode()) == package
    assert index.owner(b"/elsewhere") == ""


@pytest.mark.skipif(shutil.which("dpkg-query") is None, reason="no dpkg here")
def test_this_hosts_own_programs_are_owned_as_dpkg_says():
    owners = Owners()
    owners.refresh()
    for name in ("dpkg", "env", "bash", "useradd"):
        found = shutil.which(name)
        assert found is not None
        path = Path(found).resolve()
        spellings = (str(path), str(path).removeprefix("/usr"))
        said = [
            subprocess.run(
                ["dpkg-query", "-S", spelling], capture_output=True, text=True, check=False
            ).stdout.partition(":")[0]
            for spelling in spellings
        ]
        assert owners.owner(bytes(path)) in said, name
        assert owners.owner(bytes(path))
    assert owners.owner(os.fsencode(Path(sys.prefix) / "bin" / "python-of-nobody")) == ""
