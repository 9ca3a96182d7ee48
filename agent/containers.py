"""Which image a container was made from, as the files of its runtime tell.

docker       /var/lib/docker/containers/ID/config.v2.json               Config.Image
podman, CRI-O  /var/lib/containers/storage/overlay-containers/containers.json  metadata image-name
containerd   /run/containerd/io.containerd.runtime.v2.task/NAMESPACE/ID/config.json
             annotation io.kubernetes.cri.image-name; what nerdctl starts is named only in
             containerd's own database, which is not read
"""

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

MOST_BYTES: Final = 8 << 20
MOST_KNOWN: Final = 4096
MOST_NAME: Final = 512
MOST_LOOKS: Final = 5
"""A runtime may write its files after the first program runs."""
_ID = re.compile(r"[0-9a-f]{64}")
_DOCKER: Final = "var/lib/docker/containers"
_STORAGE: Final = "var/lib/containers/storage"
_TASKS: Final = "run/containerd/io.containerd.runtime.v2.task"
_ANNOTATIONS: Final = ("io.kubernetes.cri.image-name", "io.kubernetes.cri-o.ImageName")


class ContainerImages:
    """Container id -> name of its image, without ever waiting for a file in the event loop."""

    def __init__(self, root: Path = Path("/")) -> None:
        """Know no container yet; read the runtimes' files below `root`."""
        self._root = root
        self._known: dict[str, str] = {}
        self._looks: dict[str, int] = {}

    def __getitem__(self, container_id: str) -> str:
        """Return the name, or "" while it is not known; then it is looked for meanwhile."""
        known = self._known.get(container_id)
        if known is None:
            known = ""
            self._ask(container_id)
        return known

    def _ask(self, container_id: str) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # outside the agent's loop (tests, tools): nobody waits
            return
        if len(self._known) >= MOST_KNOWN:
            self._known.clear()
            self._looks.clear()
        self._known[container_id] = ""  # nobody else asks meanwhile
        loop.run_in_executor(None, self._look_up, container_id)

    def _look_up(self, container_id: str) -> None:
        name = self.read(container_id)
        looks = self._looks.get(container_id, 0) + 1
        if name or looks >= MOST_LOOKS:
            self._known[container_id] = name
        else:
            self._looks[container_id] = looks
            self._known.pop(container_id, None)

    def read(self, container_id: str) -> str:
        """Return the name of a container's image as a runtime's files have it now, or ""."""
        if not _ID.fullmatch(container_id):
            return ""
        for name in self._names(container_id):
            if isinstance(name, str) and name:
                # JSON can spell halves of characters, which no protobuf string takes.
                return name[:MOST_NAME].encode("utf-8", "backslashreplace").decode()
        return ""

    def _names(self, container_id: str) -> Iterator[Any]:
        yield _at(_json(self._root / _DOCKER / container_id / "config.v2.json"), "Config", "Image")
        for task in sorted((self._root / _TASKS).glob(f"*/{container_id}/config.json")):
            annotations = _at(_json(task), "annotations")
            yield from (_at(annotations, key) for key in _ANNOTATIONS)
        for storage in (self._root / _STORAGE, self._root / "run/containers/storage"):
            listed = _json(storage / "overlay-containers" / "containers.json")
            for entry in listed if isinstance(listed, list) else ():
                if _at(entry, "id") == container_id:
                    yield _at(_parsed(_at(entry, "metadata")), "image-name")


def _at(value: Any, *keys: str) -> Any:
    """Return what lies under keys one below the other; None where there is no such thing."""
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _json(file: Path) -> Any:
    try:
        with file.open("rb") as opened:
            content = opened.read(MOST_BYTES + 1)
    except OSError:
        return None
    return _parsed(content) if len(content) <= MOST_BYTES else None


def _parsed(text: Any) -> Any:
    """Return what JSON text says; None for anything that is none."""
    try:
        return json.loads(text)
    except (ValueError, TypeError, RecursionError):
        return None
