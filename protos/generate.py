"""Generate Python modules and type stubs from protos/ into gen/ (0.2 s; never committed)."""

import os
import shutil
import sys
from pathlib import Path


def generate(source: Path, target: Path) -> None:
    """Write message and stub modules of every .proto below `source` into `target`.

    With mypy-protobuf installed (a development tool) type stubs come with them.

    Built beside and swapped in, so that a program started meanwhile never sees half of it.

    Raises:
        SystemExit: protoc refused a file; its own message is on stderr.
    """
    import grpc_tools  # noqa: PLC0415  (only a build needs the compiler)
    from grpc_tools import protoc  # noqa: PLC0415

    files = sorted(str(path) for path in source.rglob("*.proto"))
    fresh = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    # protoc finds the mypy plugins on PATH; they live beside this interpreter.
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    typed = shutil.which("protoc-gen-mypy") is not None
    stubs = [f"--mypy_out=quiet:{fresh}", f"--mypy_grpc_out=quiet:{fresh}"] if typed else []
    status = protoc.main(
        [
            "protoc",
            f"-I{source}",
            f"-I{Path(grpc_tools.__file__).parent / '_proto'}",
            f"--python_out={fresh}",
            f"--grpc_python_out={fresh}",
            *stubs,
            *files,
        ]
    )
    if status:
        shutil.rmtree(fresh, ignore_errors=True)
        raise SystemExit(f"protoc failed with status {status}")
    # Regular packages, so that they can be walked (tests, import-linter).
    for folder in sorted({p.parent for p in fresh.rglob("*_pb2.py")}):
        for package in (folder, *folder.parents):
            if package == fresh:
                break
            (package / "__init__.py").touch()
    shutil.rmtree(target, ignore_errors=True)
    fresh.rename(target)


if __name__ == "__main__":
    here = Path(__file__).resolve().parent
    generate(here, here.parent / "gen")
