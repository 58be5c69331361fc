"""A document as an input of mutations: its name, its type, its bytes in base64."""

import base64
import binascii

import strawberry

from cdp.operations.attachments.attachments import Document, DocumentTypeRefused
from cdp.schema.mutations.shared import input_type


@input_type
class DocumentInput:
    """A document of at most 5 MB (as much as one request to the API can carry)."""

    name: str = strawberry.field(description="Its file name.")
    media_type: str = strawberry.field(
        description="PDF, JPEG, PNG, plain text, CSV, JSON or an e-mail (message/rfc822)."
    )
    content: str = strawberry.field(description="Its bytes, base64.")


def document_of(given: DocumentInput | None) -> Document | None:
    """The document, decoded. Raises DocumentTypeRefused."""
    if given is None:
        return None
    try:
        content = base64.b64decode(given.content, validate=True)
    except (ValueError, binascii.Error) as error:
        raise DocumentTypeRefused from error
    return Document(given.name, given.media_type, content)
