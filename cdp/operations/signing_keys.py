"""The public keys by which anybody checks what we sign: served to the world, and pinned in the state folder."""

import json

from cdp.core.platform import Platform
from cdp.core.sign import Signer
from cdp.operations.pinned_keys import pinned, read


def document(platform: Platform) -> dict[str, dict[str, str]]:
    """The document of ``/.well-known/cdp-signing-keys``: key id to base64url of the 32 bytes (Ed25519)."""
    return {"keys": known(platform)}


def known(platform: Platform, *, signer: Signer | None = None) -> dict[str, str]:
    """Every key this installation signs or has signed with; ``signer`` in place of the one this process began with."""
    path = pinned(platform.settings.state_dir)
    older = read(path.read_bytes()) if path.exists() else {}
    return {**older, **(signer or platform.signer).keys()}


def publish(platform: Platform, *, signer: Signer | None = None) -> None:
    """Pin the current key beside the older ones; what is there stays, so that old certificates still verify."""
    path, keys = pinned(platform.settings.state_dir), known(platform, signer=signer)
    if path.exists() and read(path.read_bytes()) == keys:
        return
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps({"keys": keys}, indent=1) + "\n", encoding="utf-8")
    fresh.replace(path)
