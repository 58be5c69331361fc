"""A bucket of an S3 service, with everything a delete leaves behind there: versions, marks, unfinished uploads.

The usual clients list what is current; an erasure has to see all of it, so the calls it needs are made here, signed by
botocore, through the guarded client every connector uses.
Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectVersions.html and its neighbours.
"""

import hashlib
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TypeAlias
from urllib.parse import quote, unquote, urlencode, urlsplit
from xml.etree.ElementTree import Element, ParseError, SubElement, tostring

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from cdp.connectors.base import Code, ConfigurationInvalid, Outcome, Problem, State
from cdp.connectors.blobs.layout import Layout
from cdp.connectors.blobs.store import CHUNK_BYTES, Entry, Trouble
from cdp.connectors.calls import call, trouble
from cdp.core.http import Answer
from cdp.core.platform import Platform

LISTING_MAX_BYTES = 8 * 1024 * 1024
MAX_PAGES = 1000
BATCH = 1000
_GONE = {"NoSuchKey", "NoSuchVersion", "NoSuchUpload"}
Take: TypeAlias = Callable[[Element, bool], Iterator[Entry]]
_XMLNS = "http://s3.amazonaws.com/doc/2006-03-01/"


class Bucket:
    """One bucket by ``url``: its first path segment (``path``) or its host (``host``); the rest is a prefix."""

    def __init__(self, platform: Platform, layout: Layout, access_key_id: str, secret_access_key: str) -> None:
        self._platform = platform
        self._layout = layout
        self._signer = S3SigV4Auth(Credentials(access_key_id, secret_access_key), "s3", layout.region)
        parts = urlsplit(layout.url)
        segments = [one for one in parts.path.split("/") if one]
        if layout.addressing == "path" and not segments:
            raise ConfigurationInvalid((Problem("VALUE_INVALID", "url", "The path begins with the bucket"),))
        bucket = segments[:1] if layout.addressing == "path" else []
        self._base = f"{parts.scheme}://{parts.netloc}/" + "".join(f"{one}/" for one in bucket)
        self._prefix = "".join(f"{unquote(one)}/" for one in segments[len(bucket) :])

    async def entries(self, prefix: str) -> list[Entry]:
        """List versions and marks, then uploads."""
        found = [entry async for entry in self._listed(prefix, "versions", _versions)]
        return found + [entry async for entry in self._listed(prefix, "uploads", _uploads)]

    async def contents(self, entry: Entry) -> AsyncIterator[bytes]:
        """Read by ranges, each checked against the size that was listed."""
        for start in range(0, entry.size_bytes, CHUNK_BYTES):
            end = min(start + CHUNK_BYTES, entry.size_bytes) - 1
            answer = await self._send(
                "GET", entry.key, _of_version(entry), headers={"Range": f"bytes={start}-{end}"}, max_bytes=CHUNK_BYTES
            )
            if answer.status not in {200, 206} or len(answer.body) != end - start + 1:
                raise Trouble(trouble(answer) if answer.status >= 300 else Outcome(State.RETRY, Code.BUSY))
            yield answer.body

    async def locked(self, entries: Sequence[Entry]) -> int:
        """Count versions under a retention period or a legal hold, where the bucket knows locks at all."""
        answer = await self._send("GET", "", {"object-lock": ""})
        if answer.status != 200:
            return 0
        answers = [await self._send("HEAD", one.key, _of_version(one)) for one in entries if one.has_content]
        return sum(_is_locked(answer.headers, self._platform.clock()) for answer in answers)

    async def remove(self, entries: Sequence[Entry]) -> None:
        """Delete by version, a thousand at a time; abort uploads."""
        versions = [entry for entry in entries if entry.upload is None]
        for start in range(0, len(versions), BATCH):
            await self._delete(versions[start : start + BATCH])
        for entry in entries:
            if entry.upload is not None:
                answer = await self._send("DELETE", entry.key, {"uploadId": entry.upload})
                if answer.status not in {204, 404}:
                    raise Trouble(_refused(answer))

    async def probe(self, prefix: str) -> tuple[Problem, ...]:
        """List nobody's files, then remove a version that does not exist: it leaves nothing, not even a mark."""
        if await self.entries(prefix):
            return (Problem("NOBODY_FOUND", "places", "Somebody nobody knows was found"),)
        await self._delete([Entry(f"{prefix}nothing", version="null")])
        if left := await self.entries(prefix):
            await self.remove(left)
            return (Problem("VERSIONS_UNKNOWN", "url", "Removing a version leaves a mark here"),)
        return ()

    async def _delete(self, entries: Sequence[Entry]) -> None:
        document = Element("Delete", xmlns=_XMLNS)
        SubElement(document, "Quiet").text = "true"
        for entry in entries:
            wanted = SubElement(document, "Object")
            SubElement(wanted, "Key").text = self._prefix + entry.key
            if entry.version is not None:
                SubElement(wanted, "VersionId").text = entry.version
        content = tostring(document, encoding="utf-8", xml_declaration=True)
        digest = b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()
        headers = {"Content-MD5": digest, "Content-Type": "application/xml"}
        answer = await self._send("POST", "", {"delete": ""}, headers=headers, content=content)
        if answer.status != 200:
            raise Trouble(_refused(answer))
        codes = {_text(error, "Code") for error in _parsed(answer).iter() if error.tag == "Error"} - _GONE
        if codes:
            denied = codes <= {"AccessDenied"}
            raise Trouble(Outcome(State.FAILED, Code.NOT_ALLOWED) if denied else Outcome(State.RETRY, Code.BUSY))

    async def _listed(self, prefix: str, kind: str, take: Take) -> AsyncIterator[Entry]:
        query = {kind: "", "prefix": self._prefix + prefix, "encoding-type": "url"}
        markers: Mapping[str, str] = {}
        for _ in range(MAX_PAGES):
            answer = await self._send("GET", "", {**query, **markers}, max_bytes=LISTING_MAX_BYTES)
            if answer.status != 200:
                raise Trouble(_refused(answer))
            page = _parsed(answer)
            if page.tag not in {"ListVersionsResult", "ListMultipartUploadsResult"}:
                raise Trouble(Outcome(State.FAILED, Code.BAD_ANSWER))
            encoded = _text(page, "EncodingType") == "url"
            for entry in take(page, encoded):
                if not entry.key.startswith(self._prefix + prefix):
                    raise Trouble(Outcome(State.FAILED, "WRONG_FILES"))
                yield replace(entry, key=entry.key.removeprefix(self._prefix))
            following = _markers(page, encoded)
            if not following:
                return
            if following == markers:
                break
            markers = following
        raise Trouble(Outcome(State.FAILED, "PAGES_DO_NOT_END"))

    async def _send(
        self,
        method: str,
        key: str,
        query: Mapping[str, str] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        max_bytes: int = CHUNK_BYTES,
    ) -> Answer:
        url = self._base + quote(self._prefix + key if key else "", safe="/~")
        if query:
            url += "?" + urlencode(sorted(query.items()), quote_via=quote, safe="~")
        request = AWSRequest(method=method, url=url, data=content or b"", headers=dict(headers or {}))
        self._signer.add_auth(request)
        answer = await call(
            self._platform,
            method,
            url,
            headers=dict(request.headers.items()),
            content=content,
            timeout_s=self._layout.timeout_s,
            max_bytes=max_bytes,
        )
        if isinstance(answer, Outcome):
            raise Trouble(answer)
        return answer


def _versions(page: Element, encoded: bool) -> Iterator[Entry]:
    for one in page:
        if one.tag in {"Version", "DeleteMarker"}:
            yield Entry(
                _key(_text(one, "Key"), encoded),
                int(_text(one, "Size") or 0),
                _text(one, "VersionId") or None,
                is_mark=one.tag == "DeleteMarker",
            )


def _uploads(page: Element, encoded: bool) -> Iterator[Entry]:
    for one in page:
        if one.tag == "Upload":
            yield Entry(_key(_text(one, "Key"), encoded), upload=_text(one, "UploadId"))


def _markers(page: Element, encoded: bool) -> Mapping[str, str]:
    """What to ask the next page with; nothing after the last. A page cut short without a marker is no listing."""
    if _text(page, "IsTruncated") != "true":
        return {}
    named = {
        "key-marker": _key(_text(page, "NextKeyMarker"), encoded),
        "version-id-marker": _text(page, "NextVersionIdMarker"),
        "upload-id-marker": _text(page, "NextUploadIdMarker"),
    }
    if not named["key-marker"]:
        raise Trouble(Outcome(State.FAILED, Code.BAD_ANSWER))
    return {name: marker for name, marker in named.items() if marker}


def _parsed(answer: Answer) -> Element:
    """The document without namespaces: services differ in them."""
    try:
        root: Element = fromstring(answer.body)
    except (ParseError, DefusedXmlException, ValueError):
        raise Trouble(Outcome(State.FAILED, Code.BAD_ANSWER)) from None
    for one in root.iter():
        one.tag = one.tag.rpartition("}")[2]
    return root


def _refused(answer: Answer) -> Outcome:
    match answer.status:
        case 403:
            return Outcome(State.FAILED, Code.NOT_ALLOWED)
        case 404:
            return Outcome(State.FAILED, Code.MISCONFIGURED)
        case _:
            return trouble(answer)


def _is_locked(headers: Mapping[str, str], now: datetime) -> bool:
    if headers.get("x-amz-object-lock-legal-hold", "").upper() == "ON":
        return True
    until = headers.get("x-amz-object-lock-retain-until-date")
    if not until:
        return False
    try:
        moment = datetime.fromisoformat(until)
    except ValueError:
        return True  # a lock we can not read is a lock
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) > now


def _of_version(entry: Entry) -> Mapping[str, str]:
    return {} if entry.version is None or entry.version == "null" else {"versionId": entry.version}


def _text(element: Element, name: str) -> str:
    return element.findtext(name) or ""


def _key(text: str, encoded: bool) -> str:
    return unquote(text) if encoded else text
