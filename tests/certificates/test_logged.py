"""A certificate stands in the audit log: whoever holds the signing key can still not issue another one in its place."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from cdp.core.sign import Signer, Verdict, canonical
from cdp.operations.audit import sequencer
from cdp.operations.verification import verify_certificate
from tests.engine import Engine
from tests.population import make_person

Change = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="module")
async def issued(lasting_engine: Engine) -> list[bytes]:
    """Two certificates, with other events before, between and after."""
    found = []
    for _ in range(2):
        opened = await lasting_engine.open_erasure(await make_person(lasting_engine.platform.db))
        await lasting_engine.work()
        found.append((await lasting_engine.certificate(opened.reference)).document)
        await sequencer.sequence(lasting_engine.platform)
    return found


def resigned(signer: Signer, document: bytes, change: Change) -> bytes:
    read = json.loads(document)
    change(read)
    return canonical(signer.sign(read))


FORGERIES: dict[str, tuple[Change, str]] = {
    "another outcome": (lambda c: c["systems"][0].update(retained=[]) or c["systems"].pop(), "does not speak of this"),
    "another date": (lambda c: c.update(issuedAt="2020-01-01T00:00:00.000000Z"), "does not speak of this"),
    "another reference": (lambda c: c.update(reference="CE-2222-2222"), "does not speak of this"),
    "another entry": (lambda c: c["log"]["entry"]["details"].update(sha256="0" * 64), "does not speak of this"),
    "another actor": (lambda c: c["log"]["entry"]["actor"].update(kind="staff"), "does not lead from the entry"),
    "another kind of entry": (lambda c: c["log"]["entry"]["object"].update(type="Export"), "about something else"),
    "another place": (lambda c: c["log"].update(index=c["log"]["index"] - 1), "does not lead from the entry"),
    "a place as text": (lambda c: c["log"].update(index="1"), "another form"),
    "a shorter path": (lambda c: c["log"]["path"].pop(), "does not lead from the entry"),
    "a path of something else": (lambda c: c["log"].update(path=["00"]), "another form"),
    "no path": (lambda c: c["log"].update(path=None), "another form"),
    "another root": (lambda c: c["log"]["head"].update(root="0" * 64), "not one that was signed"),
    "another size": (lambda c: c["log"]["head"].update(size=c["log"]["head"]["size"] + 1), "not one that was signed"),
    "no head": (lambda c: c["log"].update(head={}), "not one that was signed"),
    "no proof": (lambda c: c.pop("log"), "no proof"),
    "an empty proof": (lambda c: c.update(log=[]), "no proof"),
}


async def test_what_was_issued_stands_in_the_log(lasting_engine: Engine, issued: list[bytes]) -> None:
    for document in issued:
        assert verify_certificate(document, lasting_engine.platform.signer.keys()).is_valid
    heads = [json.loads(document)["log"]["head"]["size"] for document in issued]
    assert heads[0] < heads[1]


@pytest.mark.parametrize("name", FORGERIES)
async def test_the_keys_holder_can_not_change_it(lasting_engine: Engine, issued: list[bytes], name: str) -> None:
    change, problem = FORGERIES[name]
    report = verify_certificate(
        resigned(lasting_engine.platform.signer, issued[1], change), lasting_engine.platform.signer.keys()
    )
    assert not report.is_valid
    assert any(problem in one for one in report.problems), report.problems


async def test_the_proof_of_another_certificate(lasting_engine: Engine, issued: list[bytes]) -> None:
    other = json.loads(issued[0])["log"]
    forged = resigned(lasting_engine.platform.signer, issued[1], lambda read: read.update(log=other))
    assert not verify_certificate(forged, lasting_engine.platform.signer.keys()).is_valid


async def test_a_head_signed_by_nobody_we_know(lasting_engine: Engine, issued: list[bytes], tmp_path: object) -> None:
    """The certificate's own signer may be known while the head's is not, as after a change of keys."""
    read = json.loads(issued[1])
    assert verify_certificate(issued[1], {}).is_consistent
    keys = lasting_engine.platform.signer.keys()
    read["log"]["head"]["signature"]["keyId"] = "0123456789abcdef"
    report = verify_certificate(canonical(lasting_engine.platform.signer.sign(read)), keys)
    assert (report.verdict, report.is_valid) == (Verdict.UNKNOWN_SIGNER, False)
