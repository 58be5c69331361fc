"""The part of an export for reading: one HTML file without scripts or outside links, and the README.

It opens offline, on a phone and on paper. Long collections are cut here and whole in the files beside it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from html import escape

from cdp.connectors.base import Json, Record
from cdp.core.clock import iso

SHOWN = 500

_STYLE = """
:root{color-scheme:light dark;font:16px/1.5 system-ui,sans-serif}
body{max-width:60rem;margin:0 auto;padding:1rem;overflow-wrap:anywhere}
h1{line-height:1.2}nav ul{columns:14rem;padding-left:1.2rem}
section{border-top:1px solid;margin-top:2rem}
article{border-left:3px solid;margin:1rem 0;padding:0 0 0 1rem;break-inside:avoid}
dl{display:grid;grid-template-columns:minmax(8rem,16rem) 1fr;gap:.2rem 1rem;margin:.3rem 0}
dt{font-weight:600}dd{margin:0}
@media(max-width:40rem){dl{display:block}dd{margin:0 0 .5rem}}
@media print{body{max-width:none}nav{display:none}}
"""

_ENGLISH = {
    "title": "Your data",
    "intro": "Everything we and the systems connected to us hold about you, as of {at}. Reference {reference}.",
    "files": "The same is in data/ and systems/, as JSON for machines and CSV for spreadsheets.",
    "chosen": "This is a part of it, as you chose; manifest.json names it. Ask for another copy to get the rest.",
    "records": "{count} records",
    "cut": "The first {shown} of {count} are shown; all of them are in {file}.",
    "none": "Nothing is held here.",
    "missing": "What could not be had",
    "missing_one": "{title} could not give us your data now ({code}).",
    "retried": "We ask again by ourselves on {at}; what comes then is a copy of its own.",
    "not_retried": "We do not ask again by ourselves: ask for another copy.",
    "own": "Held by us",
    "yes": "yes",
    "no": "no",
    "readme": """Your data copy {reference}, as of {at}

index.html     to read: open it in any browser, no network needed
data/          what we hold, as JSON for machines and CSV for spreadsheets
systems/       what each connected system holds
documents/     files about your requests, as they were handed in
missing.json   what could not be had, and why
schema.json    JSON Schema of every JSON file
manifest.json  every file with its size and SHA-256, signed in manifest.sig (Ed25519)

In CSV, tables inside a record are files of their own: _parent there is _record here. A text that a spreadsheet would
run as a formula starts with an apostrophe.
What you left out when you asked for the copy is not in it; manifest.json names what you chose.
To check that nothing was changed: cdp verify {reference}.zip
This file holds personal data. Keep it safe, and delete it when you are done.
""",
}

_GERMAN = {
    "title": "Ihre Daten",
    "intro": "Alles, was wir und die mit uns verbundenen Systeme über Sie speichern, Stand {at}. Vorgang {reference}.",
    "files": "Dasselbe liegt in data/ und systems/, als JSON für Maschinen und CSV für Tabellen.",
    "chosen": "Dies ist ein Teil davon, wie gewählt; manifest.json nennt ihn. Den Rest enthält eine weitere Kopie.",
    "records": "{count} Einträge",
    "cut": "Die ersten {shown} von {count} werden gezeigt; alle stehen in {file}.",
    "none": "Hier ist nichts gespeichert.",
    "missing": "Was nicht zu bekommen war",
    "missing_one": "{title} konnte uns Ihre Daten jetzt nicht geben ({code}).",
    "retried": "Wir fragen am {at} von selbst noch einmal; was dann kommt, wird eine eigene Kopie.",
    "not_retried": "Wir fragen nicht von selbst noch einmal: Fordern Sie eine weitere Kopie an.",
    "own": "Bei uns gespeichert",
    "yes": "ja",
    "no": "nein",
    "readme": """Ihre Datenkopie {reference}, Stand {at}

index.html     zum Lesen: in jedem Browser öffnen, ohne Netz
data/          was wir speichern, als JSON für Maschinen und CSV für Tabellen
systems/       was jedes verbundene System speichert
documents/     Dateien zu Ihren Vorgängen, wie sie vorgelegt wurden
missing.json   was nicht zu bekommen war, und warum
schema.json    JSON Schema jeder JSON-Datei
manifest.json  jede Datei mit Größe und SHA-256, unterschrieben in manifest.sig (Ed25519)

In CSV sind Tabellen innerhalb eines Eintrags eigene Dateien: _parent dort ist _record hier. Ein Text, den ein
Tabellenprogramm als Formel ausführen würde, beginnt mit einem Apostroph.
Was Sie beim Anfordern abgewählt haben, fehlt; manifest.json nennt Ihre Auswahl.
Prüfen, dass nichts verändert wurde: cdp verify {reference}.zip
Diese Datei enthält personenbezogene Daten. Bewahren Sie sie sicher auf und löschen Sie sie, wenn Sie fertig sind.
""",
}

_LANGUAGES: Mapping[str, Mapping[str, str]] = {"en": _ENGLISH, "de": _GERMAN}


@dataclass(frozen=True)
class Section:
    """One collection in the table of contents: where its file is, how many records it has."""

    system: str
    name: str
    file: str
    records: int


@dataclass(frozen=True)
class Page:
    """What every part of the document needs to know."""

    language: str
    reference: str
    at: str
    is_everything: bool = True

    def text(self, name: str, **values: str | int) -> str:
        """One sentence in the reader's language, safe to stand in HTML."""
        return escape(_LANGUAGES[self.language][name].format(**values))

    def retry(self, at: datetime | None) -> str:
        """When a system that gave nothing is asked again."""
        if at is None:
            return _LANGUAGES[self.language]["not_retried"]
        return _LANGUAGES[self.language]["retried"].format(at=f"{iso(at)[:16].replace('T', ' ')} UTC")

    def readme(self) -> str:
        """README.txt."""
        return _LANGUAGES[self.language]["readme"].format(reference=self.reference, at=self.at)

    def own(self) -> str:
        """What our own part is called."""
        return _LANGUAGES[self.language]["own"]


def head(page: Page, sections: list[Section], missing: list[tuple[str, str, str]]) -> Iterator[str]:
    """The document up to its first section."""
    yield f'<!doctype html><html lang="{page.language}"><head><meta charset="utf-8">'
    yield "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
    yield '<meta name="viewport" content="width=device-width,initial-scale=1">'
    yield '<meta name="referrer" content="no-referrer">'
    yield f"<title>{page.text('title')}</title><style>{_STYLE}</style></head><body><main>"
    yield f"<h1>{page.text('title')}</h1><p>{page.text('intro', at=page.at, reference=page.reference)}</p>"
    if not page.is_everything:
        yield f"<p><strong>{page.text('chosen')}</strong></p>"
    yield f"<p>{page.text('files')}</p>"
    if missing:
        yield f"<h2>{page.text('missing')}</h2><ul>"
        for title, code, again in missing:
            yield f"<li>{page.text('missing_one', title=title, code=code)} {escape(again)}</li>"
        yield "</ul>"
    yield "<nav><ul>"
    for number, section in enumerate(sections):
        count = page.text("records", count=section.records)
        yield f'<li><a href="#s{number}">{escape(section.system)}: {escape(label(section.name))}</a>, {count}</li>'
    yield "</ul></nav>"


def section_head(page: Page, number: int, section: Section) -> str:
    """The start of one section."""
    count = page.text("records", count=section.records) if section.records else page.text("none")
    title = f"{escape(section.system)}: {escape(label(section.name))}"
    cut = ""
    if section.records > SHOWN:
        cut = f"<p>{page.text('cut', shown=SHOWN, count=section.records, file=section.file)}</p>"
    return f'<section id="s{number}"><h2>{title}</h2><p>{count}</p>{cut}'


def article(page: Page, record: Record) -> str:
    """One record."""
    return f"<article>{_value(page, record)}</article>"


SECTION_END = "</section>"
FOOT = "</main></body></html>\n"


def label(name: str) -> str:
    """A field's name in words: ``placed_at`` and ``placedAt`` become ``Placed at``."""
    words = "".join(f" {c.lower()}" if c.isupper() else c for c in name).replace("_", " ").replace(".", " ")
    return " ".join(words.split()).capitalize()


def _value(page: Page, value: Json) -> str:
    if value in (None, "", [], {}):
        return "–"
    match value:
        case bool():
            return page.text("yes" if value else "no")
        case dict():
            inner = (f"<dt>{escape(label(name))}</dt><dd>{_value(page, one)}</dd>" for name, one in value.items())
            return f"<dl>{''.join(inner)}</dl>"
        case list():
            return f"<ul>{''.join(f'<li>{_value(page, one)}</li>' for one in value)}</ul>"
        case _:
            return escape(str(value))
