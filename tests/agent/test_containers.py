"""Which image a container was made from, by files as the runtimes write them."""

import asyncio
import json

import pytest

from agent.containers import MOST_BYTES, MOST_NAME, ContainerImages
from tests.agent.stages.host import Host

ID = "5a" * 32
TASKS = "run/containerd/io.containerd.runtime.v2.task"
PODS = "var/lib/containers/storage/overlay-containers/containers.json"
DOCKER = f"var/lib/docker/containers/{ID}/config.v2.json"


def write(root, place, content):
    file = root / place
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content if isinstance(content, str) else json.dumps(content))


@pytest.mark.parametrize(
    ("place", "content"),
    [
        (DOCKER, {"ID": ID, "Image": "sha256:00", "Config": {"Hostname": "x", "Image": "nginx:1"}}),
        (
            PODS,
            [
                {"id": "00" * 32, "image": "11", "metadata": '{"image-name": "other"}'},
                {"id": ID, "image": "22" * 32, "metadata": '{"image-name": "nginx:1"}'},
            ],
        ),
        (
            f"{TASKS}/k8s.io/{ID}/config.json",
            {"ociVersion": "1.1.0", "annotations": {"io.kubernetes.cri.image-name": "nginx:1"}},
        ),
        (
            f"{TASKS}/k8s.io/{ID}/config.json",
            {"annotations": {"io.kubernetes.cri-o.ImageName": "nginx:1"}},
        ),
    ],
    ids=["docker", "podman", "containerd", "cri-o"],
)
def test_the_runtimes_files_name_the_image(tmp_path, place, content):
    write(tmp_path, place, content)
    images = ContainerImages(tmp_path)
    assert images.read(ID) == "nginx:1"
    assert images.read("6b" * 32) == ""


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[" * 100_000,
        "null",
        '{"Config": []}',
        '{"Config": {"Image": 7}}',
        '{"Config": {"Image": ""}}',
        " " * (MOST_BYTES + 1),
    ],
)
def test_what_is_no_answer_is_none(tmp_path, content):
    write(tmp_path, DOCKER, content)
    write(tmp_path, PODS, content)
    write(tmp_path, f"{TASKS}/k8s.io/{ID}/config.json", content)
    assert ContainerImages(tmp_path).read(ID) == ""


@pytest.mark.parametrize("container_id", ["", "../../etc", "*", "5A" * 32, ID + "/.."])
def test_only_ids_are_looked_for(tmp_path, container_id):
    write(tmp_path, DOCKER, {"Config": {"Image": "nginx:1"}})
    assert ContainerImages(tmp_path).read(container_id) == ""


def test_a_name_is_cut_and_always_text(tmp_path):
    write(tmp_path, DOCKER, '{"Config": {"Image": "a\\ud800' + "b" * 9999 + '"}}')
    name = ContainerImages(tmp_path).read(ID)
    assert name.encode().startswith(b"a\\ud800b")
    assert len(name) < MOST_NAME + 10


async def test_a_name_comes_late_and_then_is_on_every_image_of_the_container(tmp_path):
    write(tmp_path, DOCKER, {"Config": {"Image": "nginx:1"}})
    host = Host(tmp_path / "passwd")
    host.identifier.images.containers = ContainerImages(tmp_path)
    first = host.fork(1, cgroup=f"/system.slice/docker-{ID}.scope")
    host.exec(first, "/usr/sbin/nginx")
    async with asyncio.timeout(60):
        while not host.image(first).container_image:
            await asyncio.sleep(0.01)
    assert host.image(first).container_image == "nginx:1"
    _, image = host.run(first, "/bin/sh", terminal="pts/0")
    assert (image.container_image, image.container_id) == ("nginx:1", ID)
    assert host.run(1, "/bin/sh")[1].container_image == ""
