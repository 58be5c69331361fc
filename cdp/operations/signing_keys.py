"""The public keys by which anybody checks what we sign: served to the world, and pinned in the state folder."""

import json
from pathlib import Path

from cdp.core.platform import Platform
from cdp.core.sign import Signer

FILE = "verify-keys.json"


def document(signer: Signer) -> dict[str, dict[str, str]]:
    """The document of ``/.well-known/cdp-signing-keys``: key id to base64url of the 32 bytes (Ed25519)."""
    return {"keys": signer.keys()}


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
