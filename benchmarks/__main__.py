"""`python -m benchmarks [agent|…|all] … [--quick]`: measure, print a table, write results.json."""

import argparse
import os
import platform
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks import results
from benchmarks.results import CannotRun, Result


def _agent(*, quick: bool, home: Path | None) -> Iterator[Result]:  # noqa: ARG001
    from benchmarks import agent, hashing  # noqa: PLC0415  (a part may need what another does not)

    yield from hashing.run(quick=quick)
    yield from agent.run(quick=quick)


def _audit_import(*, quick: bool, home: Path | None) -> Iterator[Result]:  # noqa: ARG001
    from benchmarks import audit_import  # noqa: PLC0415

    return audit_import.run(quick=quick)


def _store(*, quick: bool, home: Path | None) -> Iterator[Result]:  # noqa: ARG001
    from benchmarks import exports, fleet, ingest, questions  # noqa: PLC0415

    for part in (ingest, questions, exports, fleet):
        yield from part.run(quick=quick)


def _seed(*, quick: bool, home: Path | None) -> Iterator[Result]:
    from benchmarks import seed  # noqa: PLC0415

    return seed.run(quick=quick, home=home)


PARTS: dict[str, Callable[..., Iterator[Result]]] = {
    "agent": _agent,
    "seed": _seed,
    "audit_import": _audit_import,
    "store": _store,
}
"""A part yields its results as it finds them, and raises CannotRun when it cannot go on."""


def main() -> int:
    """Run the parts; 0 when something could be measured, whether or not targets are met."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", default=["all"], help=", ".join((*PARTS, "all")))
    parser.add_argument("--quick", action="store_true", help="shorter and fewer runs, noisier")
    parser.add_argument("--home", type=Path, help="of a Nightherd that runs, for the part seed")
    arguments = parser.parse_args()
    if unknown := set(arguments.parts) - {*PARTS, "all"}:
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    print(f"{os.cpu_count()} cores, Linux {platform.release()}, Python {platform.python_version()}")
    found: list[Result] = []
    for name, part in PARTS.items():
        if name in arguments.parts or "all" in arguments.parts:
            try:
                for result in part(quick=arguments.quick, home=arguments.home):
                    found.append(result)  # noqa: PERF402  (what was found before it stops counts)
            except CannotRun as why:
                print(f"{name}: not measured: {why}", file=sys.stderr)
    if not found:
        return 1
    kept = len(results.merge(found)) - len(found)
    print(results.table(found))
    print(f"{results.FILE}: {len(found)} new, {kept} kept from earlier runs")
    return 0


if __name__ == "__main__":
    sys.exit(main())
