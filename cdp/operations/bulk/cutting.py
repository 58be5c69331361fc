"""Where the parts of an export are cut: large ones first, smaller ones towards the end, so that workers end together.

Each part takes a share of what is left, as guided self-scheduling does: the last ones are small, whoever makes them.
Source: C. D. Polychronopoulos and D. J. Kuck, IEEE Transactions on Computers C-36 (1987), "Guided Self-Scheduling".
"""

from collections.abc import Sequence
from uuid import UUID

SMALLEST_ROWS = 2_000
"""A part of so many customers takes a tenth of a second; smaller ones are not worth a file."""
SHARE = 6
"""A part takes at most one of so many shares of what is left."""


def pieces(part_rows: int, *, smallest: int = SMALLEST_ROWS) -> tuple[int, int]:
    """Customers a piece holds, and how many pieces the largest part takes."""
    most = max(1, part_rows // smallest)
    return part_rows // most, most


def tapered(edges: Sequence[UUID], *, most: int, share: int = SHARE) -> list[UUID]:
    """The edges to cut at, of those that end each piece but the last one."""
    cuts, at = [], 0
    while at < len(edges):
        at += min(most, max(1, (len(edges) + 1 - at) // share))
        if at <= len(edges):
            cuts.append(edges[at - 1])
    return cuts
