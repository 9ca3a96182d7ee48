"""Write docs/settings.md from the settings themselves: `python -m docs.generate`."""

from pathlib import Path

from pydantic_core import PydanticUndefined

from agent.settings import Settings as Agent
from chassis.settings import PREFIX, Settings
from enrolment.settings import Settings as Enrolment
from gateway.settings import Settings as Gateway
from services.detector.settings import Settings as Detector
from services.modeler.settings import Settings as Modeler
from services.store.settings import Settings as Store

FILE = Path(__file__).with_name("settings.md")
PROGRAMS: tuple[type[Settings], ...] = (Agent, Store, Modeler, Detector, Gateway, Enrolment)
HEAD = """# Settings

Every program reads its settings once at start, from the environment or from the TOML file that
`NIGHTHERD_CONFIG` names (a table for each program: `listen` of the store is
`NIGHTHERD_STORE_LISTEN`, or `listen` under `[store]`). The environment wins. A value that is wrong,
or a `NIGHTHERD_…` variable that does not exist, means no start.

`nightherd up` itself reads `NIGHTHERD_HOME` (where everything lies), `NIGHTHERD_ADMIN_PASSWORD`,
`NIGHTHERD_MONGO_URL`, and hands variables of a program's own (`NIGHTHERD_MODELER_UNIT_SECONDS`, …)
on to that program; addresses and folders it sets itself.

This page is generated (`python -m docs.generate`); a test compares it with the code.
"""


def page() -> str:
    """Return the page."""
    parts = [HEAD]
    for settings in PROGRAMS:
        parts.append(
            f"\n## {settings.program}\n\n| variable | default | meaning |\n| --- | --- | --- |\n"
        )
        for name, field in settings.model_fields.items():
            variable = field.validation_alias or f"{PREFIX}{settings.program}_{name}".upper()
            default = "needed" if field.default is PydanticUndefined else f"`{field.default}`"
            if field.default == "":
                default = "empty"
            parts.append(f"| `{variable}` | {default} | {field.description} |\n")
    return "".join(parts)


if __name__ == "__main__":
    FILE.write_text(page(), encoding="utf-8")
