"""A deal's terms as people write them: one JSON document, the same words as the API's input."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from cdp.operations.transfers.deals import Acquirer, CohortTerms, NoticeText, Paper, Terms, TransferInvalid
from cdp.tables.transfer import BouncePolicy, CohortBasis, CohortRule

_Path = Annotated[str, Field(max_length=200)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, alias_generator=to_camel)


class _Acquirer(_Part):
    name: str
    jurisdiction: str
    contact: str
    key: str
    client_id: str | None = None


class _Cohort(_Part):
    name: str
    basis: Annotated[CohortBasis, Field(strict=False)]
    rule: Annotated[CohortRule, Field(strict=False)]
    fields_: Annotated[list[_Path], Field(alias="fields")]
    purpose: str | None = None
    window_days: int | None = None


class _Review(_Part):
    version: str
    permits: bool


class _Notice(_Part):
    language: str
    subject: str
    body: str


class _Paper(_Part):
    title: str
    sha256: str
    reference: str | None = None


class _Terms(_Part):
    name: str
    seller: str
    acquirer: _Acquirer
    brand: str
    cohorts: list[_Cohort]
    reviews: list[_Review]
    notice_version: str
    notice: list[_Notice]
    window_days: int = 42
    sources: list[str] = []
    partner_sources: list[str] = []
    inactive_days: int | None = None
    retain_days: int | None = None
    bounce: Annotated[BouncePolicy, Field(strict=False)] = BouncePolicy.EXCLUDE
    documents: list[_Paper] = []


def read(document: Mapping[str, Any]) -> Terms:
    """Read the terms of a deal. Raises TransferInvalid, which names the first field that is wrong and no value."""
    try:
        found = _Terms.model_validate(document)
    except ValidationError as error:
        place = ".".join(str(step) for step in error.errors(include_input=False)[0]["loc"])
        raise TransferInvalid(field=place) from None
    return Terms(
        name=found.name,
        seller=found.seller,
        acquirer=Acquirer(**found.acquirer.model_dump()),
        brand=found.brand,
        cohorts=[
            CohortTerms(one.name, one.basis, one.rule, one.fields_, one.purpose, one.window_days)
            for one in found.cohorts
        ],
        reviews={one.version: one.permits for one in found.reviews},
        notice_version=found.notice_version,
        notice={one.language: NoticeText(one.subject, one.body) for one in found.notice},
        window_days=found.window_days,
        sources=found.sources,
        partner_sources=found.partner_sources,
        inactive_days=found.inactive_days,
        retain_days=found.retain_days,
        bounce=found.bounce,
        documents=[Paper(**one.model_dump()) for one in found.documents],
    )
