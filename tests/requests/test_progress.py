"""Every state a request can be in, and what is decided about it: exhaustive over all statuses of all its tasks."""

from itertools import product
from uuid import UUID

import pytest

from cdp.core.ids import new_id
from cdp.operations.requests.progress import FINE, OPEN, Deed, Standing, next_deed, retry_of, runs_in
from cdp.tables.request import SETTLED, TRANSITIONS, RequestStatus, TaskStatus, TaskStep

OWN, CRM, SHOP = new_id(), new_id(), new_id()
MOVES_TO = {
    Deed.COOL_OFF: RequestStatus.COOLING_OFF,
    Deed.REFUSE: RequestStatus.REFUSED,
    Deed.STOP: RequestStatus.NEEDS_ATTENTION,
    Deed.ERASE: RequestStatus.ERASING,
    Deed.VERIFY: RequestStatus.VERIFYING,
    Deed.CERTIFY: RequestStatus.COMPLETED,
    Deed.PACK: RequestStatus.PACKING,
    Deed.FINISH: RequestStatus.COMPLETED,
    Deed.LIFT: RequestStatus.COMPLETED,
}


def task(system: UUID, step: TaskStep, status: TaskStatus) -> Standing:
    return Standing(new_id(), system, system == OWN, step, status)


def every(*places: tuple[UUID, TaskStep]) -> list[list[Standing]]:
    """All combinations of statuses over some tasks."""
    return [
        [task(system, step, status) for (system, step), status in zip(places, statuses, strict=True)]
        for statuses in product(TaskStatus, repeat=len(places))
    ]


PHASES = {
    RequestStatus.CHECKING: every((OWN, TaskStep.CHECK), (CRM, TaskStep.CHECK), (SHOP, TaskStep.CHECK)),
    RequestStatus.ERASING: every((CRM, TaskStep.ERASE), (SHOP, TaskStep.ERASE)),
    RequestStatus.VERIFYING: every((CRM, TaskStep.VERIFY), (OWN, TaskStep.ERASE), (OWN, TaskStep.VERIFY)),
    RequestStatus.COLLECTING: every((OWN, TaskStep.READ), (CRM, TaskStep.READ)),
    RequestStatus.PACKING: every((OWN, TaskStep.PACK)),
    RequestStatus.APPLYING: every((OWN, TaskStep.UPDATE), (CRM, TaskStep.UPDATE)),
    RequestStatus.LIFTING: [[]],
}


@pytest.mark.parametrize("status", PHASES)
def test_every_decision_is_an_allowed_move(status: RequestStatus) -> None:
    for tasks in PHASES[status]:
        deed = next_deed(status, tasks, is_cooled_off=True)
        assert deed not in MOVES_TO or MOVES_TO[deed] in TRANSITIONS[status], (deed, tasks)


@pytest.mark.parametrize("status", PHASES)
def test_nothing_is_decided_while_anything_runs(status: RequestStatus) -> None:
    for tasks in PHASES[status]:
        own_verify = [one for one in tasks if one.is_own]
        open_ones = [one for one in tasks if one.status in OPEN]
        if status is RequestStatus.VERIFYING:  # once our own rows are due, the others are long verified
            open_ones = [one for one in own_verify if one.status in OPEN]
        if open_ones:
            assert next_deed(status, tasks, is_cooled_off=True) is Deed.WAIT, tasks


def test_no_certificate_without_every_verification() -> None:
    erased = [task(OWN, TaskStep.ERASE, TaskStatus.DONE)]
    for status in TaskStatus:
        tasks = [*erased, task(OWN, TaskStep.VERIFY, status)]
        deed = next_deed(RequestStatus.VERIFYING, tasks, is_cooled_off=True)
        assert (deed is Deed.CERTIFY) == (status is TaskStatus.DONE)


def test_our_own_rows_wait_for_every_other_verification() -> None:
    for one, two in product(TaskStatus, repeat=2):
        tasks = [task(CRM, TaskStep.VERIFY, one), task(SHOP, TaskStep.VERIFY, two)]
        deed = next_deed(RequestStatus.VERIFYING, tasks, is_cooled_off=True)
        assert (deed is Deed.BURY) == ({one, two} <= FINE)


def test_nothing_is_erased_before_the_time_is_over() -> None:
    assert next_deed(RequestStatus.COOLING_OFF, [], is_cooled_off=False) is Deed.WAIT
    assert next_deed(RequestStatus.COOLING_OFF, [], is_cooled_off=True) is Deed.ERASE


def test_only_our_own_refusal_refuses() -> None:
    ours = [task(OWN, TaskStep.CHECK, TaskStatus.REFUSED), task(CRM, TaskStep.CHECK, TaskStatus.DONE)]
    theirs = [task(OWN, TaskStep.CHECK, TaskStatus.DONE), task(CRM, TaskStep.CHECK, TaskStatus.REFUSED)]
    assert next_deed(RequestStatus.CHECKING, ours, is_cooled_off=True) is Deed.REFUSE
    assert next_deed(RequestStatus.CHECKING, theirs, is_cooled_off=True) is Deed.STOP


def test_a_package_never_lacks_our_own_part() -> None:
    for own, other in product(TaskStatus, repeat=2):
        tasks = [task(OWN, TaskStep.READ, own), task(CRM, TaskStep.READ, other)]
        deed = next_deed(RequestStatus.COLLECTING, tasks, is_cooled_off=True)
        assert (deed is Deed.PACK) == (own is TaskStatus.DONE and other not in OPEN)


@pytest.mark.parametrize("status", sorted(SETTLED))
def test_settled_requests_rest(status: RequestStatus) -> None:
    for tasks in PHASES[RequestStatus.VERIFYING]:
        assert next_deed(status, tasks, is_cooled_off=True) is Deed.WAIT


@pytest.mark.parametrize("status", PHASES)
def test_a_retry_leads_back_to_work_on_what_stopped(status: RequestStatus) -> None:
    for tasks in PHASES[status]:
        if next_deed(status, tasks, is_cooled_off=True) is not Deed.STOP:
            continue
        plan = retry_of(tasks)
        assert plan.status in TRANSITIONS[RequestStatus.NEEDS_ATTENTION]
        left = [one for one in tasks if one.id not in plan.anew]
        again = [
            Standing(one.id, one.system_id, one.is_own, one.step, TaskStatus.PENDING) if one.id in plan.again else one
            for one in left
        ]
        assert next_deed(plan.status, again, is_cooled_off=True) is not Deed.STOP, (tasks, plan)
        for one in again:
            if one.status is TaskStatus.PENDING:
                assert runs_in(one.step, plan.status, is_own=one.is_own), (tasks, plan)


def test_data_left_behind_is_erased_again_before_it_is_verified_again() -> None:
    erase, verify = task(CRM, TaskStep.ERASE, TaskStatus.DONE), task(CRM, TaskStep.VERIFY, TaskStatus.FAILED)
    fine = [task(SHOP, TaskStep.ERASE, TaskStatus.DONE), task(SHOP, TaskStep.VERIFY, TaskStatus.DONE)]
    plan = retry_of([erase, verify, *fine])
    assert (plan.status, plan.again, plan.anew) == (RequestStatus.ERASING, {erase.id}, {verify.id})


def test_a_verification_that_could_not_be_asked_is_only_asked_again() -> None:
    erase = task(CRM, TaskStep.ERASE, TaskStatus.DONE)
    verify = task(CRM, TaskStep.VERIFY, TaskStatus.NEEDS_ATTENTION)
    plan = retry_of([erase, verify])
    assert (plan.status, plan.again, plan.anew) == (RequestStatus.VERIFYING, {verify.id}, frozenset())
