"""Homes, ports, passwords and certificates on one machine."""

import datetime as dt
import json
import os
import socket
import stat

import pytest

from chassis.authority import Authority
from chassis.tls import Identity
from cli import enrol, leftovers
from cli.environment import environment
from cli.errors import UpError
from cli.homes import Home, default_home, lock
from cli.password import admin_password
from cli.ports import PROGRAMS, choose_ports, port_is_free


@pytest.fixture
def home(tmp_path):
    place = Home(tmp_path / "home")
    place.state.mkdir(parents=True)
    return place


def test_a_home_is_used_by_one_at_a_time(home):
    held = lock(home)
    with pytest.raises(UpError, match="another `nightherd up` uses"):
        lock(home)
    os.close(held)
    os.close(lock(home))


def test_a_home_that_cannot_be_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UpError, match="cannot be used"):
        lock(Home(tmp_path / "file" / "home"))


def test_the_environment_names_the_home(monkeypatch, tmp_path):
    monkeypatch.setenv("NIGHTHERD_HOME", str(tmp_path))
    assert default_home() == tmp_path


def test_ports_stay_the_same_where_they_are_free(home):
    first = choose_ports(home)
    assert set(first) == set(PROGRAMS)
    assert len(set(first.values())) == len(PROGRAMS)
    assert choose_ports(home) == first
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", first["store"]))
        taken.listen()
        assert not port_is_free(first["store"])
        second = choose_ports(home)
    assert second["store"] != first["store"]
    assert second["modeler"] == first["modeler"]
    assert choose_ports(home, second["modeler"])["modeler"] != second["modeler"]


@pytest.mark.parametrize("content", ["", "[]", '{"store": "x", "modeler": -1, "detector": 1e9}'])
def test_a_damaged_note_of_ports_is_written_anew(home, content):
    (home.state / "ports.json").write_text(content)
    ports = choose_ports(home)
    assert json.loads((home.state / "ports.json").read_text()) == ports


def test_the_first_password_is_made_once_and_kept_to_its_owner(home, monkeypatch):
    monkeypatch.delenv("NIGHTHERD_ADMIN_PASSWORD", raising=False)
    first = admin_password(home)
    assert len(first) >= 20
    assert admin_password(home) == first
    assert stat.S_IMODE(home.password_file.stat().st_mode) == 0o600


def test_a_given_password_is_taken_and_written_down(home, monkeypatch):
    monkeypatch.setenv("NIGHTHERD_ADMIN_PASSWORD", "given")
    assert admin_password(home) == "given"
    monkeypatch.delenv("NIGHTHERD_ADMIN_PASSWORD")
    assert admin_password(home) == "given"


def test_a_password_file_that_others_could_read_is_closed(home, monkeypatch):
    home.password_file.write_text("old")
    home.password_file.chmod(0o644)
    monkeypatch.setenv("NIGHTHERD_ADMIN_PASSWORD", "new")
    admin_password(home)
    assert stat.S_IMODE(home.password_file.stat().st_mode) == 0o600


def test_a_child_gets_its_own_settings_and_no_others(monkeypatch):
    monkeypatch.setenv("NIGHTHERD_MODELER_UNIT_SECONDS", "2")
    monkeypatch.setenv("NIGHTHERD_ADMIN_PASSWORD", "secret")
    monkeypatch.setenv("NIGHTHERD_MONGO_URL", "mongodb://secret")
    own = environment("modeler", listen="127.0.0.1:1")
    assert own["NIGHTHERD_MODELER_UNIT_SECONDS"] == "2"
    assert own["NIGHTHERD_MODELER_LISTEN"] == "127.0.0.1:1"
    assert not {"NIGHTHERD_ADMIN_PASSWORD", "NIGHTHERD_MONGO_URL"} & set(own)
    assert "NIGHTHERD_MODELER_UNIT_SECONDS" not in environment("store")
    assert environment("gateway", NIGHTHERD_MONGO_URL="u")["NIGHTHERD_MONGO_URL"] == "u"


def test_certificates_are_renewed_when_two_thirds_are_over(home):
    enrol.renew_services(home, None)
    first = Identity(home.tls("store")).certificate().serial_number
    enrol.renew_services(home, None)
    assert Identity(home.tls("store")).certificate().serial_number == first
    lifetime = enrol.LIFETIME / 3 - dt.timedelta(minutes=1)
    Authority.open(home.ca).issue(home.tls("store"), "store", lifetime=lifetime)
    short = Identity(home.tls("store")).certificate().serial_number
    assert short != first
    enrol.renew_services(home, None)
    assert Identity(home.tls("store")).certificate().serial_number not in (first, short)


def test_a_hosts_certificate_follows_herd_and_key_and_keeps_its_id(home):
    enrol.renew_host(home, "default", b"k" * 32)
    first = Identity(home.agent / "tls").peer()
    assert (first.role, first.herd, first.signing_key) == ("host", "default", b"k" * 32)
    enrol.renew_host(home, "web", b"j" * 32)
    second = Identity(home.agent / "tls").peer()
    assert (second.host_id, second.herd, second.signing_key) == (first.host_id, "web", b"j" * 32)
    assert stat.S_IMODE((home.agent / "tls" / "key.pem").stat().st_mode) == 0o600


def test_what_runs_is_noted_and_a_foreign_process_is_left_alone(home):
    leftovers.note(home, {"store": os.getpid(), "gateway": 0})
    assert leftovers.noted(home) == {"store": os.getpid()}
    leftovers.end(home)  # this process was not started for that home: it lives on
    assert leftovers.noted(home) == {}


def test_a_damaged_note_of_processes_is_no_note(home):
    (home.state / "pids.json").write_text('["x"')
    assert leftovers.noted(home) == {}
    (home.state / "pids.json").write_text('{"store": "x", "modeler": -1}')
    assert leftovers.noted(home) == {}
