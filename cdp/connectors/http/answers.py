"""What an answer means: records, nothing, done, or an outcome; an answer the description does not know has failed."""

from collections.abc import Iterable

from cdp.connectors.base import Code, Json, Outcome, Record, State
from cdp.connectors.calls import retry_after_s, strict_json, trouble
from cdp.connectors.http.description import Change, Search, Sign, Verdict
from cdp.connectors.templates import Values, pointed
from cdp.core.http import Answer

ERROR_IN_BODY = "ERROR_IN_BODY"


def records_in(answer: Answer, search: Search) -> list[Record] | Outcome:
    """The records of an answer; empty only when it says so, by an empty list or a sign of the description.

    A verification that names no records counts an answer without the sign as one record.
    """
    shown = [sign for sign in search.nothing if _shows(answer, sign)]
    if shown:
        return _otherwise(answer, search.otherwise) if _complains(answer, shown) else []
    if answer.status != search.found:
        return _otherwise(answer, search.otherwise)
    try:
        said = pointed(strict_json(answer.body), search.records or "")
    except (ValueError, KeyError):
        return _bad(answer)
    if search.records is None:
        return [{}]
    listed = said if isinstance(said, list) else [said]
    records = [one for one in listed if isinstance(one, dict)]
    # a body that is nothing but the record may well have a member of that name
    if (search.records or not records) and _complains(answer):
        return _otherwise(answer, search.otherwise)
    return records if len(records) == len(listed) else _bad(answer)


def trouble_with(answer: Answer, change: Change) -> Outcome | None:
    """None when the change was made, as far as its answer says."""
    shown = [sign for sign in change.done if _shows(answer, sign)]
    if shown and not _complains(answer, shown):
        return None
    return _otherwise(answer, change.otherwise)


def belongs(record: Record, pointer: str, values: Values) -> bool:
    """Whether a record carries the identifier it was searched by, plain or hashed."""
    try:
        held = pointed(record, pointer)
    except KeyError:
        return False
    if not isinstance(held, str | int):
        return False
    plain = _folded(str(held), values.type) == _folded(values.identifier, values.type)
    return plain or str(held).lower() == values.of(f"{values.type}:sha256")


def _folded(text: str, kind: str) -> str:
    return "".join(filter(str.isdigit, text)) if kind == "phone" else text.strip().casefold()


def _otherwise(answer: Answer, verdicts: Iterable[Verdict]) -> Outcome:
    for verdict in verdicts:
        if _shows(answer, verdict):
            return Outcome(State(verdict.state), verdict.code, retry_after_s=retry_after_s(answer))
    if answer.status == 403:
        return Outcome(State.FAILED, Code.NOT_ALLOWED)
    if answer.status < 300 and _complains(answer):
        return Outcome(State.FAILED, ERROR_IN_BODY, {"status": answer.status})
    return trouble(answer)


def _complains(answer: Answer, expected: Iterable[Sign] = ()) -> bool:
    """Whether the body of a success says that it is none, unless that is what a description ``expected``.

    GraphQL answers 200 with ``errors``, JSend with ``status``, others with ``ok`` or ``success``; what lists nothing
    beside it proves nothing. https://spec.graphql.org/, https://github.com/omniti-labs/jsend
    """
    if not 200 <= answer.status < 300:
        return False
    try:
        said = strict_json(answer.body)
    except ValueError:
        return False
    if not isinstance(said, dict):
        return False
    told = {name for name in ("error", "errors") if said.get(name)}
    told |= {name for name in ("ok", "success") if said.get(name) is False}
    told |= {"status"} if str(said.get("status")).casefold() in {"error", "fail", "failed"} else set()
    whole = [sign.at.split("/") for sign in expected if sign.at is not None]
    return bool(told - {path[1] for path in whole if len(path) > 1})


def _bad(answer: Answer) -> Outcome:
    return Outcome(State.FAILED, Code.BAD_ANSWER, {"status": answer.status})


def _shows(answer: Answer, sign: Sign) -> bool:
    if answer.status != sign.status:
        return False
    if sign.at is None:
        return sign.status != 204 or not answer.body
    try:
        return _same(pointed(strict_json(answer.body), sign.at), sign.equals)
    except (ValueError, KeyError):
        return False


def _same(one: Json, other: Json) -> bool:
    """Equal and of the same JSON type: in Python alone is true equal to one."""
    return one == other and isinstance(one, bool) == isinstance(other, bool)
