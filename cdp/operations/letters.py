"""The texts of every message about a privacy request, by language.

No letter holds personal data beyond its address, unless an agent writes it into the reason they give.

A status key travels in the part of the link after ``#``, which browsers never send: it stays out of logs and Referer.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from cdp.operations.reference import Purpose

# Templates whose text opens something for whoever reads it.
WITH_A_LINK = frozenset(
    {
        "account_registered",
        "email_proof",
        "password_reset",
        "processor_request",
        "request_opened",
        "request_refused",
        "request_extended",
        "request_proof",
        "export_ready_by_link",
        "request_received",
        "request_done",
        "restriction_in_force",
        "restriction_lifting",
        "export_opened",
        "erasure_opened",
        "erasure_refused",
        "erasure_final",
        "erasure_partly",
        "erasure_held",
    }
)


class Template(StrEnum):
    """Names of the letters; ``message.template``."""

    REQUEST_OPENED = "request_opened"
    REQUEST_RECEIVED = "request_received"
    REQUEST_REFUSED = "request_refused"
    REQUEST_EXTENDED = "request_extended"
    REQUEST_DONE = "request_done"
    RESTRICTION_IN_FORCE = "restriction_in_force"
    RESTRICTION_LIFTING = "restriction_lifting"
    EXPORT_OPENED = "export_opened"
    EXPORT_READY = "export_ready"
    EXPORT_READY_BY_LINK = "export_ready_by_link"
    PROOF = "request_proof"
    ERASURE_OPENED = "erasure_opened"
    ERASURE_CANCELLED = "erasure_cancelled"
    ERASURE_REFUSED = "erasure_refused"
    ERASURE_FINAL = "erasure_final"
    ERASURE_PARTLY = "erasure_partly"
    ERASURE_HELD = "erasure_held"


@dataclass(frozen=True)
class Letter:
    """One message ready to be queued."""

    template: str
    purpose: str
    subject: str
    body: str

    def filled(self, **values: str) -> "Letter":
        """The letter with the names in its body filled in."""
        return replace(self, body=self.body.format(**values))


_ENGLISH: Mapping[Template, str] = {
    Template.REQUEST_OPENED: """Your request {reference} is under way
Hello,

your request is under way. Follow it here: {link}
Your status key, if the page asks for it: {secret}
""",
    Template.REQUEST_RECEIVED: """We received your request ({reference})
Hello,

we received your request, and somebody here looks at it. You get an answer within a month.

Watch it, also without signing in: {link}
Your status key, if the page asks for it: {secret}

If you did not ask for this, answer this message.
""",
    Template.REQUEST_REFUSED: """We can not do what you asked for ({reference})
Hello,

we can not do what you asked for. The reason:

{reason}

The status page: {link}
You may complain to a supervisory authority or go to court.
""",
    Template.REQUEST_EXTENDED: """Your request {reference} takes longer
Hello,

we need up to two months more for your request, until {until}. The reason:

{reason}

The status page: {link}
You may complain to a supervisory authority or go to court.
""",
    Template.REQUEST_DONE: """Your request {reference} is done
Hello,

what you asked for is done. What every connected system did is on the status page: {link}
""",
    Template.RESTRICTION_IN_FORCE: """Your data is kept and no longer used ({reference})
Hello,

from now on we keep your data and use it for nothing but your own requests. We tell you before that ends.

Watch or end it: {link}
Your status key, if the page asks for it: {secret}
""",
    Template.RESTRICTION_LIFTING: """The restriction of your data ends on {until} ({reference})
Hello,

from {until} we use your data again. The reason:

{reason}

The status page: {link}
If you do not agree, answer this message before then. You may complain to a supervisory authority or go to court.
""",
    Template.PROOF: """Confirm your request about your data
Hello,

somebody, we think you, asked us about the data behind this address. Confirm it here: {link}
The link works once, for 24 hours. If the page asks for a code, it is: {secret}

Without your confirmation nothing happens, and we forget that we were asked.
""",
    Template.EXPORT_READY_BY_LINK: """Your data copy {reference} is ready
Hello,

your data copy is ready. Fetch it here: {link}
If the page asks for a code, it is: {secret}

Whoever has the link has your data. It is removed on {until}.
""",
    Template.EXPORT_OPENED: """Your data copy {reference} is being prepared
Hello,

we are collecting everything we and our connected systems hold about you.
Follow it here: {link}

If you did not ask for this, sign in and change your password: {base}/account/security
""",
    Template.EXPORT_READY: """Your data copy {reference} is ready
Hello,

your data copy is ready. Sign in to download it: {base}/account/downloads/{reference}
It is removed on {until}; you can remove it earlier, or make it again.
""",
    Template.ERASURE_OPENED: """We received your request to delete your data ({reference})
Hello,

your data will be deleted after {until}. Until then nothing is deleted and you can undo it.
Your account is frozen and signed out everywhere.

Watch or undo it, also without signing in: {link}
Your status key, if the page asks for it: {secret}

If you did not ask for this, undo it with that link and change your password.
""",
    Template.ERASURE_CANCELLED: """Your deletion request {reference} was undone
Hello,

your deletion request was undone. Nothing was deleted, your account works as before.
""",
    Template.ERASURE_REFUSED: """We can not delete your data yet ({reference})
Hello,

we can not delete your data. The reason is on the status page: {link}
Nothing was deleted, your account works as before. You may complain to a supervisory authority.
""",
    Template.ERASURE_FINAL: """Your data is deleted ({reference})
Hello,

the connected systems have deleted your data and this was checked. Ours follows now, so this is the last message.

The certificate, with what the law makes us keep and until when: {link}
Your status key, if the page asks for it: {secret}
The salt of the hash in the certificate, known only to you: {salt}
""",
    Template.ERASURE_PARTLY: """Your data is deleted, but not everywhere ({reference})
Hello,

the connected systems have deleted your data and this was checked, but not these: they could not delete it, or could
not be read again to make sure.

{systems}

Ours follows now, so this is the last message. You may complain to a supervisory authority or go to court.

The certificate, with what each system did and what the law makes us keep and until when: {link}
Your status key, if the page asks for it: {secret}
The salt of the hash in the certificate, known only to you: {salt}
""",
    Template.ERASURE_HELD: """Your data is deleted but for what a legal hold keeps ({reference})
Hello,

your data is being deleted, but for records that we must keep for now: a legal hold forbids us to delete them. We use
them for nothing else. Once it ends they are deleted without you doing anything, and you hear from us once more.

What is kept, and since when: {link}
Your status key, if the page asks for it: {secret}
You may complain to a supervisory authority or go to court.
""",
}

_GERMAN: Mapping[Template, str] = {
    Template.REQUEST_OPENED: """Ihr Antrag {reference} wird bearbeitet
Guten Tag,

Ihr Antrag wird bearbeitet. Verlauf: {link}
Ihr Statusschlüssel, falls die Seite danach fragt: {secret}
""",
    Template.REQUEST_RECEIVED: """Ihr Antrag ist eingegangen ({reference})
Guten Tag,

Ihr Antrag ist eingegangen und wird hier geprüft. Sie bekommen innerhalb eines Monats eine Antwort.

Verlauf, auch ohne Anmeldung: {link}
Ihr Statusschlüssel, falls die Seite danach fragt: {secret}

Wenn das nicht von Ihnen kommt, antworten Sie auf diese Nachricht.
""",
    Template.REQUEST_REFUSED: """Wir können Ihrem Antrag nicht folgen ({reference})
Guten Tag,

wir können Ihrem Antrag nicht folgen. Der Grund:

{reason}

Die Statusseite: {link}
Sie können sich bei einer Aufsichtsbehörde beschweren oder vor Gericht gehen.
""",
    Template.REQUEST_EXTENDED: """Ihr Antrag {reference} dauert länger
Guten Tag,

für Ihren Antrag brauchen wir bis zu zwei Monate mehr, bis zum {until}. Der Grund:

{reason}

Die Statusseite: {link}
Sie können sich bei einer Aufsichtsbehörde beschweren oder vor Gericht gehen.
""",
    Template.REQUEST_DONE: """Ihr Antrag {reference} ist erledigt
Guten Tag,

Ihr Antrag ist erledigt. Was jedes verbundene System getan hat, steht auf der Statusseite: {link}
""",
    Template.RESTRICTION_IN_FORCE: """Ihre Daten werden aufbewahrt und nicht mehr verwendet ({reference})
Guten Tag,

ab jetzt bewahren wir Ihre Daten auf und verwenden sie nur noch für Ihre eigenen Anträge. Bevor das endet, sagen wir es.

Verlauf und Beenden: {link}
Ihr Statusschlüssel, falls die Seite danach fragt: {secret}
""",
    Template.RESTRICTION_LIFTING: """Die Einschränkung Ihrer Daten endet am {until} ({reference})
Guten Tag,

ab dem {until} verwenden wir Ihre Daten wieder. Der Grund:

{reason}

Die Statusseite: {link}
Sind Sie nicht einverstanden, antworten Sie vorher auf diese Nachricht. Sie können sich bei einer Aufsichtsbehörde
beschweren oder vor Gericht gehen.
""",
    Template.PROOF: """Bestätigen Sie Ihren Antrag zu Ihren Daten
Guten Tag,

jemand, vermutlich Sie, hat nach den Daten zu dieser Adresse gefragt. Bestätigen Sie es hier: {link}
Der Link gilt einmal, 24 Stunden lang. Falls die Seite nach einem Code fragt: {secret}

Ohne Ihre Bestätigung geschieht nichts, und wir vergessen die Anfrage.
""",
    Template.EXPORT_READY_BY_LINK: """Ihre Datenkopie {reference} ist fertig
Guten Tag,

Ihre Datenkopie ist fertig. Sie holen sie hier ab: {link}
Falls die Seite nach einem Code fragt: {secret}

Wer den Link hat, hat Ihre Daten. Am {until} wird sie entfernt.
""",
    Template.EXPORT_OPENED: """Ihre Datenkopie {reference} wird vorbereitet
Guten Tag,

wir sammeln alles, was wir und unsere verbundenen Systeme über Sie speichern.
Verlauf: {link}

Wenn das nicht von Ihnen kommt, melden Sie sich an und ändern Sie Ihr Passwort: {base}/account/security
""",
    Template.EXPORT_READY: """Ihre Datenkopie {reference} ist fertig
Guten Tag,

Ihre Datenkopie ist fertig. Nach der Anmeldung laden Sie sie hier: {base}/account/downloads/{reference}
Am {until} wird sie entfernt; das geht auch früher, und Sie können sie neu erstellen.
""",
    Template.ERASURE_OPENED: """Ihr Antrag auf Löschung Ihrer Daten ({reference})
Guten Tag,

Ihre Daten werden nach dem {until} gelöscht. Bis dahin wird nichts gelöscht, und Sie können es rückgängig machen.
Ihr Konto ist gesperrt und überall abgemeldet.

Verlauf und Rückgängigmachen, auch ohne Anmeldung: {link}
Ihr Statusschlüssel, falls die Seite danach fragt: {secret}

Wenn das nicht von Ihnen kommt, machen Sie es dort rückgängig und ändern Sie Ihr Passwort.
""",
    Template.ERASURE_CANCELLED: """Ihr Löschantrag {reference} ist zurückgenommen
Guten Tag,

Ihr Löschantrag ist zurückgenommen. Nichts wurde gelöscht, Ihr Konto funktioniert wie zuvor.
""",
    Template.ERASURE_REFUSED: """Wir können Ihre Daten noch nicht löschen ({reference})
Guten Tag,

wir können Ihre Daten nicht löschen. Der Grund steht auf der Statusseite: {link}
Nichts wurde gelöscht, Ihr Konto funktioniert wie zuvor. Sie können sich bei einer Aufsichtsbehörde beschweren.
""",
    Template.ERASURE_FINAL: """Ihre Daten sind gelöscht ({reference})
Guten Tag,

die verbundenen Systeme haben Ihre Daten gelöscht, und das wurde geprüft. Unsere folgen jetzt; dies ist die letzte
Nachricht.

Die Bescheinigung, mit allem, was wir von Gesetzes wegen wie lange behalten: {link}
Ihr Statusschlüssel, falls die Seite danach fragt: {secret}
Das Salz des Hashwerts in der Bescheinigung, das nur Sie kennen: {salt}
""",
    Template.ERASURE_PARTLY: """Ihre Daten sind gelöscht, aber nicht überall ({reference})
Guten Tag,

die verbundenen Systeme haben Ihre Daten gelöscht, und das wurde geprüft, aber nicht diese: Sie konnten sie nicht
löschen, oder es ließ sich nicht noch einmal nachsehen.

{systems}

Unsere folgen jetzt; dies ist die letzte Nachricht. Sie können sich bei einer Aufsichtsbehörde beschweren oder vor
Gericht gehen.

Die Bescheinigung, mit allem, was jedes System tat und was wir von Gesetzes wegen wie lange behalten: {link}
Ihr Statusschlüssel, falls die Seite danach fragt: {secret}
Das Salz des Hashwerts in der Bescheinigung, das nur Sie kennen: {salt}
""",
    Template.ERASURE_HELD: """Ihre Daten sind gelöscht bis auf das, was wir aufbewahren müssen ({reference})
Guten Tag,

Ihre Daten werden gelöscht bis auf Unterlagen, die wir vorerst aufbewahren müssen: Eine rechtliche Sperre verbietet
ihre Löschung. Wir verwenden sie für nichts anderes. Endet sie, werden sie ohne Ihr Zutun gelöscht, und Sie hören noch
einmal von uns.

Was seit wann aufbewahrt wird: {link}
Ihr Statusschlüssel, falls die Seite danach fragt: {secret}
Sie können sich bei einer Aufsichtsbehörde beschweren oder vor Gericht gehen.
""",
}

_LANGUAGES: Mapping[str, Mapping[Template, str]] = {"en": _ENGLISH, "de": _GERMAN}


def language_of(locale: str | None) -> str:
    """The language of a locale if we write it, else English."""
    language = (locale or "").replace("_", "-").split("-")[0].lower()
    return language if language in _LANGUAGES else "en"


def write(template: Template, locale: str | None, **values: str) -> Letter:
    """Fill in a letter in the person's language; its first line is the subject."""
    text = _LANGUAGES[language_of(locale)][template].format(**values)
    subject, _, body = text.partition("\n")
    return Letter(template.value, Purpose.PRIVACY_REQUESTS.value, subject, body)


def status_link(base_url: str, reference: str, status_key: str) -> str:
    """The status page of a request, with the key where browsers do not send it."""
    return f"{base_url}/account/requests/{reference}#{status_key}"
