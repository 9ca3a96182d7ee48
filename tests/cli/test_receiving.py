"""Agents of other machines are received where `up` was asked to, and tokens say so."""

from cli.homes import Home
from cli.ports import known_address
from cli.up import Options


def test_services_listen_on_this_machine_alone_unless_asked(tmp_path):
    home = Home(tmp_path)
    assert Options(home, 8083, "default", agent=True).listen == "127.0.0.1"
    assert Options(home, 8083, "default", agent=True, all_addresses=True).listen == "0.0.0.0"


def test_a_token_names_the_address_of_the_last_start(tmp_path):
    home = Home(tmp_path)
    assert known_address(home) == "127.0.0.1"
    home.state.mkdir(parents=True)
    (home.state / "listen").write_text("0.0.0.0")
    assert known_address(home) == "0.0.0.0"
