"""Values people type, brought into the one form the platform stores: e-mail, phone, country, language, plain text.

A refusal names the field and never repeats the value. E-mail domains are not looked up: a write never waits for a
name server. Sources: RFC 5321, RFC 6531 (e-mail), ITU-T E.164 (phone), ISO 3166-1 (country), BCP 47 (language).
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

import phonenumbers
import pycountry
from babel import Locale, UnknownLocaleError
from email_validator import EmailNotValidError, validate_email
from phonenumbers import NumberParseException, PhoneNumberType

from cdp.core.errors import InvalidInput
from cdp.tables.contact import PhoneKind

_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\u2028\u2029\ud800-\udfff]")
_BREAKS = re.compile(r"[\t\r\n]")
_KINDS = {
    PhoneNumberType.MOBILE: PhoneKind.MOBILE,
    PhoneNumberType.FIXED_LINE: PhoneKind.LANDLINE,
}


class InvalidEmail(InvalidInput):
    """This is not an e-mail address."""

    code = "INVALID_EMAIL"


class InvalidPhone(InvalidInput):
    """This is not a phone number; give the country, or start with + and the country code."""

    code = "INVALID_PHONE"


class InvalidCountry(InvalidInput):
    """This is not a country; use two letters of ISO 3166-1."""

    code = "INVALID_COUNTRY"


class InvalidLocale(InvalidInput):
    """This is not a language; write it like en or de-AT."""

    code = "INVALID_LOCALE"


class InvalidText(InvalidInput):
    """This text is empty, too long, or holds characters nobody can read."""

    code = "INVALID_TEXT"


@dataclass(frozen=True)
class Email:
    """An address as written, and the form that equal addresses share."""

    address: str
    normalized: str


@dataclass(frozen=True)
class Phone:
    """A number as written, in E.164, and what the numbering plan says it is."""

    number: str
    e164: str
    kind: PhoneKind


def email(value: str) -> Email:
    """Read an e-mail address. Raises InvalidEmail."""
    try:
        found = validate_email(value.strip(), check_deliverability=False, strict=True)
    except (EmailNotValidError, UnicodeError) as error:
        raise InvalidEmail(field="email") from error
    if len(found.normalized) > 254:
        raise InvalidEmail(field="email")
    return Email(found.normalized, found.normalized.lower())


def phone(value: str, *, country: str | None = None) -> Phone:
    """Read a phone number; ``country`` reads national ones. Raises InvalidPhone."""
    written = text(value, "number", longest=40)
    try:
        found = phonenumbers.parse(written, country)
    except NumberParseException as error:
        raise InvalidPhone(field="number") from error
    if not phonenumbers.is_valid_number(found):
        raise InvalidPhone(field="number")
    kind = _KINDS.get(phonenumbers.number_type(found), PhoneKind.UNKNOWN)
    return Phone(written, phonenumbers.format_number(found, phonenumbers.PhoneNumberFormat.E164), kind)


def country(value: str) -> str:
    """Read a country of ISO 3166-1 alpha-2. Raises InvalidCountry."""
    code = value.strip().upper()
    if len(code) != 2 or pycountry.countries.get(alpha_2=code) is None:
        raise InvalidCountry(field="country")
    return code


def locale(value: str) -> str:
    """Read a language tag that texts exist for, ``de-AT``. Raises InvalidLocale."""
    try:
        found = Locale.parse(value.strip(), sep="-")
    except (ValueError, UnknownLocaleError, TypeError) as error:
        raise InvalidLocale(field="locale") from error
    return str(found).replace("_", "-")


def text(value: str, field: str, *, longest: int, lines: bool = False) -> str:
    """Trim a text and refuse what is empty, too long or unprintable; ``lines`` allows several. Raises InvalidText."""
    trimmed = value.replace("\r\n", "\n").strip()
    if not trimmed or len(trimmed) > longest or _UNPRINTABLE.search(trimmed):
        raise InvalidText(field=field, longest=longest)
    if not lines and _BREAKS.search(trimmed):
        raise InvalidText(field=field, longest=longest)
    return trimmed


def optional(read: Callable[[str], str], value: str | None) -> str | None:
    """Read a value that may be cleared: None and blanks are None."""
    return None if value is None or not value.strip() else read(value)
