"""``python -m bench.partners``: a profile read by a partner, with grant and disclosure, against the customer's own.

The same fields of the same customers from the same server, in interleaved rounds; the partner's statement also looks
its grant up, asks for consent, objection, holds and erasure, and writes the disclosure before it answers. All of a
partner's reads are under one grant, as a program's are, so those that come together share a statement; what one costs
that comes alone is told beside.
"""

import argparse
import asyncio
import json
import os
import sys
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

from rich.console import Console
from sqlalchemy import insert

from bench import peers, results
from bench.documents import request
from bench.ground import Ground, ground
from bench.load import Order, Round, Shot, WrongAnswer, collect, fire_apart
from bench.peers import Server
from bench.results import Report, Target
from bench.visitors import visitors
from cdp.access.scopes import STAFF_SCOPES
from cdp.access.sharing import READ_SCOPE, SHAREABLE
from cdp.access.viewer import SYSTEM, Actor, Viewer
from cdp.core.db import Role
from cdp.core.ids import global_id, new_id
from cdp.core.platform import Platform
from cdp.operations.oauth import clients
from cdp.operations.oauth import grants as tokens
from cdp.operations.oauth.tokens import issuer_of
from cdp.operations.partners import grants, partners
from cdp.operations.partners.grants import Terms
from cdp.operations.partners.partners import NewPartner
from cdp.tables.partner import PartnerFunction
from cdp.tables.policy import LegalBasis
from cdp.tables.staff import staff

CONCURRENCY = 16
VISITORS = 2_000
WARM_S = 0.7
MOST_TIMES = 1.5
PURPOSE = "orders"
FIELDS = """
  id givenName familyName country locale
  contacts {
    emails { id address isPrimary } phones { id number kind isPrimary }
    addresses { id kind recipient line1 line2 city region postalCode country isPrimary }
  }
  preferences { key value updatedAt }
  orders(first: 10) { nodes { id number status placedAt currency total items { sku title quantity unitPrice } } }
"""
OWN = f"query Own {{ viewer {{ customer {{ {FIELDS} }} }} }}"
SHARED = f"query Shared($id: ID!) {{ customer(id: $id) {{ {FIELDS} }} }}"


def main() -> int:
    """Run it; the exit code."""
    asked, console = _arguments(), Console(width=130)
    with ground(asked.customers) as made:
        report = Report(asked.customers, CONCURRENCY, made.settings.pool_size)
        guests = visitors(made, VISITORS, seed=asked.seed)
        token = asyncio.run(_partner_token(made))
        owns = [request(OWN, headers=[f"Authorization: Bearer {guest.token}"]) for guest in guests]
        bearer = f"Authorization: Bearer {token}"
        ids = [global_id("Customer", guest.customer_id) for guest in guests]
        shareds = [request(SHARED, {"id": one}, headers=[bearer]) for one in ids]
        # Without its budget: all the partner's requests are one program's.
        with peers.ours(made, {"CDP_GRAPHQL_BUDGET": "0"}) as server:
            contenders = {"the customer": _shots(server, owns), "the partner": _shots(server, shareds)}
            _agree(contenders)
            for number in range(asked.rounds + 1):
                for name, shots in contenders.items():
                    done = _fire(made, server, shots, seconds=asked.seconds, seed=asked.seed * 1000 + number)
                    if number:  # the first fills caches
                        report.rounds.setdefault(name, []).append(done)
            alone = _alone(made, server, contenders)
            report.facts["a partner's read / the customer's own, one connection each"] = alone
        own, shared = report.rounds.values()
        report.targets.append(_times(own, shared))
    results.show(report, console)
    console.print(f"kept in {results.keep(report)}")
    return 0 if report.holds else 1


def _arguments() -> argparse.Namespace:
    full = bool(os.environ.get("BENCH_FULL"))
    parser = argparse.ArgumentParser(prog="python -m bench.partners", description=__doc__)
    parser.add_argument("--customers", type=int, default=1_000_000 if full else 100_000)
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds")
    parser.add_argument("--seconds", type=float, default=20.0 if full else 5.0, help="length of one round")
    parser.add_argument("--seed", type=int, default=1, help="which customers are read, and in which order")
    return parser.parse_args()


def _times(own: list[Round], shared: list[Round]) -> Target:
    """How many times as long a partner's read takes: the median of the rounds' own ratios."""
    found = results.ratio("partner's profile query / the customer's own, time", own, shared, MOST_TIMES)
    return replace(found, at_least=False)


def _alone(made: Ground, server: Server, contenders: dict[str, list[Shot]]) -> str:
    """The same ratio where nobody shares a statement with anybody."""
    rounds: list[list[Round]] = [[], []]
    for number in range(5):
        for done, shots in zip(rounds, contenders.values(), strict=True):
            done.append(_fire(made, server, shots, seconds=1.0, seed=number, concurrency=1))
    own, shared = rounds
    return f"{_times(own, shared).found:.2f}"


def _shots(server: Server, requests: list[bytes]) -> list[Shot]:
    bodies = collect(server.port, requests, concurrency=CONCURRENCY)
    return [Shot(*pair) for pair in zip(requests, bodies, strict=True)]


def _agree(contenders: dict[str, list[Shot]]) -> None:
    """The partner gets exactly what the customer sees, of everybody."""
    for own, shared in zip(*contenders.values(), strict=True):
        mine = json.loads(own.body)["data"]["viewer"]["customer"]
        theirs = json.loads(shared.body)["data"]["customer"]
        if mine != theirs or mine is None:
            raise WrongAnswer(f"they disagree:\n{json.dumps(mine)[:1000]}\n{shared.body[:1000]!r}")


def _fire(
    made: Ground, server: Server, shots: list[Shot], *, seconds: float, seed: int, concurrency: int = CONCURRENCY
) -> Round:
    return fire_apart(
        Order(
            port=server.port,
            pid=server.pid,
            postgres_pid=made.postgres_pid,
            shots=shots,
            concurrency=concurrency,
            warm_s=WARM_S,
            seconds=seconds,
            seed=seed,
        )
    )


async def _partner_token(made: Ground) -> str:
    """A partner with a grant in force, and its program's token."""
    platform = Platform.open(made.settings)
    try:
        return await _granted(platform, [await _colleague(platform) for _ in range(3)])
    finally:
        await platform.close()


async def _colleague(platform: Platform) -> Viewer:
    staff_id = new_id()
    async with platform.db.transaction(Role.WORKER) as tx:
        roles = ["privacy_officer"]
        await tx.execute(insert(staff).values(id=staff_id, username=f"{staff_id}@bench", name="Bench", roles=roles))
    now = platform.clock()
    return Viewer(Actor.STAFF, staff_id=staff_id, roles=frozenset(roles), scopes=STAFF_SCOPES, authenticated_at=now)


async def _granted(platform: Platform, people: list[Viewer]) -> str:
    now, function = platform.clock(), PartnerFunction.DATA_MANAGEMENT
    terms = Terms(
        function,
        frozenset({PURPOSE}),
        SHAREABLE[function],
        LegalBasis.CONTRACT,
        now - timedelta(hours=1),
        now + timedelta(days=30),
        retention_days=30,
        contract_reference="bench",
    )
    async with platform.db.transaction(Role.WORKER) as tx:
        added = await clients.add(
            tx,
            SYSTEM,
            "Partner",
            redirect_uris=[],
            confidential=True,
            grant_types=["client_credentials"],
            scopes=[READ_SCOPE],
            authorization_types=["partner_access"],
        )
        code = f"bench-{new_id().hex[-12:]}"
        wanted = NewPartner(code, "Bench partner", "partner@bench.example", added.client.client_id)
        partner_id = await partners.add(tx, SYSTEM, platform, wanted)
        grant_id: UUID = await grants.propose(tx, people[0], platform, partner_id, terms)
        for viewer in people[1:]:
            await grants.agree(tx, viewer, platform, grant_id)
        details = ({"type": "partner_access", "purpose": PURPOSE, "grant": str(grant_id)},)
        viewer = Viewer(Actor.CLIENT, client_id=added.client.client_id, purpose="none")
        opened = await tokens.open_grant(tx, viewer, added.client, READ_SCOPE, now=now, details=details)
    return issuer_of(platform).access_token(opened, READ_SCOPE, details=details)


if __name__ == "__main__":
    sys.exit(main())
