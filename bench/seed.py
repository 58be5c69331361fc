"""How long a population takes: ``python -m bench.seed`` makes the bench database anew and says the seconds."""

import sys

from bench.ground import ground
from bench.results import Target

CUSTOMERS = 100_000
WITHIN_S = 60.0


def seeding(seconds: float, customers: int) -> Target:
    """The time a population took against its bound, which grows with its size."""
    bound = WITHIN_S * customers / CUSTOMERS
    return Target(f"seconds to seed {customers:,} customers", seconds, bound, at_least=False)


if __name__ == "__main__":
    with ground(CUSTOMERS, fresh=True) as made:
        target = seeding(made.population.seconds, CUSTOMERS)
    print(f"{CUSTOMERS:,} customers, {made.population.orders:,} orders: {target.found} s, wanted ≤ {target.bound:g} s")
    sys.exit(0 if target.holds else 1)
