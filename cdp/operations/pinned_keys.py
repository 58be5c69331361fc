"""The file of public keys by which signed files are checked: kept in the state folder, served to the world."""

import json
from pathlib import Path

FILE = "verify-keys.json"


def pinned(state_dir: Path) -> Path:
    """Where the keys this installation has ever signed with are kept for ``cdp verify``."""
    return state_dir / FILE


def read(document: bytes) -> dict[str, str]:
    """Read key ids and their base64url keys. Raises ValueError."""
    found = json.loads(document)
    keys = found.get("keys") if isinstance(found, dict) else None
    if not isinstance(keys, dict) or not all(isinstance(value, str) for value in keys.values()):
        raise ValueError("keys are an object of key id to base64url")
    return {str(name): value for name, value in keys.items()}
