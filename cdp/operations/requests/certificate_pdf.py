"""The certificate on paper: the same facts as its JSON, for people; made from the document alone, the same each time.

Only the fonts every reader has are used, so letters outside Latin-1 in a system's title print as question marks; the
JSON is the original. Source: https://py-pdf.github.io/fpdf2
"""

import hashlib
import json
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from cdp.operations.proofs.verify_certificate import left_out

if TYPE_CHECKING:
    from fpdf import FPDF

WIDTH_MM = 178
LINE_MM = 5.5
INK, SOFT = 20, 110


def render(document: bytes) -> bytes:
    """Lay out a certificate's JSON document."""
    from fpdf import FPDF  # a quarter of a second, of every start if it stood above

    read = json.loads(document)
    pdf = FPDF(format="A4")
    pdf.set_creation_date(datetime.fromisoformat(read["issuedAt"]))
    pdf.set_title(f"Erasure certificate {read['reference']}")
    pdf.set_margins(16, 16, 16)
    pdf.set_auto_page_break(auto=True, margin=18)
    pdf.add_page()
    _head(pdf, read)
    for system in read["systems"]:
        _system(pdf, system)
    for hold in read.get("holds", []):
        until = _day(hold["heldUntil"]) if hold["heldUntil"] else "the end of the hold"
        _line(pdf, f"Held by law: {hold['category']}, from {_day(hold['heldFrom'])} until {until}, erased afterwards")
    _foot(pdf, read, document)
    return bytes(pdf.output())


def _line(pdf: "FPDF", text: str, *, size: float = 10, style: str = "", ink: int = INK) -> None:
    pdf.set_font("Helvetica", style=style, size=size)
    pdf.set_text_color(ink)
    known = text.encode("latin-1", "replace").decode("latin-1")
    for part in _lines(known, style, size):
        pdf.cell(WIDTH_MM, LINE_MM * size / 10, part, new_x="LMARGIN", new_y="NEXT")


@lru_cache(maxsize=256)
def _lines(text: str, style: str, size: float) -> tuple[str, ...]:
    """A text in lines that fit. To look for the end of a line costs ten times as much as to write it, and most of the
    long ones stand in every certificate.
    """
    from fpdf import FPDF
    from fpdf.enums import MethodReturnValue

    pdf = FPDF(format="A4")
    pdf.add_page()
    pdf.set_font("Helvetica", style=style, size=size)
    if pdf.get_string_width(text) + 2 * pdf.c_margin <= WIDTH_MM:
        return (text,)
    lines: Any = pdf.multi_cell(WIDTH_MM, LINE_MM * size / 10, text, dry_run=True, output=MethodReturnValue.LINES)
    return tuple(lines)


def _head(pdf: "FPDF", read: dict[str, Any]) -> None:
    request, subject = read["request"], read["subject"]
    _line(pdf, "Certificate of erasure", size=20, style="B")
    _line(pdf, read["reference"], size=12, ink=SOFT)
    pdf.ln(3)
    _line(pdf, f"Request {request['reference']}, received {_day(request['requestedAt'])}.")
    _line(pdf, f"Completed {_day(request['completedAt'])}. Certificate issued {_day(read['issuedAt'])}.")
    if subject is not None:
        _line(pdf, f"Subject ({subject['identifierType']}), {subject['algorithm']}:", ink=SOFT)
        _line(pdf, subject["hash"], size=8.5)
    for line in left_out(read):
        _line(pdf, f"Left out: {line}", style="B")
    pdf.ln(3)


def _system(pdf: "FPDF", system: dict[str, Any]) -> None:
    _line(pdf, system["title"], size=12, style="B")
    for step, word in (("erased", "Erased"), ("verified", "Verified")):
        found = system.get(step)
        if found is None:
            _line(pdf, f"{word}: not done", ink=SOFT)
            continue
        counts = ", ".join(f"{name} {count}" for name, count in sorted(found["records"].items()))
        at = f", {_day(found['at'])}" if found["at"] else ""
        _line(pdf, f"{word}: {found['state']} ({found['code']}){at}{'. Records: ' + counts if counts else ''}")
    for kept in system["retained"]:
        until = f"until {kept['until']}" if kept["until"] else "as long as it says"
        _line(pdf, f"Kept: {kept['collection']}, {kept['records']} records, {kept['basis']}, {until}")
    pdf.ln(2)


def _foot(pdf: "FPDF", read: dict[str, Any], document: bytes) -> None:
    _line(pdf, "Not scanned", size=12, style="B")
    for entry in read["notScanned"]:
        _line(pdf, f"{entry['what']}: {entry['why']}", ink=SOFT)
    pdf.ln(3)
    signature = read["signature"]
    _line(pdf, "Signature", size=12, style="B")
    _line(pdf, f"{signature['algorithm']}, key {signature['keyId']}", ink=SOFT)
    _line(pdf, signature["value"], size=8.5)
    _line(pdf, f"SHA-256 of the JSON certificate: {hashlib.sha256(document).hexdigest()}", size=8.5)
    _line(pdf, "The JSON certificate is the original; check it with: cdp verify FILE", ink=SOFT)


def _day(moment: str) -> str:
    return f"{moment[:10]} {moment[11:16]} UTC"
