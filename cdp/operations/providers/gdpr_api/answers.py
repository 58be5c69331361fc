"""What a deletion is answered with: nothing once it is done, otherwise one code and a sentence in three languages.

Callers keep a body only if it has exactly this form. Sentences are general: they are shown to whoever asked, and no
reason of ours leaves the platform this way.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Answered(StrEnum):
    """Every code we answer with. The first are refusals (403), the others mean: not done, call again (500)."""

    HELD = "HELD"
    REFUSED = "REFUSED"
    REFUSED_BY_SYSTEM = "REFUSED_BY_SYSTEM"
    TAKEN_BACK = "TAKEN_BACK"
    UNDER_WAY = "UNDER_WAY"
    COOLING_OFF = "COOLING_OFF"
    WAITS_FOR_DECISION = "WAITS_FOR_DECISION"
    NEEDS_ATTENTION = "NEEDS_ATTENTION"
    TECHNICAL_ERROR = "TECHNICAL_ERROR"


A = Answered
REFUSALS = frozenset({A.HELD, A.REFUSED, A.REFUSED_BY_SYSTEM, A.TAKEN_BACK})
_SENTENCES: Mapping[Answered, tuple[str, str, str]] = {
    A.HELD: (
        "A legal hold forbids us to delete some records now. They are deleted once it ends.",
        "Oikeudellinen säilytysvelvoite estää joidenkin tietojen poistamisen nyt. Ne poistetaan sen päätyttyä.",
        "Ett rättsligt bevarandekrav hindrar oss från att radera vissa uppgifter nu. De raderas när det upphör.",
    ),
    A.REFUSED: (
        "The deletion was refused. Contact us to learn why.",
        "Poistopyyntö hylättiin. Ota yhteyttä meihin, niin kerromme syyn.",
        "Begäran om radering avslogs. Kontakta oss för att få veta varför.",
    ),
    A.REFUSED_BY_SYSTEM: (
        "One of the connected systems does not delete the data. Somebody here looks at it.",
        "Jokin liitetyistä järjestelmistä ei poista tietoja. Asia selvitetään.",
        "Ett av de anslutna systemen raderar inte uppgifterna. Vi utreder saken.",
    ),
    A.TAKEN_BACK: (
        "The deletion was taken back before anything was deleted.",
        "Poistopyyntö peruttiin ennen kuin mitään poistettiin.",
        "Begäran om radering togs tillbaka innan något raderades.",
    ),
    A.UNDER_WAY: (
        "The deletion is under way. Ask again later.",
        "Poistaminen on kesken. Yritä myöhemmin uudelleen.",
        "Raderingen pågår. Försök igen senare.",
    ),
    A.COOLING_OFF: (
        "A deletion was asked for before and can still be undone. It begins when that time is over.",
        "Poistamista on pyydetty aiemmin, ja pyynnön voi vielä perua. Poistaminen alkaa, kun peruutusaika päättyy.",
        "Radering har begärts tidigare och kan ännu ångras. Den börjar när ångertiden är slut.",
    ),
    A.WAITS_FOR_DECISION: (
        "The deletion waits for a decision of ours.",
        "Poistopyyntö odottaa päätöstämme.",
        "Begäran om radering väntar på vårt beslut.",
    ),
    A.NEEDS_ATTENTION: (
        "The deletion could not be finished. Somebody here looks at it.",
        "Poistamista ei saatu päätökseen. Asia selvitetään.",
        "Raderingen kunde inte slutföras. Vi utreder saken.",
    ),
    A.TECHNICAL_ERROR: (
        "Something went wrong here. Ask again later.",
        "Järjestelmässä tapahtui virhe. Yritä myöhemmin uudelleen.",
        "Ett fel inträffade i systemet. Försök igen senare.",
    ),
}


@dataclass(frozen=True)
class Verdict:
    """The answer to a deletion; without a code it is done."""

    code: Answered | None = None

    @property
    def status(self) -> int:
        """The HTTP status; callers take 204 alone for success."""
        if self.code is None:
            return 204
        return 403 if self.code in REFUSALS else 500

    @property
    def body(self) -> dict[str, object] | None:
        """The error response, None where there is nothing to say."""
        if self.code is None:
            return None
        english, finnish, swedish = _SENTENCES[self.code]
        return {"errors": [{"code": self.code.value, "message": {"en": english, "fi": finnish, "sv": swedish}}]}


DONE = Verdict()
