"""``make bench``: every part in turn, each a process of its own; exit 1 when a target of any is missed.

``python -m bench deletions bulk`` runs some; ``python -m bench.deletions --help`` says what one of them can vary.
"""

import subprocess
import sys
import time

from rich.console import Console
from rich.table import Table

PARTS = {
    "profile": "the profile query against peers and floors; hostile documents",
    "deletions": "deletions over many systems, and of many people in one",
    "partners": "a partner's profile query against the customer's own",
    "export": "the memory of one customer's own large export",
    "bulk": "bulk exports against psql, resolvers and idle",
    "transfers": "a deal's classification against a plain insert",
    "handover": "a deal's encrypted package against the plain bulk export",
}
VERDICTS = {0: "[green]holds[/]", 1: "[red]missed[/]"}


def main() -> int:
    """Run the parts that were named, or all; the exit code."""
    console, verdicts = Console(width=130), Table(title="Benchmarks")
    for name in ("part", "what", "seconds", "targets"):
        verdicts.add_column(name, justify="right" if name == "seconds" else "left")
    asked = sys.argv[1:] or list(PARTS)
    if unknown := set(asked) - PARTS.keys():
        console.print(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
        return 2
    worst = 0
    for part in asked:
        console.rule(part)
        began = time.monotonic()
        code = subprocess.run([sys.executable, "-m", f"bench.{part}"], check=False).returncode
        verdicts.add_row(part, PARTS[part], f"{time.monotonic() - began:.0f}", VERDICTS.get(code, "[red]broken[/]"))
        worst = max(worst, code if code in VERDICTS else 1)
    console.print(verdicts)
    return worst


if __name__ == "__main__":
    sys.exit(main())
