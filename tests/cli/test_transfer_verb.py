"""``cdp transfer``: a whole deal at a terminal, by three people, each with a token of their own."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from cdp.core import age
from tests.cli.test_sign_in_verbs import run
from tests.engine import QUICK, opened
from tests.site import app, new_staff, platform
from tests.transfers.office import opened_office

__all__ = ["app", "new_staff", "platform"]
TERMS: dict[str, Any] = {
    "name": "Sale of a brand",
    "seller": "Shop Ltd",
    "acquirer": {
        "name": "Acme GmbH",
        "jurisdiction": "Germany",
        "contact": "privacy@acme.example",
        "key": age.recipient_of(age.new_identity()),
    },
    "brand": "terminal",
    "cohorts": [
        {"name": "all", "basis": "opt_out", "rule": "everybody", "fields": ["givenName", "contacts.emails.address"]}
    ],
    "reviews": [{"version": "2026-01", "permits": True}],
    "noticeVersion": "1",
    "notice": [{"language": "en", "subject": "About your data", "body": "Object within {days} days: {link}"}],
    "windowDays": 0,
}


@pytest.fixture
def cdp(settings: Any) -> Callable[..., Any]:
    """Run a verb; answers its JSON, or fails with what it said."""

    def call(*arguments: str) -> Any:
        done = run(settings, *arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return call


async def test_a_deal_at_a_terminal(settings: Any, cdp: Callable[..., Any], tmp_path: Any, new_staff: Any) -> None:
    async for engine in opened(settings.model_copy(update={**QUICK, "redis_url": ""})):
        office = await opened_office(engine)
        person = await office.person(await office.brand("terminal"))
        tokens = [
            run(settings, "token", "--user", await new_staff(role)).stdout.strip()
            for role in ("privacy_officer", "supervisor", "administrator")
        ]
        file = tmp_path / "terms.json"
        file.write_text(json.dumps(TERMS), encoding="utf-8")
        maker, first, second = tokens

        made = cdp("transfer", "create", str(file), "--token", maker)
        reference = made["reference"]
        assert cdp("transfer", "classify", reference, "--token", maker)["included"] == {"all": 1}
        samples = cdp("transfer", "preview", reference, "--token", maker)
        assert [(one["group"], one["goes"]) for one in samples] == [("all", True)]
        assert person.email not in str(samples)
        assert samples[0]["email"].endswith("***.com")
        own = run(settings, "transfer", "confirm-key", reference, made["keyFingerprint"], "--token", maker)
        assert (own.returncode, "SECOND_PERSON_NEEDED" in own.stderr) == (3, True)
        cdp("transfer", "confirm-key", reference, made["keyFingerprint"], "--token", first)
        assert cdp("transfer", "notify", reference, "--token", maker)["letters"] == 1
        await engine.work()
        sha256 = cdp("transfer", "freeze", reference, "--token", maker)["sha256"]
        assert cdp("transfer", "approve", reference, sha256, "--token", first)["approvals"] == 1
        assert cdp("transfer", "approve", reference, sha256, "--token", second)["approved"] is True
        shown = cdp("transfer", "show", reference)
        assert (shown["state"], shown["approvals"], shown["sha256"]) == ("approved", 2, sha256)
        listed = cdp("transfer", "list", "--status", "approved")
        assert reference in [one["reference"] for one in listed]


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown word": ({**TERMS, "prize": 12}, "TRANSFER_INVALID"),
    "a field that goes to nobody": (
        {**TERMS, "cohorts": [{**TERMS["cohorts"][0], "fields": ["account.username"]}]},
        "FIELD_NOT_TRANSFERABLE",
    ),
    "a key that is none": ({**TERMS, "acquirer": {**TERMS["acquirer"], "key": "age1x"}}, "AGE_KEY_INVALID"),
}


@pytest.mark.parametrize("name", sorted(WRONG))
async def test_terms_that_are_wrong_are_said_to_be(settings: Any, tmp_path: Any, new_staff: Any, name: str) -> None:
    terms, code = WRONG[name]
    file = tmp_path / "terms.json"
    file.write_text(json.dumps(terms), encoding="utf-8")
    token = run(settings, "token", "--user", await new_staff("privacy_officer")).stdout.strip()
    done = run(settings, "transfer", "create", str(file), "--token", token)
    assert done.returncode == 1
    assert code in done.stderr
    assert "age1x" not in done.stderr
