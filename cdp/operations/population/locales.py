"""Names, places, phone formats and currencies by language: what makes a made-up person sound real.

Names are Faker's lists (https://faker.readthedocs.io), read as data; every e-mail domain is reserved for examples
(RFC 2606). Phone numbers follow each country's numbering plan, a number of their own for every customer.
"""

import importlib
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

Name = tuple[str, str]  # as written, and as it stands in an e-mail address


@dataclass(frozen=True)
class Place:
    """A city, its region, and how its postal codes start."""

    city: str
    region: str
    postal_code: str  # each # is a digit, each @ a letter


@dataclass(frozen=True)
class Region:
    """One language in one country. ``weight`` is its share of the population."""

    locale: str
    faker: str
    country: str
    currency: str
    rate: float
    weight: int
    calling_code: str
    mobile: tuple[str, ...]  # national prefix, then # for digits of the number
    landline: tuple[str, ...]
    places: tuple[Place, ...]
    streets: tuple[str, ...]
    address: str
    legal_forms: tuple[str, ...]
    trades: tuple[str, ...]
    domains: tuple[str, ...]


@dataclass(frozen=True)
class Names:
    """Given names and family names of a region."""

    given: tuple[Name, ...]
    family: tuple[Name, ...]


def _places(text: str) -> tuple[Place, ...]:
    return tuple(Place(*(part.strip() for part in line.split("|"))) for line in text.strip().splitlines())


REGIONS = (
    Region(
        "de-DE", "de_DE", "DE", "EUR", 1.0, 22, "49",
        ("1511 #######", "1522 #######", "1602 #######", "1702 #######"), ("30 ########", "89 ########"),
        _places("""
            Berlin | Berlin | 10###
            Hamburg | Hamburg | 20###
            München | Bayern | 80###
            Köln | Nordrhein-Westfalen | 50###
            Frankfurt am Main | Hessen | 60###
            Stuttgart | Baden-Württemberg | 70###
            Leipzig | Sachsen | 04###
            Bremen | Bremen | 28###
            Münster | Nordrhein-Westfalen | 48###
            Freiburg im Breisgau | Baden-Württemberg | 79###
        """),
        ("Hauptstraße", "Bahnhofstraße", "Gartenweg", "Lindenallee", "Schillerstraße", "Am Markt", "Rosenweg",
         "Mühlenstraße", "Goethestraße", "Kirchgasse", "Birkenweg", "Uferstraße"),
        "{street} {number}", ("GmbH", "AG", "KG", "GmbH & Co. KG", "e.K."),
        ("Maschinenbau", "Elektrotechnik", "Gartenbau", "Logistik", "Möbel", "Druckerei"),
        ("post.example", "brief.example", "example.org"),
    ),
    Region(
        "de-AT", "de_AT", "AT", "EUR", 1.0, 6, "43",
        ("664 #######", "676 #######", "699 1#######"), ("1 5######",),
        _places("""
            Wien | Wien | 1##0
            Graz | Steiermark | 80##
            Linz | Oberösterreich | 40##
            Salzburg | Salzburg | 50##
            Innsbruck | Tirol | 60##
        """),
        ("Hauptplatz", "Mariahilfer Gasse", "Bahnhofstraße", "Mozartgasse", "Kärntner Weg", "Donaulände"),
        "{street} {number}", ("GmbH", "AG", "OG", "KG"), ("Tischlerei", "Weinbau", "Technik", "Handel"),
        ("post.example", "example.net"),
    ),
    Region(
        "en-GB", "en_GB", "GB", "GBP", 0.86, 16, "44",
        ("7400 ######", "7501 ######", "7803 ######"), ("20 7### ####", "161 4## ####"),
        _places("""
            London | Greater London | SW# #@@
            Manchester | Greater Manchester | M# #@@
            Birmingham | West Midlands | B# #@@
            Leeds | West Yorkshire | LS# #@@
            Bristol | Bristol | BS# #@@
            Edinburgh | Scotland | EH# #@@
            Cardiff | Wales | CF# #@@
            York | North Yorkshire | YO# #@@
        """),
        ("High Street", "Church Lane", "Station Road", "Victoria Road", "Mill Lane", "The Green", "Park Avenue",
         "Queensway", "Orchard Close", "Kings Road"),
        "{number} {street}", ("Ltd", "PLC", "LLP"), ("Engineering", "Supplies", "Interiors", "Joinery", "Foods"),
        ("mail.example", "letters.example", "example.net"),
    ),
    Region(
        "en-US", "en_US", "US", "USD", 1.08, 20, "1",
        ("212-5##-####", "312-5##-####", "415-5##-####", "206-5##-####", "303-5##-####", "512-5##-####",
         "617-5##-####", "702-5##-####"),
        ("646-5##-####", "213-5##-####"),
        _places("""
            New York | NY | 100##
            Chicago | IL | 606##
            San Francisco | CA | 941##
            Seattle | WA | 981##
            Denver | CO | 802##
            Austin | TX | 787##
            Boston | MA | 021##
            Portland | OR | 972##
            Atlanta | GA | 303##
            Minneapolis | MN | 554##
        """),
        ("Main St", "Oak Ave", "Maple Dr", "2nd St", "Washington Blvd", "Lakeview Rd", "Cedar Ln", "Elm St",
         "Sunset Blvd", "Hill Rd"),
        "{number} {street}", ("Inc.", "LLC", "Corp."), ("Industries", "Supply", "Systems", "Outfitters", "Foods"),
        ("mail.example", "inbox.example", "example.com"),
    ),
    Region(
        "fr-FR", "fr_FR", "FR", "EUR", 1.0, 12, "33",
        ("6 1# ## ## ##", "7 5# ## ## ##"), ("1 ## ## ## ##", "4 7# ## ## ##"),
        _places("""
            Paris | Île-de-France | 750##
            Lyon | Auvergne-Rhône-Alpes | 690##
            Marseille | Provence-Alpes-Côte d'Azur | 130##
            Toulouse | Occitanie | 310##
            Nantes | Pays de la Loire | 440##
            Strasbourg | Grand Est | 670##
            Lille | Hauts-de-France | 590##
        """),
        ("rue de la République", "avenue Victor Hugo", "rue des Lilas", "place du Marché", "boulevard Pasteur",
         "chemin des Vignes", "rue Molière", "quai des Fleurs"),
        "{number} {street}", ("SARL", "SA", "SAS", "et Fils"), ("Menuiserie", "Librairie", "Traiteur", "Textiles"),
        ("courrier.example", "poste.example", "example.org"),
    ),
    Region(
        "es-ES", "es_ES", "ES", "EUR", 1.0, 8, "34",
        ("6## ### ###", "71# ### ###"), ("91 ### ## ##", "93 ### ## ##"),
        _places("""
            Madrid | Madrid | 280##
            Barcelona | Cataluña | 080##
            Valencia | Comunidad Valenciana | 460##
            Sevilla | Andalucía | 410##
            Zaragoza | Aragón | 500##
            Bilbao | País Vasco | 480##
        """),
        ("Calle Mayor", "Gran Vía", "Calle del Sol", "Avenida de la Paz", "Plaza de España", "Paseo Marítimo"),
        "{street}, {number}", ("S.L.", "S.A.", "e Hijos"), ("Muebles", "Cerámicas", "Bodegas", "Suministros"),
        ("correo.example", "example.net"),
    ),
    Region(
        "pl-PL", "pl_PL", "PL", "PLN", 4.3, 6, "48",
        ("50# ### ###", "60# ### ###", "78# ### ###"), ("22 ### ## ##", "12 ### ## ##"),
        _places("""
            Warszawa | mazowieckie | 00-###
            Kraków | małopolskie | 30-###
            Łódź | łódzkie | 90-###
            Wrocław | dolnośląskie | 50-###
            Gdańsk | pomorskie | 80-###
        """),
        ("ul. Polna", "ul. Leśna", "ul. Słoneczna", "al. Niepodległości", "ul. Krótka", "ul. Ogrodowa"),
        "{street} {number}", ("sp. z o.o.", "S.A.", "s.c."), ("Meble", "Technika", "Drukarnia", "Handel"),
        ("poczta.example", "example.org"),
    ),
    Region(
        "pt-BR", "pt_BR", "BR", "BRL", 5.9, 6, "55",
        ("11 9####-####", "21 9####-####", "31 9####-####"), ("11 3###-####", "21 2###-####"),
        _places("""
            São Paulo | SP | 01###-###
            Rio de Janeiro | RJ | 20###-###
            Belo Horizonte | MG | 30###-###
            Curitiba | PR | 80###-###
            Porto Alegre | RS | 90###-###
        """),
        ("Rua das Flores", "Avenida Paulista", "Rua XV de Novembro", "Travessa do Sol", "Rua da Praia"),
        "{street}, {number}", ("Ltda.", "S.A.", "ME"), ("Móveis", "Engenharia", "Comércio", "Alimentos"),
        ("correio.example", "example.com"),
    ),
    Region(
        "ja-JP", "ja_JP", "JP", "JPY", 160.0, 4, "81",
        ("90-1###-####", "80-5###-####"), ("3-3###-####", "6-6###-####"),
        _places("""
            新宿区 | 東京都 | 160-00##
            横浜市 | 神奈川県 | 220-00##
            大阪市 | 大阪府 | 530-00##
            京都市 | 京都府 | 600-80##
            札幌市 | 北海道 | 060-00##
        """),
        ("中央一丁目", "本町二丁目", "桜丘三丁目", "緑町四丁目", "栄町五丁目"),
        "{street}{number}番地", ("株式会社", "合同会社"), ("製作所", "商事", "印刷", "物産"),
        ("tegami.example", "example.net"),
    ),
)  # fmt: skip

_SPELLED = str.maketrans(
    {"ß": "ss", "ł": "l", "Ł": "l", "ø": "o", "Ø": "o", "æ": "ae", "ä": "ae", "ö": "oe", "ü": "ue"}
)


def slug(name: str) -> str:
    """A name as it stands in an e-mail address: lower-case ASCII letters and digits."""
    spelled = unicodedata.normalize("NFKD", name.lower().translate(_SPELLED))
    return "".join(letter for letter in spelled if letter.isascii() and letter.isalnum())


def _named(written: Iterable[str]) -> tuple[Name, ...]:
    unique = dict.fromkeys(name for name in written if "\t" not in name and "\\" not in name and slug(name))
    return tuple((name, slug(name)) for name in unique)


@cache
def names_of(region: Region) -> Names:
    """The names of a region, women's and men's in equal parts, in Faker's order."""
    source = importlib.import_module(f"faker.providers.person.{region.faker}").Provider
    if region.faker == "ja_JP":
        given = [
            (kanji, slug(latin)) for kanji, _, latin in (*source.first_name_female_pairs, *source.first_name_male_pairs)
        ]
        return Names(tuple(given), tuple((kanji, slug(latin)) for kanji, _, latin in source.last_name_pairs))
    women, men = _named(source.first_names_female), _named(getattr(source, "first_names_male", source.first_names))
    most = min(len(women), len(men), 300)
    family = _named(getattr(source, "unisex_last_names", source.last_names))[:800]
    if region.faker == "es_ES":
        seconds = family[len(family) // 2 :] + family[: len(family) // 2]
        family = tuple((f"{one[0]} {two[0]}", f"{one[1]}.{two[1]}") for one, two in zip(family, seconds, strict=True))
    return Names(women[:most] + men[:most], family)
