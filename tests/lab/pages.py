"""The commands of a how-to, as somebody types them who reads it."""

import re

from tests.lab.payload import ROOT

HOW_TO = ROOT / "docs" / "how-to"


def commands(page: str, heading: str) -> str:
    """Return the shell block below a heading of a page of docs/how-to."""
    text = (HOW_TO / page).read_text()
    part = re.search(rf"^## {re.escape(heading)}$(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert part, f"{page} has no heading {heading!r}"
    block = re.search(r"^```sh\n(.*?)^```", part[1], re.MULTILINE | re.DOTALL)
    assert block, f"{page} has no commands under {heading!r}"
    return block[1]


def with_examples_replaced(text: str, **real: str) -> str:
    """Return commands with the page's examples replaced, each of which must be there."""
    for example, value in real.items():
        wanted = EXAMPLES[example]
        assert wanted in text, (wanted, text)
        text = text.replace(wanted, value)
    return text


EXAMPLES = {
    "store": "store.example:8401",
    "detector": "detector.example:8403",
    "modeler": "modeler.example:8402",
    "authority": "authority.example:8404",
    "fingerprint": "…",
}
