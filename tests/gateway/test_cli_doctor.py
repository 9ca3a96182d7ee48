"""`nightherd doctor` tells its own port from one that somebody else has."""

import asyncio
import socket

from cli.doctor import checks
from cli.homes import Home


async def port(home, number):
    found = await asyncio.to_thread(lambda: list(checks(home, number)))
    ((_, good, detail),) = [each for each in found if each[0] == f"port {number} of the API"]
    return good, detail


async def test_whose_port_it_is_is_told(api, certificates, tmp_path, free_port):
    home = Home(tmp_path / "home")
    home.path.mkdir()
    assert await port(home, free_port) == (True, "free")
    good, detail = await port(home, api.port)
    assert (good, "not Nightherd of" in detail) == (False, True), "another home's, for all we know"
    home.ca.symlink_to(certificates / "gateway")
    assert await port(home, api.port) == (True, "Nightherd itself listens there: it runs")
    with socket.create_server(("127.0.0.1", 0)) as other:
        good, detail = await port(home, other.getsockname()[1])
    assert (good, "--port" in detail) == (False, True)
