"""``cdp transfer``: a whole deal at a terminal, by three people, each with a token of their own."""

import json
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select

from cdp.operations.oauth.terminal_tokens import issue
from cdp.operations.transfers import wire
from cdp.operations.transfers.deals import Recorded, TransferInvalid
from cdp.tables.audit import audit_event
from tests.cli.test_sign_in_verbs import run
from tests.engine import QUICK, opened
from tests.site import app, new_staff, platform
from tests.transfers.office import TERMS, Office, opened_office

__all__ = ["app", "new_staff", "platform"]


@pytest.fixture
def cdp(settings: Any) -> Callable[..., Any]:
    """Run a verb; answers its JSON, or fails with what it said."""

    def call(*arguments: str) -> Any:
        done = run(settings, *arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return call


async def refusals(office: Office, deal: Recorded) -> list[tuple[str, str]]:
    """What was refused in a deal, as its ledger has it."""
    mine = (audit_event.c.object_id == deal.id, audit_event.c.outcome == "refused")
    async with office.tx() as tx:
        return [(row.action, row.code) for row in await tx.all(select(audit_event).where(*mine))]


async def test_a_deal_at_a_terminal(settings: Any, cdp: Callable[..., Any], tmp_path: Any, new_staff: Any) -> None:
    async for engine in opened(settings.model_copy(update={**QUICK, "redis_url": ""})):
        office = await opened_office(engine)
        person = await office.person(await office.brand("terminal"))
        names = [await new_staff(role) for role in ("privacy_officer", "administrator")]
        maker, second = [await issue(engine.platform, name) for name in names]
        file = tmp_path / "terms.json"
        file.write_text(json.dumps(TERMS), encoding="utf-8")

        made = cdp("transfer", "create", str(file), "--token", maker)
        deal = Recorded(UUID(made["id"]), made["reference"], made["keyFingerprint"])
        await office.told(deal)
        samples = cdp("transfer", "preview", deal.reference, "--token", maker)
        assert [(one["group"], one["goes"]) for one in samples] == [("all", True)]
        assert person.email not in str(samples)
        assert samples[0]["email"].endswith("***.com")
        sha256 = await office.freeze(deal)
        assert not await office.approve(deal, office.first, sha256)
        own = run(settings, "transfer", "approve", deal.reference, sha256, "--token", maker)
        assert (own.returncode, "SECOND_PERSON_NEEDED" in own.stderr) == (3, True)
        assert await refusals(office, deal) == [("transfer.approve", "SECOND_PERSON_NEEDED")]
        assert cdp("transfer", "approve", deal.reference, sha256, "--token", second)["approved"] is True
        shown = cdp("transfer", "show", deal.reference)
        assert (shown["state"], shown["approvals"], shown["sha256"]) == ("approved", 2, sha256)


async def test_a_field_that_goes_to_nobody_is_refused(
    settings: Any, tmp_path: Any, new_staff: Any, platform: Any
) -> None:
    cohort = {**TERMS["cohorts"][0], "fields": ["account.username"]}
    file = tmp_path / "terms.json"
    file.write_text(json.dumps({**TERMS, "cohorts": [cohort]}), encoding="utf-8")
    token = await issue(platform, await new_staff("privacy_officer"))
    done = run(settings, "transfer", "create", str(file), "--token", token)
    assert (done.returncode, "FIELD_NOT_TRANSFERABLE" in done.stderr) == (1, True)


WRONG: dict[str, dict[str, Any]] = {
    "prize": {**TERMS, "prize": 12},
    "acquirer.key": {**TERMS, "acquirer": {**TERMS["acquirer"], "key": 12}},
    "cohorts.0.rule": {**TERMS, "cohorts": [{**TERMS["cohorts"][0], "rule": "the rich"}]},
    "reviews": {name: value for name, value in TERMS.items() if name != "reviews"},
}


@pytest.mark.parametrize("place", sorted(WRONG))
def test_what_is_wrong_with_terms_is_named_and_never_quoted(place: str) -> None:
    with pytest.raises(TransferInvalid) as refusal:
        wire.read(WRONG[place])
    assert refusal.value.extensions["field"] == place
