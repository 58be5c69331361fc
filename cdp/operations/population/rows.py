"""One customer with everything that hangs below, as lines of Postgres's COPY text format.

The same seed gives the same lines, customer by customer, however many there are in all: a smaller population is the
beginning of a larger one. Ids are UUIDv7 whose time is the customer's place, so that every index grows at its end.
Source: https://www.postgresql.org/docs/18/sql-copy.html
"""

import random
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache

from cdp.operations.population.catalogue import catalogue
from cdp.operations.population.locales import REGIONS, Names, Region, names_of, slug
from cdp.operations.population.texts import DEVICES, INQUIRIES, PAGES, QUOTATION, REMARKS, WORDINGS

CHUNK_CUSTOMERS = 1_000
START = datetime(2026, 1, 2, tzinfo=UTC)
DAYS = 180
MINUTES = DAYS * 24 * 60
NULL = "\\N"

_SUBJECT = ("id", "customer_id", "origin_identity_id", "collection_id")
_CONTACT = ("verified_at", "is_primary", "created_at")
COLUMNS: dict[str, tuple[str, ...]] = {
    "customer": (
        *("id", "kind", "given_name", "family_name", "organisation_name", "country", "locale", "brand_id"),
        *("audit_ref", "origin_identity_id", "collection_id", "created_at", "updated_at"),
    ),
    "collection": (
        *("id", "customer_id", "origin_identity_id", "point", "source", "collected_at"),
        *("policy_version_id", "brand_id"),
    ),
    "identity": (*_SUBJECT, "type", "issuer", "value", "verified_at", "created_at"),
    "account": (*_SUBJECT, "username", "last_sign_in_at", "created_at"),
    "policy_acceptance": (*_SUBJECT, "policy_version_id", "decision", "decided_at"),
    "email_address": (*_SUBJECT, "address", "normalized", *_CONTACT),
    "phone_number": (*_SUBJECT, "number", "e164", "kind", *_CONTACT),
    "postal_address": (
        *_SUBJECT,
        *("kind", "recipient", "line1", "line2", "city", "region", "postal_code", "country"),
        *_CONTACT,
    ),
    "preference": (*_SUBJECT, "key", "value", "updated_at"),
    "consent": (*_SUBJECT, "purpose", "channel", "action", "wording", "recorded_at"),
    "device": (
        *_SUBJECT,
        *("kind", "operating_system", "browser", "language", "cookie_id", "first_seen_at", "last_seen_at"),
    ),
    "event": (
        *_SUBJECT,
        *("device_id", "type", "name", "page", "exit_url", "time_on_page_ms", "ip_address", "occurred_at"),
    ),
    "inquiry": (*_SUBJECT, "kind", "status", "subject", "body", "received_at", "answered_at"),
    "quotation": (
        *_SUBJECT,
        *("inquiry_id", "number", "status", "currency", "total", "lead_time_days"),
        *("requested_at", "respond_by", "valid_until"),
    ),
    "survey_response": (*_SUBJECT, "survey", "answers", "submitted_at"),
    "sales_order": (
        *_SUBJECT,
        *("number", "kind", "status", "placed_at", "confirmed_at", "currency", "total", "purchase_order_number"),
        *("billing_name", "billing_line1", "billing_city", "billing_region", "billing_postal_code", "billing_country"),
    ),
    "sales_order_item": (*_SUBJECT, "order_id", "position", "sku", "title", "quantity", "unit_price"),
}

_BASE_MS = int(START.timestamp() * 1000)
_VARIANT = 1 << 63
_DATES = [f"{START + timedelta(days=day):%Y-%m-%d}" for day in range(DAYS + 60)]
_CLOCK = [f" {minute // 60:02}:{minute % 60:02}:00+00" for minute in range(24 * 60)]
_SHARES = tuple(region for region in REGIONS for _ in range(region.weight))
_ITEM_COUNTS = (1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 3, 3, 3, 4, 4, 5, 6)
_QUANTITIES = (1, 1, 1, 1, 1, 1, 1, 2, 2, 3)
_ON_THE_WAY = ("open", "confirmed", "shipped")
_DIGITS = "0123456789"
_LETTERS = "ABCDEFGHJLNPQRSTUWXYZ"


@dataclass(frozen=True)
class Spec:
    """Which population: the seed, and the ids of this installation that every row points to."""

    seed: int
    customers: int
    brand_id: str
    policy_version_id: str

    @property
    def chunks(self) -> int:
        """How many chunks it has."""
        return -(-self.customers // CHUNK_CUSTOMERS)


@dataclass(frozen=True)
class _Shop:
    """A region with what is computed from it once."""

    region: Region
    names: Names
    language: str
    tag: str
    articles: tuple[tuple[str, int, str], ...]  # "sku TAB title", cents, price


@dataclass(frozen=True)
class _Who:
    """The customer being written."""

    number: str
    region: Region
    is_company: bool
    name: str
    email: str
    joined: int  # minute
    billing: str


@cache
def _shop_of(region: Region) -> _Shop:
    articles = tuple(
        (f"{product.sku}\t{product.title}", product.cents, f"{product.cents / 100:.2f}")
        for product in catalogue(region.currency, region.rate)
    )
    return _Shop(region, names_of(region), region.locale[:2], region.locale, articles)


def _stamp(minute: int) -> str:
    return _DATES[minute // 1440] + _CLOCK[minute % 1440]


def first_customer_id(spec: Spec) -> str:
    """Id of the first customer: whether a population of this seed is there is asked by it."""
    return Chunk(spec, 0).next_customer_id()


def generate(spec: Spec, chunk: int) -> dict[str, bytes]:
    """The lines of one chunk by table."""
    writer = Chunk(spec, chunk)
    first = chunk * CHUNK_CUSTOMERS
    for index in range(first, min(first + CHUNK_CUSTOMERS, spec.customers)):
        writer.write(index)
    return {table: "".join(lines).encode() for table, lines in writer.lines.items()}


class Chunk:
    """Writes the customers of one chunk."""

    def __init__(self, spec: Spec, chunk: int) -> None:
        self.lines: dict[str, list[str]] = defaultdict(list)
        self._spec = spec
        random_numbers = random.Random(f"{spec.seed}/{chunk}")
        self._random = random_numbers.random
        self._bits = random_numbers.getrandbits
        self._spread = random_numbers.expovariate
        self._prefix = ""
        self._count = 0
        self._customer_id = ""
        self._identity_id = ""
        self._begin(chunk * CHUNK_CUSTOMERS)

    def next_customer_id(self) -> str:
        """The id the first customer of this chunk gets."""
        return self._id()

    def write(self, index: int) -> None:
        """Write customer number ``index`` of the population."""
        self._begin(index)
        self._customer_id, self._identity_id, registration = self._id(), self._id(), self._id()
        shop = _shop_of(_SHARES[int(self._random() * len(_SHARES))])
        who = self._person(shop, index, registration)
        origin = self._collect("registration", "registration page", who.joined, registration)
        self._account(who, origin)
        self._contacts(who, shop, origin, index)
        self._choices(shop, who, origin)
        self._activity(shop, who, origin)
        self._questions(shop, who)
        self._orders(shop, who)

    def _begin(self, index: int) -> None:
        self._prefix = f"{_BASE_MS + index:012x}7"
        self._count = -1

    def _id(self) -> str:
        self._count += 1
        return f"{self._prefix}{self._count:03x}{_VARIANT | self._bits(62):016x}"

    def _pick(self, choices: tuple[str, ...]) -> str:
        return choices[int(self._random() * len(choices))]

    def _filled(self, pattern: str) -> str:
        """A pattern whose # became digits and whose @ became letters."""
        if "#" not in pattern:
            return pattern
        return "".join(
            self._pick_letter(_DIGITS) if sign == "#" else self._pick_letter(_LETTERS) if sign == "@" else sign
            for sign in pattern
        )

    def _pick_letter(self, letters: str) -> str:
        return letters[int(self._random() * len(letters))]

    def _collect(self, point: str, source: str, minute: int, collection_id: str = "") -> str:
        """Write where rows come from; answers the three columns of each of them, tab-separated."""
        collection_id, spec = collection_id or self._id(), self._spec
        self.lines["collection"].append(
            f"{collection_id}\t{self._customer_id}\t{self._identity_id}\t{point}\t{source}\t{_stamp(minute)}"
            f"\t{spec.policy_version_id}\t{spec.brand_id}\n"
        )
        return f"{self._customer_id}\t{self._identity_id}\t{collection_id}"

    def _person(self, shop: _Shop, index: int, registration: str) -> _Who:
        region, names = shop.region, shop.names
        given, given_slug = names.given[int(self._random() * len(names.given))]
        family, family_slug = names.family[int(self._random() * len(names.family))]
        is_company = self._random() < 0.08
        number = f"{self._spec.seed}-{index:07}"
        domain = self._pick(region.domains)
        company = NULL
        if is_company:
            company = f"{family} {self._pick(region.trades)} {self._pick(region.legal_forms)}"
            domain = f"{family_slug.replace('.', '-')}-{slug(region.country)}.example"
        mark = f"{index:x}" if self._spec.seed == 1 else f"{index:x}.s{self._spec.seed}"
        email = f"{given_slug}.{family_slug}.{mark}@{domain}"
        joined = int(self._random() * MINUTES * 0.9)
        place = region.places[int(self._random() * len(region.places))]
        house = str(1 + int(self._random() * 120))
        line1 = region.address.format(street=self._pick(region.streets), number=house)
        billing = f"{line1}\t{place.city}\t{place.region}\t{self._filled(place.postal_code)}\t{region.country}"
        name = f"{family} {given}" if shop.language == "ja" else f"{given} {family}"
        self.lines["customer"].append(
            f"{self._customer_id}\t{'organisation' if is_company else 'person'}\t{given}\t{family}\t{company}"
            f"\t{region.country}\t{shop.tag}\t{self._spec.brand_id}\t{self._bits(128):032x}\t{self._identity_id}"
            f"\t{registration}\t{_stamp(joined)}\t{_stamp(joined)}\n"
        )
        return _Who(number, region, is_company, company if is_company else name, email, joined, billing)

    def _account(self, who: _Who, origin: str) -> None:
        """Identities of everybody; an account without a password for most."""
        joined = _stamp(who.joined)
        identity, verified = self.lines["identity"], joined if self._random() < 0.85 else NULL
        identity.append(f"{self._identity_id}\t{origin}\tcustomer_number\tshop\t{who.number}\t{joined}\t{joined}\n")
        identity.append(f"{self._id()}\t{origin}\temail\t\t{who.email}\t{verified}\t{joined}\n")
        self.lines["email_address"].append(
            f"{self._id()}\t{origin}\t{who.email}\t{who.email}\t{verified}\tt\t{joined}\n"
        )
        if self._random() < 0.7:
            identity.append(f"{self._id()}\t{origin}\tusername\taccount\t{who.email}\t{NULL}\t{joined}\n")
            seen = _stamp(min(who.joined + int(self._random() * 90 * 1440), MINUTES))
            self.lines["account"].append(f"{self._id()}\t{origin}\t{who.email}\t{seen}\t{joined}\n")
            self.lines["policy_acceptance"].append(
                f"{self._id()}\t{origin}\t{self._spec.policy_version_id}\taccepted\t{joined}\n"
            )

    def _contacts(self, who: _Who, shop: _Shop, origin: str, index: int) -> None:
        joined, region = _stamp(who.joined), shop.region
        if self._random() < 0.15:
            other = f"{who.email.partition('@')[0]}@work.example"
            self.lines["email_address"].append(f"{self._id()}\t{origin}\t{other}\t{other}\t{NULL}\tf\t{joined}\n")
        if self._random() < 0.8:
            kind, patterns = ("landline", region.landline) if who.is_company else ("mobile", region.mobile)
            national = _numbered(self._pick(patterns), index + 7_919 * self._spec.seed)
            e164 = f"+{region.calling_code}{national.replace(' ', '').replace('-', '')}"
            self.lines["phone_number"].append(
                f"{self._id()}\t{origin}\t+{region.calling_code} {national}\t{e164}\t{kind}\t{NULL}\tt\t{joined}\n"
            )
        address, nothing = self.lines["postal_address"], NULL
        line1, rest = who.billing.split("\t", 1)
        kind = "work" if who.is_company else "home"
        address.append(
            f"{self._id()}\t{origin}\t{kind}\t{who.name}\t{line1}\t{nothing}\t{rest}\t{nothing}\tt\t{joined}\n"
        )
        if self._random() < 0.2:
            place = region.places[int(self._random() * len(region.places))]
            line1 = region.address.format(street=self._pick(region.streets), number=1 + int(self._random() * 90))
            rest = f"{place.city}\t{place.region}\t{self._filled(place.postal_code)}\t{region.country}"
            address.append(
                f"{self._id()}\t{origin}\tshipping\t{who.name}\t{line1}\t{nothing}\t{rest}\t{nothing}\tf\t{joined}\n"
            )

    def _choices(self, shop: _Shop, who: _Who, origin: str) -> None:
        """Preferences, and consents with a later change of mind."""
        joined = _stamp(who.joined)
        preference, consent = self.lines["preference"], self.lines["consent"]
        preference.append(f'{self._id()}\t{origin}\tlanguage\t"{shop.tag}"\t{joined}\n')
        if self._random() < 0.6:
            rhythm = self._pick(("never", "weekly", "monthly"))
            preference.append(f'{self._id()}\t{origin}\tmail.rhythm\t"{rhythm}"\t{joined}\n')
        if self._random() < 0.4:
            theme = self._pick(("light", "dark", "system"))
            preference.append(f'{self._id()}\t{origin}\ttheme\t"{theme}"\t{joined}\n')
        for purpose, wording in WORDINGS.items():
            channel = "any" if purpose == "site_improvement" else "email"
            draw = self._random()
            if draw < 0.6:
                line = f"{origin}\t{purpose}\t{channel}"
                consent.append(f"{self._id()}\t{line}\tgiven\t{wording}\t{joined}\n")
                if draw < 0.1:
                    later = _stamp(min(who.joined + 1440 + int(self._random() * 60 * 1440), MINUTES))
                    consent.append(f"{self._id()}\t{line}\twithdrawn\t{wording}\t{later}\n")

    def _activity(self, shop: _Shop, who: _Who, origin: str) -> None:
        if self._random() > 0.6:
            return
        device_id, (kind, system, browser) = self._id(), DEVICES[int(self._random() * len(DEVICES))]
        visits = 1 + int(self._random() * 5)
        minute, net = who.joined, 1 + int(self._random() * 254)
        first = minute
        events = self.lines["event"]
        for _ in range(visits):
            page, spent = self._pick(PAGES), 2_000 + self._bits(17)
            leaves = "https://search.example/" if self._random() < 0.2 else NULL
            events.append(
                f"{self._id()}\t{origin}\t{device_id}\tpage\t{page}\t{page}\t{leaves}\t{spent}\t203.0.113.{net}"
                f"\t{_stamp(minute)}\n"
            )
            minute = min(minute + 1 + int(self._random() * 7 * 1440), MINUTES)
        self.lines["device"].append(
            f"{device_id}\t{origin}\t{kind}\t{system}\t{browser}\t{shop.tag}\t{self._bits(64):016x}"
            f"\t{_stamp(first)}\t{_stamp(minute)}\n"
        )

    def _questions(self, shop: _Shop, who: _Who) -> None:
        """Inquiries, quotations of companies, answered surveys."""
        minute = min(who.joined + int(self._random() * 30 * 1440), MINUTES)
        if self._random() < 0.12:
            known = INQUIRIES[shop.language]
            kind, subject, body = known[int(self._random() * len(known))]
            self._inquiry(kind, subject, body, minute)
        if who.is_company and self._random() < 0.5:
            self._quotation(shop, minute)
        if self._random() < 0.1:
            origin = self._collect("survey", "survey: after delivery", minute)
            answers = (
                f'{{"satisfaction": {1 + int(self._random() * 5)}, "remark": "{self._pick(REMARKS[shop.language])}"}}'
            )
            self.lines["survey_response"].append(
                f"{self._id()}\t{origin}\tafter-delivery\t{answers}\t{_stamp(minute)}\n"
            )

    def _inquiry(self, kind: str, subject: str, body: str, minute: int) -> tuple[str, str]:
        origin, inquiry_id = self._collect("inquiry", "contact form", minute), self._id()
        answered = _stamp(minute + 60 + int(self._random() * 3 * 1440)) if self._random() < 0.8 else NULL
        status = "open" if answered == NULL else "answered"
        self.lines["inquiry"].append(
            f"{inquiry_id}\t{origin}\t{kind}\t{status}\t{subject}\t{body}\t{_stamp(minute)}\t{answered}\n"
        )
        return origin, inquiry_id

    def _quotation(self, shop: _Shop, minute: int) -> None:
        origin, inquiry_id = self._inquiry("product", *QUOTATION[shop.language], minute)
        _, cents, _ = shop.articles[int(self._random() * len(shop.articles))]
        status = self._pick(("requested", "sent", "accepted", "declined"))
        self.lines["quotation"].append(
            f"{self._id()}\t{origin}\t{inquiry_id}\tQ{self._customer_id[5:12]}-{self._bits(40):010x}\t{status}"
            f"\t{shop.region.currency}\t{cents * 12 / 100:.2f}\t{7 + int(self._random() * 21)}\t{_stamp(minute)}"
            f"\t{_stamp(minute + 3 * 1440)}\t{_stamp(minute + 30 * 1440)}\n"
        )

    def _orders(self, shop: _Shop, who: _Who) -> None:
        count = min(int(self._spread(1 / 5.5)), 60)
        if not count:
            return
        room = MINUTES - who.joined
        minutes = sorted(who.joined + int(self._random() * room) for _ in range(count))
        origin = self._collect("order", "web shop", minutes[0])
        billing = f"{who.name}\t{who.billing}\n"
        orders = self.lines["sales_order"]
        for place, minute in enumerate(minutes, start=1):
            order_id = self._id()
            total = self._items(shop, origin, order_id)
            draw = self._random()
            status = (
                self._pick(_ON_THE_WAY) if minute > MINUTES - 7 * 1440 else "cancelled" if draw < 0.03 else "completed"
            )
            kind, confirmed, reference = "retail", NULL, NULL
            if who.is_company and draw > 0.3:
                kind, reference = "purchase_order", f"PO-{self._bits(20):06}"
                confirmed = NULL if status == "open" else _stamp(minute + 120)
            orders.append(
                f"{order_id}\t{origin}\tS{who.number}-{place:02}\t{kind}\t{status}\t{_stamp(minute)}\t{confirmed}"
                f"\t{shop.region.currency}\t{total / 100:.2f}\t{reference}\t{billing}"
            )

    def _items(self, shop: _Shop, origin: str, order_id: str) -> int:
        """Write an order's items; answers their sum in cents. A few articles make most of the sales."""
        total, items, articles = 0, self.lines["sales_order_item"], shop.articles
        for position in range(1, 1 + _ITEM_COUNTS[int(self._random() * len(_ITEM_COUNTS))]):
            draw = self._random()
            article, cents, price = articles[int(len(articles) * draw * draw)]
            quantity = _QUANTITIES[int(self._random() * len(_QUANTITIES))]
            total += cents * quantity
            items.append(f"{self._id()}\t{origin}\t{order_id}\t{position}\t{article}\t{quantity}\t{price}\n")
        return total


def _numbered(pattern: str, number: int) -> str:
    """A phone pattern whose # are digits of a number scattered over all there are: neighbours do not look alike."""
    room = pattern.count("#")
    digits = iter(f"{number * 6_180_339 % 10**room:0{room}}")
    return "".join(next(digits) if sign == "#" else sign for sign in pattern)
