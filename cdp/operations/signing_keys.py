"""The public keys by which anybody checks what we sign: served to the world, and pinned in the state folder."""

import json
from pathlib import Path

from cdp.core.platform import Platform

FILE = "verify-keys.json"


def document(platform: Platform) -> dict[str, dict[str, str]]:
    """The document of ``/.well-known/cdp-signing-keys``: key id to base64url of the 32 bytes (Ed25519)."""
    return {"keys": known(platform)}


def known(platform: Platform) -> dict[str, str]:
    """Every key this installation signs or has signed with."""
    path = pinned(platform.settings.state_dir)
    older = read(path.read_bytes()) if path.exists() else {}
    return {**older, **platform.signer.keys()}


def pinned(state_dir: Path) -> Path:
    """Where the keys this installation has ever signed with are kept for ``cdp verify``."""
    return state_dir / FILE


def publish(platform: Platform) -> None:
    """Pin the current key beside the older ones; what is there stays, so that old certificates still verify."""
    path = pinned(platform.settings.state_dir)
    known: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))["keys"] if path.exists() else {}
    current = platform.signer.keys()
    if current.items() <= known.items():
        return
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps({"keys": {**known, **current}}, indent=1) + "\n", encoding="utf-8")
    fresh.replace(path)


def read(document: bytes) -> dict[str, str]:
    """Read what ``document`` wrote. Raises ValueError."""
    found = json.loads(document)
    keys = found.get("keys") if isinstance(found, dict) else None
    if not isinstance(keys, dict) or not all(isinstance(value, str) for value in keys.values()):
        raise ValueError("keys are an object of key id to base64url")
    return {str(name): value for name, value in keys.items()}
