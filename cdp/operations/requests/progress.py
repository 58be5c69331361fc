"""What a request does next, decided from its status and its tasks alone: pure, so that a test can walk every state.

An erasure asks every system first and erases in an order that can be proven:

    checking     every system says what it would do     -> cooling_off | refused | needs_attention
    cooling_off  nothing happens until the time is over  -> erasing
    erasing      every system but our own, at once       -> verifying | needs_attention
    verifying    the same systems are read again; then packages, keys and unsent mail of the person go, the last mail
                 leaves and the journal entry is durable (``bury``); then our own rows go, are read again, and the
                 certificate is issued                   -> completed | needs_attention
    held         a legal hold keeps records of ours, or a system that it covers; all else is gone. Once it ends those
                 systems are erased and verified, then our own rows as above  -> erasing | verifying

An export reads every system (``collecting``), packs (``packing``) and is ``completed``; what could not be read does
not hold the rest up, unless it is our own part. A correction is written into every system that can take it
(``applying``) and is ``completed``. Nothing here counts as done that a system did not say is done.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from cdp.connectors.holds import HOLD_PLACED, HOLD_RELEASED
from cdp.tables.request import RequestStatus, TaskStatus, TaskStep


class Deed(StrEnum):
    """The next thing to do about a request."""

    WAIT = "wait"
    COOL_OFF = "cool_off"
    REFUSE = "refuse"
    STOP = "stop"  # a person has to look at it
    ERASE = "erase"
    VERIFY = "verify"
    BURY = "bury"
    PROVE = "prove"
    CERTIFY = "certify"
    PACK = "pack"
    FINISH = "finish"
    HOLD = "hold"  # a legal hold keeps the rest
    RESUME = "resume"  # the hold is over
    LIFT = "lift"


@dataclass(frozen=True)
class Standing:
    """One task as the decision sees it."""

    id: UUID
    system_id: UUID
    is_own: bool
    step: TaskStep
    status: TaskStatus
    code: str | None = None

    @property
    def is_held(self) -> bool:
        """Whether a legal hold of ours keeps it back; one of the system's own is for a person to look at."""
        return self.status is TaskStatus.HELD and self.code == HOLD_PLACED

    @property
    def is_released(self) -> bool:
        """Whether a legal hold kept it back and is over."""
        return self.status is TaskStatus.HELD and self.code == HOLD_RELEASED

    @property
    def is_fine(self) -> bool:
        """Whether it ended well; our own tables have no excuse."""
        return self.status is TaskStatus.DONE or (self.status in FINE and not self.is_own)


OPEN = frozenset({TaskStatus.PENDING, TaskStatus.RUNNING, TaskStatus.RETRYING, TaskStatus.WAITING})
FINE = frozenset({TaskStatus.DONE, TaskStatus.UNSUPPORTED})

# In which state of the request a step may run at all.
RUNS_IN = {
    TaskStep.READ: RequestStatus.COLLECTING,
    TaskStep.PACK: RequestStatus.PACKING,
    TaskStep.CHECK: RequestStatus.CHECKING,
    TaskStep.ERASE: RequestStatus.ERASING,
    TaskStep.VERIFY: RequestStatus.VERIFYING,
    TaskStep.UPDATE: RequestStatus.APPLYING,
}


def runs_in(step: TaskStep, status: RequestStatus, *, is_own: bool) -> bool:
    """Whether a task of this step may be worked on now; our own rows go while the request verifies."""
    if is_own and step is TaskStep.ERASE:
        return status is RequestStatus.VERIFYING
    return RUNS_IN[step] is status


def next_deed(
    status: RequestStatus, tasks: Sequence[Standing], *, is_cooled_off: bool, is_released: bool = False
) -> Deed:
    """Decide. ``is_cooled_off``: the database's clock has passed the end of the cooling-off time.

    ``is_released``: a legal hold that kept one of the tasks is over.
    """
    by_step = {step: [task for task in tasks if task.step is step] for step in TaskStep}
    deed = Deed.WAIT
    match status:
        case RequestStatus.CHECKING:
            deed = _after_checking(by_step[TaskStep.CHECK])
        case RequestStatus.COOLING_OFF if is_cooled_off:
            deed = Deed.ERASE
        case RequestStatus.LIFTING if is_cooled_off:
            deed = Deed.LIFT
        case RequestStatus.ERASING:
            others = [task for task in by_step[TaskStep.ERASE] if not task.is_own and not task.is_held]
            deed = _after(others, Deed.VERIFY)
        case RequestStatus.HELD if is_released:
            deed = Deed.RESUME
        case RequestStatus.VERIFYING:
            deed = _while_verifying(by_step[TaskStep.ERASE], by_step[TaskStep.VERIFY])
        case RequestStatus.COLLECTING:
            deed = _after_collecting(by_step[TaskStep.READ])
        case RequestStatus.APPLYING:
            deed = _after_applying(by_step[TaskStep.UPDATE])
        case RequestStatus.PACKING:
            deed = _strictly(by_step[TaskStep.PACK], Deed.FINISH)
    return deed


def _after(tasks: Iterable[Standing], done: Deed) -> Deed:
    """Nothing is decided while anything runs, so that one system's trouble never stops the others."""
    statuses = {task.status for task in tasks}
    if statuses & OPEN:
        return Deed.WAIT
    return done if statuses <= FINE else Deed.STOP


def _strictly(tasks: Iterable[Standing], done: Deed) -> Deed:
    """Our own tables have no excuse: only done is done."""
    statuses = {task.status for task in tasks}
    if statuses & OPEN:
        return Deed.WAIT
    return done if statuses == {TaskStatus.DONE} else Deed.STOP


def _after_checking(tasks: Sequence[Standing]) -> Deed:
    deed = _after(tasks, Deed.COOL_OFF)
    refused = any(task.is_own and task.status is TaskStatus.REFUSED for task in tasks)
    return Deed.REFUSE if deed is Deed.STOP and refused else deed


def _while_verifying(erase: Sequence[Standing], verify: Sequence[Standing]) -> Deed:
    own_erase = [task for task in erase if task.is_own]
    own_verify = [task for task in verify if task.is_own]
    if any(task.status in OPEN for task in (*own_erase, *own_verify)):
        return Deed.WAIT
    deed = _after([task for task in verify if not task.is_own], Deed.BURY)
    if deed is not Deed.BURY or not own_erase or any(task.is_released for task in own_erase):
        return deed
    if any(task.is_held for task in own_erase):
        return Deed.HOLD
    if not own_verify:
        return _strictly(own_erase, Deed.PROVE)
    end = Deed.HOLD if any(task.is_held for task in erase) else Deed.CERTIFY
    return _strictly([*own_erase, *own_verify], end)


def _after_collecting(read: Sequence[Standing]) -> Deed:
    if any(task.status in OPEN for task in read):
        return Deed.WAIT
    return _strictly([task for task in read if task.is_own], Deed.PACK)


def _after_applying(update: Sequence[Standing]) -> Deed:
    """A correction: our own tables without excuse, the others as far as they can."""
    deed = _after(update, Deed.FINISH)
    return _strictly([task for task in update if task.is_own], Deed.FINISH) if deed is Deed.FINISH else deed


@dataclass(frozen=True)
class Retry:
    """Where an operator's retry leads: the state to go back to, tasks to run again, verifications to make anew."""

    status: RequestStatus
    again: frozenset[UUID]
    anew: frozenset[UUID]


def retry_of(tasks: Sequence[Standing]) -> Retry:
    """Plan a retry from the earliest step that is not fine.

    A verification that saw data left behind is not asked again before its erase ran again, under a new key: the same
    key would only replay the answer that proved wrong. One that could not be asked is simply asked again.
    """
    stuck = [task for task in tasks if not task.is_fine]
    for step in (TaskStep.CHECK, TaskStep.READ, TaskStep.PACK, TaskStep.UPDATE):
        again = frozenset(task.id for task in stuck if task.step is step)
        if again:
            return Retry(RUNS_IN[step], again, frozenset())
    if not stuck:
        return Retry(_status_of_latest(tasks), frozenset(), frozenset())
    lied = {task.system_id for task in stuck if task.step is TaskStep.VERIFY and task.status is TaskStatus.FAILED}
    erase = {t.id for t in tasks if t.step is TaskStep.ERASE and (t in stuck or t.system_id in lied)}
    others = any(task.id in erase and not task.is_own for task in tasks)
    verify = [task for task in stuck if task.step is TaskStep.VERIFY]
    anew = {task.id for task in verify if others or task.system_id in lied}
    again_verify = {task.id for task in verify} - anew
    status = RequestStatus.ERASING if others else RequestStatus.VERIFYING
    return Retry(status, frozenset(erase | again_verify), frozenset(anew))


def _status_of_latest(tasks: Sequence[Standing]) -> RequestStatus:
    """Where a request without a stuck task stood."""
    steps = {task.step for task in tasks}
    latest = (TaskStep.VERIFY, TaskStep.ERASE, TaskStep.PACK, TaskStep.READ, TaskStep.UPDATE)
    return RUNS_IN[next((step for step in latest if step in steps), TaskStep.CHECK)]
