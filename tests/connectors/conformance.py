"""What every kind of connected system must do, run against a real one of each.

A kind writes a ``Harness`` around its peer and a class ``TestKind(Conformance)`` with a ``harness`` fixture. The peer's
state is always looked at directly, never through the connector under test.
"""

import json
from dataclasses import replace
from typing import Protocol

import pytest

from cdp.connectors.base import Connector, Outcome, Record, State, Subject, Unfinished
from cdp.core.ids import CustomerId, RequestId, new_id

SECRET = b"a secret that dies with the request"


class Harness(Protocol):
    """One running peer."""

    connector: Connector

    async def person(self) -> Subject:
        """Somebody new, with records in every corner of the peer."""

    async def unreachable(self) -> Connector:
        """The same connector while its peer does not answer."""

    async def everything(self) -> object:
        """All the peer holds, about everybody."""

    async def held(self, subject: Subject) -> object:
        """All the peer holds about one person, empty once nothing is left; kept facts do not count."""

    async def come_back(self, subject: Subject) -> None:
        """Something about an erased person appears in the peer again."""

    def texts(self, subject: Subject) -> list[str]:
        """Texts of that person, as the peer stores them."""


async def records_of(connector: Connector, subject: Subject) -> dict[str, list[Record]]:
    """Everything a read yields, by collection."""
    found: dict[str, list[Record]] = {}
    async for page in connector.read(subject, key_of(subject, "read")):
        found.setdefault(page.collection, []).extend(page.records)
    return found


def key_of(subject: Subject, step: str) -> str:
    """The idempotency key of a step."""
    return f"{subject.request_id}:peer:{step}"


def stranger_like(subject: Subject) -> Subject:
    """Nobody the peer knows."""
    nobody = tuple(replace(known, value=f"9{new_id().int % 10**12}") for known in subject.identifiers)
    return Subject(RequestId(new_id()), CustomerId(new_id()), new_id(), nobody, SECRET)


async def steps(connector: Connector, subject: Subject) -> list[Outcome]:
    """Check, erase and verify, in order."""
    return [
        await connector.check(subject, key_of(subject, "check")),
        await connector.erase(subject, key_of(subject, "erase")),
        await connector.verify(subject, key_of(subject, "verify")),
    ]


class Conformance:
    """The suite."""

    async def test_a_sound_configuration_has_no_problems(self, harness: Harness) -> None:
        before = await harness.everything()
        assert await harness.connector.probe() == ()
        assert await harness.everything() == before

    async def test_read_yields_the_person_and_nobody_else(self, harness: Harness) -> None:
        subject, bystander = await harness.person(), await harness.person()
        text = json.dumps(await records_of(harness.connector, subject), ensure_ascii=False, allow_nan=False)
        assert [part for part in harness.texts(subject) if part not in text] == []
        assert [part for part in harness.texts(bystander) if part in text] == []

    async def test_check_says_what_would_go_and_changes_nothing(self, harness: Harness) -> None:
        subject = await harness.person()
        before = await harness.everything()
        outcome = await harness.connector.check(subject, key_of(subject, "check"))
        assert (outcome.state, outcome.code) == (State.DONE, "FOUND")
        assert sum(outcome.records.values()) > 0
        assert await harness.everything() == before

    async def test_erase_removes_the_person_and_leaves_everybody_else(self, harness: Harness) -> None:
        bystander, subject = await harness.person(), await harness.person()
        others = await harness.held(bystander)
        check, erase, verify = await steps(harness.connector, subject)
        assert (erase.state, erase.code) == (State.DONE, "ERASED")
        assert erase.records.keys() == {name for held in (check, erase) for name in held.records}
        assert (verify.state, verify.code) == (State.DONE, "NOTHING_LEFT")
        assert not await harness.held(subject)
        assert others
        assert await harness.held(bystander) == others

    async def test_what_check_announced_is_what_erase_did(self, harness: Harness) -> None:
        subject = await harness.person()
        check, erase, _ = await steps(harness.connector, subject)
        assert check.retained == erase.retained
        kept = {held.collection for held in check.retained}
        assert {n: c for n, c in check.records.items() if n not in kept} == {
            n: c for n, c in erase.records.items() if n not in kept
        }

    async def test_verify_sees_what_is_still_there(self, harness: Harness) -> None:
        subject = await harness.person()
        outcome = await harness.connector.verify(subject, key_of(subject, "verify"))
        assert (outcome.state, outcome.code) == (State.FAILED, "LEFT_BEHIND")
        assert sum(outcome.records.values()) > 0

    async def test_verify_sees_what_came_back(self, harness: Harness) -> None:
        subject = await harness.person()
        *_, verify = await steps(harness.connector, subject)
        assert verify.state is State.DONE
        await harness.come_back(subject)
        again = await harness.connector.verify(subject, key_of(subject, "verify") + ":2")
        assert (again.state, again.code) == (State.FAILED, "LEFT_BEHIND")

    async def test_erasing_twice_finds_nothing_more(self, harness: Harness) -> None:
        subject = await harness.person()
        await steps(harness.connector, subject)
        after = await harness.everything()
        again = await harness.connector.erase(subject, key_of(subject, "erase") + ":2")
        assert again.state is State.DONE
        assert sum(again.records.values()) == 0
        assert await harness.everything() == after
        assert (await harness.connector.verify(subject, key_of(subject, "verify"))).state is State.DONE

    async def test_somebody_unknown_is_done_with_nothing(self, harness: Harness) -> None:
        subject = await harness.person()
        nobody = stranger_like(subject)
        before = await harness.everything()
        check, erase, verify = await steps(harness.connector, nobody)
        assert [(o.state, o.code) for o in (check, erase, verify)] == [
            (State.DONE, "NOTHING_FOUND"),
            (State.DONE, "NOTHING_FOUND"),
            (State.DONE, "NOTHING_LEFT"),
        ]
        assert not any(check.records.values())
        assert not any(erase.records.values())
        assert not any((await records_of(harness.connector, nobody)).values())
        assert await harness.everything() == before

    async def test_evidence_holds_nothing_personal(self, harness: Harness) -> None:
        subject = await harness.person()
        for outcome in [await harness.connector.verify(subject, "k"), *await steps(harness.connector, subject)]:
            text = json.dumps(outcome.document(), ensure_ascii=False) + repr(outcome) + repr(subject)
            assert [part for part in harness.texts(subject) if part in text] == []

    async def test_a_peer_that_does_not_answer_is_never_done(self, harness: Harness) -> None:
        subject = await harness.person()
        connector = await harness.unreachable()
        for outcome in await steps(connector, subject):
            assert (outcome.state, outcome.code) == (State.RETRY, "UNREACHABLE")
        with pytest.raises(Unfinished) as stopped:
            await records_of(connector, subject)
        assert stopped.value.outcome.state is State.RETRY
        assert [problem.code for problem in await connector.probe()] == ["UNREACHABLE"]


class SearchingConformance(Conformance):
    """The suite for kinds that find people by identifiers, not by our own id."""

    async def test_unverified_identifiers_find_nobody(self, harness: Harness) -> None:
        subject = await harness.person()
        claimed = replace(subject, identifiers=tuple(replace(i, verified=False) for i in subject.identifiers))
        before = await harness.everything()
        outcomes = await steps(harness.connector, claimed)
        assert {(o.state, o.code) for o in outcomes} == {(State.UNSUPPORTED, "NO_IDENTIFIER")}
        with pytest.raises(Unfinished, match="NO_IDENTIFIER"):
            await records_of(harness.connector, claimed)
        assert await harness.everything() == before
