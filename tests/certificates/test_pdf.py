"""The printed certificate: the same facts, the same bytes each time, whatever a system is called."""

import json

from cdp.operations.requests.certificate_pdf import render
from tests.engine import Engine
from tests.population import make_person


async def test_it_is_made_from_the_document_alone(engine: Engine) -> None:
    opened = await engine.open_erasure(await make_person(engine.platform.db))
    await engine.work()
    issued = await engine.certificate(opened.reference)
    assert issued.pdf() == issued.pdf()
    document = json.loads(issued.document)
    document["systems"] = [{**document["systems"][0], "title": "Система Größe 顧客", "retained": []}] * 40
    document["subject"] = None
    pages = render(json.dumps(document).encode())
    assert pages.startswith(b"%PDF")
    assert pages.count(b"/Type /Page\n") > 1
