"""Authorization details: what a client asks for beyond scopes, in shapes that were agreed on.

Types and their schemas are data, in ``access/authorization_types``. What a client asks again for, at the token
endpoint, is at most what was granted, detail by detail.
Source: RFC 9396, https://www.rfc-editor.org/rfc/rfc9396.
"""

import json
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TypeAlias

from jsonschema import Draft202012Validator

from cdp.access.authorization_types import PROFILE_ACCESS, TYPES
from cdp.access.viewer import Actor
from cdp.core.errors import InvalidInput
from cdp.operations.oauth.clients import OAuthClient

PARAMETER = "authorization_details"
LARGEST = 4 * 1024
MOST = 10

Detail: TypeAlias = Mapping[str, object]
Details: TypeAlias = tuple[Detail, ...]


class InvalidAuthorizationDetails(InvalidInput):
    """These authorization details are of no type we know, of the wrong shape, or not for this client."""

    code = "INVALID_AUTHORIZATION_DETAILS"


def read(sent: str | None, client: OAuthClient, actor: Actor) -> Details:
    """Read the parameter; none is no details. ``actor`` is whose tokens these will be.

    Raises InvalidAuthorizationDetails.
    """
    found = _parsed(sent)
    for detail in found:
        kind = TYPES[str(detail["type"])]
        if detail["type"] not in client.authorization_types or actor not in kind.actors:
            raise InvalidAuthorizationDetails
    return found


def narrow(granted: Details, sent: str | None) -> Details:
    """What of the granted details a token request asks for. Raises InvalidAuthorizationDetails for anything else."""
    if sent is None:
        return granted
    asked = _parsed(sent)
    if not asked or not {_key(detail) for detail in asked} <= {_key(detail) for detail in granted}:
        raise InvalidAuthorizationDetails
    return asked


def is_same(one: Sequence[Detail], other: Sequence[Detail]) -> bool:
    """Whether both ask for the same, in whatever order."""
    return sorted(map(_key, one)) == sorted(map(_key, other))


def describe(detail: Detail) -> str:
    """One detail as a sentence for a person."""
    shown = {
        name: ", ".join(map(str, value)) if isinstance(value, list) else str(value) for name, value in detail.items()
    }
    return TYPES[str(detail["type"])].sentence.format_map(shown)


def areas_of(details: Details) -> frozenset[str] | None:
    """The areas of a profile these details narrow reading to; None when they do not."""
    narrowed = [detail["areas"] for detail in details if detail["type"] == PROFILE_ACCESS]
    if not narrowed:
        return None
    return frozenset(str(area) for areas in narrowed if isinstance(areas, list) for area in areas)


def canonical(details: Sequence[Detail]) -> str:
    """One text for equal details."""
    return json.dumps(sorted(map(_key, details)))


def _parsed(sent: str | None) -> Details:
    if sent is None:
        return ()
    if len(sent) > LARGEST:
        raise InvalidAuthorizationDetails
    try:
        found = json.loads(sent)
    except (ValueError, RecursionError) as error:
        raise InvalidAuthorizationDetails from error
    if not isinstance(found, list) or len(found) > MOST:
        raise InvalidAuthorizationDetails
    for detail in found:
        kind = detail.get("type") if isinstance(detail, dict) else None
        if not isinstance(kind, str) or kind not in TYPES or not _validator(kind).is_valid(detail):
            raise InvalidAuthorizationDetails
    return tuple(found)


def _key(detail: Detail) -> str:
    return json.dumps(detail, sort_keys=True)


@cache
def _validator(kind: str) -> Draft202012Validator:
    return Draft202012Validator(TYPES[kind].schema)
