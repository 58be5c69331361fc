"""Country names in several languages and spellings, turned into ISO 3166-1 alpha-2.

Sources: pycountry (ISO 3166-1, English) and CLDR through babel; the few everyday names that neither knows are below.
"""

import unicodedata
from functools import cache

import pycountry
from babel import Locale

LANGUAGES = ("en", "de", "fr", "es", "it", "pt", "nl", "pl", "sv", "da", "fi", "nb", "cs", "hu", "tr", "ja")
EVERYDAY = {
    "uk": "GB",
    "england": "GB",
    "scotland": "GB",
    "wales": "GB",
    "northern ireland": "GB",
    "great britain": "GB",
    "united states of america": "US",
    "u.s.a.": "US",
    "u.s.": "US",
    "america": "US",
    "holland": "NL",
    "the netherlands": "NL",
    "russia": "RU",
    "south korea": "KR",
    "taiwan": "TW",
    "uae": "AE",
}


def _folded(name: str) -> str:
    decomposed = unicodedata.normalize("NFKD", name.casefold())
    return " ".join("".join(c for c in decomposed if not unicodedata.combining(c)).split())


@cache
def _names() -> dict[str, str]:
    codes = {country.alpha_2 for country in pycountry.countries}
    found: dict[str, str] = {}
    for language in reversed(LANGUAGES):  # English last, so that it wins
        territories = Locale.parse(language).territories
        found |= {_folded(name): code for code, name in territories.items() if code in codes}
    for country in pycountry.countries:
        for name in ("official_name", "common_name", "name", "alpha_3", "alpha_2"):
            if text := getattr(country, name, None):
                found[_folded(text)] = country.alpha_2
    return found | EVERYDAY


def code_of(name: str) -> str | None:
    """The alpha-2 code of a country given by name or code; None when nobody knows it."""
    return _names().get(_folded(name))
