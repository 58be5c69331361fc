"""What the shop of the seeded population sells: kinds of goods in several makes and colours, priced in euros."""

from dataclasses import dataclass
from functools import cache

KINDS = (
    ("Desk lamp", "LMP", 3490),
    ("Floor lamp", "LMF", 8990),
    ("Office chair", "CHR", 18900),
    ("Stool", "STL", 4990),
    ("Standing desk", "DSK", 44900),
    ("Bookcase", "BKC", 12900),
    ("Notebook A5", "NTB", 790),
    ("Fountain pen", "PEN", 2990),
    ("Pencil set", "PCL", 1290),
    ("Backpack 24 l", "BAG", 7900),
    ("Travel mug", "MUG", 2290),
    ("Teapot", "TPT", 3990),
    ("Espresso maker", "ESP", 4490),
    ("Kettle", "KTL", 5490),
    ("Chef's knife", "KNF", 6900),
    ("Cutting board", "CUT", 3490),
    ("Linen towel", "TWL", 1690),
    ("Wool blanket", "BLK", 8990),
    ("Cushion", "CSH", 2990),
    ("Wall clock", "CLK", 4990),
    ("Headphones", "HPH", 14900),
    ("Bluetooth speaker", "SPK", 7990),
    ("USB-C charger", "CHG", 3490),
    ("Keyboard", "KBD", 9900),
    ("Bicycle light", "BIK", 2990),
    ("Rain jacket", "JKT", 11900),
    ("Hiking socks", "SCK", 1490),
    ("Garden shears", "GRD", 3290),
    ("Watering can", "WTR", 2490),
    ("Tool box", "TLB", 5990),
)
MAKES = (("Classic", 1.0), ("Studio", 1.25), ("Nordic", 1.15), ("Eco", 0.95), ("Pro", 1.6), ("Mini", 0.7))
COLOURS = ("black", "white", "oak", "sage green", "terracotta")


@dataclass(frozen=True)
class Product:
    """One article; the price is in cents of the catalogue's currency."""

    sku: str
    title: str
    cents: int


@cache
def catalogue(currency: str, rate: float) -> tuple[Product, ...]:
    """All articles, priced in a currency; yen have no cents."""
    found = []
    for kind, code, price in KINDS:
        for make, factor in MAKES:
            for place, colour in enumerate(COLOURS, start=1):
                cents = round(price * factor * rate)
                cents = -(-cents // 100) * 100 if currency == "JPY" else cents
                found.append(Product(f"{code}-{make[:2].upper()}-{place}", f"{kind} {make}, {colour}", cents))
    # Neighbours in the list sell alike, so the kinds are dealt out instead of following one another.
    return tuple(found[index] for start in range(7) for index in range(start, len(found), 7))
