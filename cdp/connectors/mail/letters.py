"""The mail to a processor, by language. It names nobody: whom it is about is behind the link."""

from collections.abc import Mapping

from cdp.tables.request import TaskStep

TEMPLATE = "processor_request"
PURPOSE = "privacy_requests"
PAGE = "/privacy/processor"
FIRST, AGAIN = "first", "again"

_ENGLISH: Mapping[TaskStep, str] = {
    TaskStep.ERASE: """Delete somebody's data by {until} ({reference})
Hello {title},

somebody asked us for the deletion of their data, and you process it for us (GDPR art. 17, 19 and 28(3)(e)).

Who it is, and where to say what you did: {link}
If the page asks for a code, it is: {code}

Please answer by {until}. Do not forward this mail: whoever has the link can answer for you.
""",
    TaskStep.VERIFY: """Look once more whether somebody's data is gone, by {until} ({reference})
Hello {title},

you told us that you deleted somebody's data. Please look once more, and tell us what you find.

Who it is, and where to say what you found: {link}
If the page asks for a code, it is: {code}

Please answer by {until}. Do not forward this mail: whoever has the link can answer for you.
""",
}
_GERMAN: Mapping[TaskStep, str] = {
    TaskStep.ERASE: """Bitte Daten einer Person löschen, bis {until} ({reference})
Guten Tag {title},

jemand hat die Löschung seiner Daten verlangt, die Sie für uns verarbeiten (DSGVO Art. 17, 19 und 28 Abs. 3 e).

Um wen es geht, und wo Sie antworten: {link}
Falls die Seite nach einem Code fragt: {code}

Bitte antworten Sie bis {until}. Leiten Sie diese Mail nicht weiter: Wer den Link hat, kann für Sie antworten.
""",
    TaskStep.VERIFY: """Bitte noch einmal nachsehen, ob die Daten einer Person fort sind, bis {until} ({reference})
Guten Tag {title},

Sie haben uns mitgeteilt, dass Sie Daten einer Person gelöscht haben. Bitte sehen Sie noch einmal nach.

Um wen es geht, und wo Sie antworten: {link}
Falls die Seite nach einem Code fragt: {code}

Bitte antworten Sie bis {until}. Leiten Sie diese Mail nicht weiter: Wer den Link hat, kann für Sie antworten.
""",
}
LANGUAGES: Mapping[str, Mapping[TaskStep, str]] = {"en": _ENGLISH, "de": _GERMAN}
REMINDER: Mapping[str, str] = {"en": "Reminder: ", "de": "Erinnerung: "}


def write(step: TaskStep, language: str, *, is_reminder: bool, **values: str) -> tuple[str, str]:
    """Subject and text."""
    subject, _, body = LANGUAGES[language][step].format(**values).partition("\n")
    return (f"{REMINDER[language]}{subject}" if is_reminder else subject), body
