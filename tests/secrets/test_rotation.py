"""Master keys change while everything runs: nothing is lost, nothing stays behind, a killed rotation goes on."""

import base64
import json
import os
import secrets

import pytest
from joserfc.errors import JoseError
from sqlalchemy import LargeBinary, func, select, update

from cdp.access.viewer import SYSTEM
from cdp.core.db import Role
from cdp.core.ids import new_id
from cdp.core.keys import KeyStore
from cdp.core.platform import Platform, open_keys
from cdp.core.seal import key_of
from cdp.core.settings import Settings
from cdp.core.sign import Verdict, check
from cdp.operations import signing_keys
from cdp.operations.oauth.token_keys import TokenKeys
from cdp.operations.secrets import rotation
from cdp.operations.secrets.places import KEY_FILES, counted, places
from cdp.operations.secrets.rotation import KeyInUse, KeysFromOutside, UnknownKey
from cdp.tables import metadata
from cdp.tables.account import session
from cdp.tables.audit import audit_event
from cdp.tables.base import Sealed
from cdp.tables.bulk import bulk_recipient
from cdp.tables.second_factor import totp
from cdp.tables.staff import staff
from cdp.tables.system import system
from tests.cli.test_sign_in_verbs import run

# LargeBinary columns that are neither hashes nor sealed, and why that is right.
OPEN = {
    "passkey.credential_id": "chosen by the device, sent by every browser",
    "passkey.public_key": "the public half",
    "transfer.salt": "keeps a person's id in one deal from being that in another; it dies with the deal",
    "transfer_roll.leaves": "hashes, 32 bytes a person, one after the other",
    "audit_note.salt": "keeps a leaf's hash from being guessed; it dies with its note",
}


def test_every_binary_column_is_a_hash_sealed_or_explained():
    strange = []
    for table in metadata.sorted_tables:
        for column in table.columns:
            is_sealed = isinstance(column.info.get("sealed"), Sealed)
            is_hash = isinstance(column.type, LargeBinary) and column.type.length == 32
            is_binary = isinstance(column.type, LargeBinary)
            if is_sealed != column.name.endswith("_sealed") or (is_binary and not is_sealed and not is_hash):
                strange.append(f"{table.name}.{column.name}")
    assert set(strange) == set(OPEN)


async def _filled(platform: Platform, number: int = 3) -> None:
    """Some values in places of every shape: by row id, by another context, in key files."""
    async with platform.db.transaction(Role.WORKER) as tx:
        for turn in range(number):
            staff_id, totp_id, system_id, recipient_id = (new_id() for _ in range(4))
            await tx.execute(staff.insert().values(id=staff_id, username=f"bo.{staff_id}", name="Bo", roles=[]))
            seal = platform.sealer.seal
            sealed = {"secret_sealed": seal(b"secret", f"totp:{totp_id}"), "last_step": turn}
            await tx.execute(totp.insert().values(id=totp_id, staff_id=staff_id, **sealed))
            secret = seal(b"{}", f"system:{system_id}")
            named = {"name": f"crm-{turn}", "title": "Crm", "kind": "webhook"}
            await tx.execute(system.insert().values(id=system_id, secrets_sealed=secret, **named))
            key = seal(b"k" * 32, f"bulk-recipient:{recipient_id}")
            await tx.execute(bulk_recipient.insert().values(id=recipient_id, name=f"r-{turn}", key_sealed=key))
            token = seal(b"proof", "federation.id_token")
            moments = {"authenticated_at": func.now(), "expires_at": func.now()}
            hashed = {"token_hash": secrets.token_bytes(32), "staff_id": staff_id, "id_token_sealed": token}
            await tx.execute(session.insert().values(id=new_id(), **hashed, **moments))
    platform.keys.create("request-1")


async def _opened(platform: Platform) -> list[bytes]:
    """Every sealed value, in the clear; raises when one can not be opened."""
    found = []
    async with platform.db.transaction(Role.WORKER) as tx:
        for place in places():
            for row in await tx.all(select(place.table).where(place.column.is_not(None))):
                values = row._asdict()
                found.append(platform.sealer.open(values[place.column.name], place.context_of(values)))
    return found


def _keys_of(found) -> set[str]:
    return {key for counts in found.values() for key in counts}


async def test_everything_moves_while_another_process_runs(fresh_settings: Settings):
    platform, running = Platform.open(fresh_settings), Platform.open(fresh_settings)
    await _filled(platform)
    before, material = await _opened(platform), platform.keys.get("request-1")
    assert _keys_of(await counted(platform)) == {"local"}
    assert rotation.add_local(platform) == "local-0002"
    fresh = Platform.open(fresh_settings)
    done = await rotation.rotate(fresh, SYSTEM, batch=2)
    assert (done.current, done.left, sum(done.unreadable.values())) == ("local-0002", {}, 0)
    assert done.resealed["totp.secret_sealed"] == done.resealed["system.secrets_sealed"] == 3
    assert done.resealed[KEY_FILES] >= 2, "the pepper, the signing key, the request's key"
    assert _keys_of(await counted(fresh)) == {"local-0002"}
    assert sorted(await _opened(fresh)) == sorted(before)
    assert sorted(await _opened(running)) == sorted(before), "who runs since yesterday meets the new key and reads it"
    assert running.keys.get("request-1") == material
    assert running.pepper.hash("a", "b") == Platform.open(fresh_settings).pepper.hash("a", "b")
    again = await rotation.rotate(fresh, SYSTEM)
    assert sum(again.resealed.values()) == 0
    async with platform.db.transaction(Role.WORKER) as tx:
        written = await tx.all(select(audit_event.c.details).where(audit_event.c.action == "keys.rotated"))
    assert [row.details["left"] for row in written] == [0, 0]
    for one in (platform, running, fresh):
        await one.close()


class Killed(Exception):
    pass


async def test_a_killed_rotation_goes_on_where_it_stopped(fresh_settings: Settings):
    platform = Platform.open(fresh_settings)
    await _filled(platform)
    before = await _opened(platform)
    rotation.add_local(platform)
    fresh = Platform.open(fresh_settings)

    def die(place: str, number: int) -> None:
        if place == "totp.secret_sealed" and number == 2:
            raise Killed

    with pytest.raises(Killed):
        await rotation.rotate(fresh, SYSTEM, batch=1, progress=die)
    halfway = (await counted(fresh))["totp.secret_sealed"]
    assert halfway == {"local-0002": 2, "local": 1}
    with pytest.raises(KeyInUse):
        await rotation.drop_local(fresh, SYSTEM, "local")
    done = await rotation.rotate(fresh, SYSTEM, batch=1)
    assert done.resealed["totp.secret_sealed"] == 1
    assert sorted(await _opened(fresh)) == sorted(before)
    for one in (platform, fresh):
        await one.close()


async def test_what_no_key_opens_stays_and_is_told(fresh_settings: Settings):
    platform = Platform.open(fresh_settings)
    await _filled(platform, 2)
    async with platform.db.transaction(Role.WORKER) as tx:
        foreign = platform.sealer.seal(b"x", "elsewhere")
        first = select(func.min(totp.c.last_step)).scalar_subquery()
        await tx.execute(update(totp).where(totp.c.last_step == first).values(secret_sealed=foreign))
    rotation.add_local(platform)
    fresh = Platform.open(fresh_settings)
    done = await rotation.rotate(fresh, SYSTEM)
    assert (done.unreadable["totp.secret_sealed"], done.left) == (1, {"totp.secret_sealed": 1})
    used = {one.id: one.sealed for one in await rotation.listed(fresh)}
    assert used["local"] == {"totp.secret_sealed": 1}
    with pytest.raises(KeyInUse):
        await rotation.drop_local(fresh, SYSTEM, "local")
    for one in (platform, fresh):
        await one.close()


async def test_an_old_key_is_dropped_when_nothing_is_left_and_nobody_can_use_it(fresh_settings: Settings):
    platform = Platform.open(fresh_settings)
    await _filled(platform, 1)
    rotation.add_local(platform)
    fresh = Platform.open(fresh_settings)
    await rotation.rotate(fresh, SYSTEM)
    with pytest.raises(KeyInUse):
        await rotation.drop_local(fresh, SYSTEM, "local")
    newest = fresh_settings.keys_dir / "master-0002.key"
    os.utime(newest, (newest.stat().st_atime, newest.stat().st_mtime - 200))
    for wrong, refusal in (("local-0002", KeyInUse), ("nobody", UnknownKey)):
        with pytest.raises(refusal):
            await rotation.drop_local(fresh, SYSTEM, wrong)
    await rotation.drop_local(fresh, SYSTEM, "local")
    assert not (fresh_settings.keys_dir / "master.key").exists()
    alone = Platform.open(fresh_settings)
    assert len(await _opened(alone)) == 4
    for one in (platform, fresh, alone):
        await one.close()


async def test_who_began_without_master_keys_moves_to_them(fresh_settings: Settings):
    platform = Platform.open(fresh_settings)
    await _filled(platform, 1)
    outside = Platform.open(fresh_settings.model_copy(update={"master_keys": rotation.entry("k1")}))
    before = await _opened(outside)
    assert (await rotation.rotate(outside, SYSTEM)).left == {}
    with pytest.raises(KeysFromOutside):
        await rotation.drop_local(outside, SYSTEM, "k1")
    local = fresh_settings.keys_dir / "master.key"
    os.utime(local, (local.stat().st_atime, local.stat().st_mtime - 200))
    await rotation.drop_local(outside, SYSTEM, "local")
    alone = Platform.open(outside.settings)
    assert (alone.sealer.key_ids, await _opened(alone)) == (["k1"], before)
    for one in (platform, outside, alone):
        await one.close()


async def test_keys_from_outside_are_chosen_there(fresh_settings: Settings):
    old, new = rotation.entry("k1"), rotation.entry("k2")
    first = fresh_settings.model_copy(update={"master_keys": old})
    platform = Platform.open(first)
    await _filled(platform, 1)
    before = await _opened(platform)
    both = Platform.open(first.model_copy(update={"master_keys": f"{new},{old}"}))
    with pytest.raises(KeysFromOutside):
        rotation.add_local(both)
    done = await rotation.rotate(both, SYSTEM)
    assert (done.current, done.left) == ("k2", {})
    only = Platform.open(first.model_copy(update={"master_keys": new}))
    assert await _opened(only) == before
    assert only.keys.get("request-1") == both.keys.get("request-1")
    for one in (platform, both, only):
        await one.close()


def test_key_files_are_sealed_and_a_destroyed_one_stays_so(fresh_settings: Settings):
    store, sealer = open_keys(fresh_settings)
    material, bystander = store.create("export-1"), store.create("export-2")
    raw = (fresh_settings.keys_dir / "export-1.key").read_bytes()
    assert material not in raw
    with pytest.raises(ValueError, match="sealed"):
        KeyStore(fresh_settings.keys_dir).get("export-1")
    with (fresh_settings.keys_dir / "export-1.key").open("rb") as still_open:
        store.reseal("export-1")
        assert still_open.read() != raw, "the old file is overwritten"
    assert store.get("export-1") == material
    store.destroy("export-1")
    store.reseal("export-1")
    assert not store.exists("export-1")
    assert store.get("export-2") == bystander
    (fresh_settings.keys_dir / "older.key").write_bytes(b"c" * 32)
    assert (store.get("older"), store.sealed("older")) == (b"c" * 32, None)
    store.reseal("older")
    assert (store.get("older"), key_of(store.sealed("older"))) == (b"c" * 32, sealer.current)


async def test_signing_keys_change_and_old_signatures_hold(fresh_settings: Settings):
    platform = Platform.open(fresh_settings)
    signed, tokens = platform.signer.sign({"kind": "test"}), TokenKeys(platform.keys)
    token, kid = tokens.sign({"sub": "x"}, typ="t"), tokens.signing.kid
    fresh_id = await rotation.rotate_signing_key(platform, SYSTEM)
    await rotation.rotate_token_keys(platform, SYSTEM)
    later = Platform.open(fresh_settings)
    assert later.signer.key_id == fresh_id != platform.signer.key_id
    keys = signing_keys.known(later)
    assert check(signed, keys) is check(later.signer.sign({"kind": "test"}), keys) is Verdict.VALID
    newer = TokenKeys(later.keys)
    assert newer.signing.kid != kid
    assert newer.read(token)[1]["sub"] == "x"
    for one in (platform, later):
        await one.close()


async def test_keys_of_tokens_are_kept_by_age_however_often_they_change(fresh_settings: Settings):
    platform = Platform.open(fresh_settings)
    tokens = TokenKeys(platform.keys)
    token = tokens.sign({"sub": "x"}, typ="t")
    for _ in range(3):
        await rotation.rotate_token_keys(platform, SYSTEM)
    names = platform.keys.names("oauth-rs256-")
    assert len(names) == 4
    assert TokenKeys(platform.keys).read(token)[1]["sub"] == "x"
    for name in names[:3]:  # the third has signed nothing since its successor was made, but that was a moment ago
        path = fresh_settings.keys_dir / f"{name}.key"
        os.utime(path, (path.stat().st_atime, path.stat().st_mtime - 721))
    await rotation.rotate_token_keys(platform, SYSTEM)
    assert platform.keys.names("oauth-rs256-")[:2] == names[2:]
    with pytest.raises(JoseError):
        TokenKeys(platform.keys).read(token)
    await platform.close()


async def test_the_verbs(fresh_settings: Settings):
    platform = Platform.open(fresh_settings)
    await _filled(platform, 1)
    done = run(fresh_settings, "keys", "rotate", "--new", "--tokens", "--signing", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["left"] == {}
    shown = run(fresh_settings, "keys", "list", "--json")
    first, second = json.loads(shown.stdout)
    assert (first["key"], first["current"], first["sealed"]["totp.secret_sealed"]) == ("local-0002", True, 1)
    assert (second["key"], second["sealed"]) == ("local", {})
    key_id, _, text = run(fresh_settings, "keys", "new", "2026-11").stdout.strip().partition(":")
    assert (key_id, len(base64.b64decode(text))) == ("2026-11", 32)
    assert run(fresh_settings, "keys", "drop", "local").returncode == 1
    await platform.close()
