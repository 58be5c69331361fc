"""A document in a form of the console, as the operations take it."""

from starlette.datastructures import UploadFile

from cdp.operations.attachments.attachments import Document
from cdp.web.visit import Visit

LARGEST_BYTES = 1024 * 1024 - 16 * 1024
"""Of a whole form; larger documents are handed in by the API."""
ACCEPTED = ".pdf,.jpg,.jpeg,.png,.txt,.csv,.json,.eml"


async def document_of(visit: Visit) -> Document | None:
    """The file of the posted form, if one was chosen."""
    upload = visit.form.get("file")
    if not isinstance(upload, UploadFile) or not upload.filename:
        return None
    return Document(upload.filename[:200], upload.content_type or "", await upload.read())
