"""What a host is: read from its files, told at start and when it changed."""

import platform
import socket

import pytest

from agent import hostfacts
from agent.care import Care
from agent.cloud import Cloud
from agent.settings import Settings


class Told:
    """Stands where the pipeline does, and keeps what is told."""

    def __init__(self):
        self.facts = []

    def tell(self, event):
        self.facts.append(event.host_facts)


@pytest.fixture
def etc(tmp_path, monkeypatch):
    folder = tmp_path / "etc"
    folder.mkdir()
    (folder / "machine-id").write_text("0123456789abcdef0123456789abcdef\n")
    (folder / "timezone").write_text("Europe/Zurich\n")
    monkeypatch.setattr(hostfacts, "ETC", folder)
    return folder


def care(folder, **settings):
    told = Told()
    return Care(Settings(dir=folder, cloud="none", **settings), told, None, None, "0"), told.facts


def test_facts_are_read_from_the_host(etc):
    facts = hostfacts.read_facts("blue", ("b=2", "a=1"), Cloud("aws", "12", "eu-1", "i-0"))
    assert facts.kernel == platform.release()
    assert facts.hostname == socket.gethostname().partition(".")[0]
    assert facts.machine_id == (etc / "machine-id").read_text().strip()
    assert (facts.cluster, list(facts.labels)) == ("blue", ["a=1", "b=2"])
    assert (facts.cloud_provider, facts.cloud_account) == ("aws", "12")
    assert (facts.cloud_region, facts.cloud_instance) == ("eu-1", "i-0")
    assert facts.time_zone == "Europe/Zurich"


@pytest.mark.parametrize(
    ("target", "zone"),
    [
        ("/usr/share/zoneinfo/Asia/Tokyo", "Asia/Tokyo"),
        ("../usr/share/zoneinfo/Etc/UTC", "Etc/UTC"),
        ("/elsewhere", "UTC"),
        (None, "UTC"),
    ],
)
def test_without_a_name_the_link_says_the_time_zone(etc, target, zone):
    (etc / "timezone").unlink()
    if target:
        (etc / "localtime").symlink_to(target)
    assert hostfacts.read_facts("", ()).time_zone == zone


async def test_facts_are_told_at_start_and_when_they_change(etc, tmp_path):
    caring, told = care(tmp_path, cluster="blue", labels=["a=1"])
    await caring._tell_facts()
    await caring._tell_facts()
    assert [(facts.cluster, list(facts.labels)) for facts in told] == [("blue", ["a=1"])]
    (etc / "timezone").write_text("America/Lima\n")
    await caring._tell_facts()
    (etc / "machine-id").write_text("ff" * 16)
    await caring._tell_facts()
    await caring._tell_facts()
    assert [facts.time_zone for facts in told] == ["Europe/Zurich", "America/Lima", "America/Lima"]
    assert told[-1].machine_id == "ff" * 16


async def test_another_cluster_or_label_is_told_by_the_agent_that_starts_with_it(etc, tmp_path):
    seen = []
    for settings in (
        {"cluster": "blue"},
        {"cluster": "red"},
        {"cluster": "red", "labels": ["x=1"]},
    ):
        caring, told = care(tmp_path, **settings)
        await caring._tell_facts()
        seen += told
    assert [(facts.cluster, list(facts.labels)) for facts in seen] == [
        ("blue", []),
        ("red", []),
        ("red", ["x=1"]),
    ]


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\n", b"\0"])
def test_nonsense_in_the_files_is_survived(etc, content):
    for name in ("machine-id", "timezone"):
        (etc / name).write_bytes(content)
    assert hostfacts.read_facts("", ()).SerializeToString()
