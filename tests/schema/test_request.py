"""Requests as they come over HTTP: what is not a GraphQL request is a coded refusal, whatever it is instead."""

import json
from urllib.parse import urlencode

import pytest

from cdp.core.errors import PlatformError
from cdp.schema.request import GraphQLRequest, read_body, read_query_string

QUERY = b'{"query":"{viewer{id}}"'
BAD_BODIES = {
    "nothing": (b"", "BAD_REQUEST"),
    "a number": (b"1", "BAD_REQUEST"),
    "a string": (b'"x"', "BAD_REQUEST"),
    "null": (b"null", "BAD_REQUEST"),
    "true": (b"true", "BAD_REQUEST"),
    "a batch": (b"[" + QUERY + b"}]", "BATCH_REFUSED"),
    "an empty batch": (b"[]", "BATCH_REFUSED"),
    "50,000 open lists": (b"[" * 50_000, "BAD_REQUEST"),
    "50,000 nested objects": (b'{"a":' * 50_000 + b"1" + b"}" * 50_000, "BAD_REQUEST"),
    "a number of 6,000 digits": (QUERY + b',"variables":{"a":' + b"1" * 6_000 + b"}}", "BAD_REQUEST"),
    "not UTF-8": (b'{"query":"\xff"}', "BAD_REQUEST"),
    "a byte order mark": (b"\xef\xbb\xbf" + QUERY + b"}", "BAD_REQUEST"),
    "NaN": (QUERY + b',"variables":{"a":NaN}}', "BAD_REQUEST"),
    "a control character": (b'{"query":"{a\x00}"}', "BAD_REQUEST"),
    "a doubled member": (QUERY + b',"query":"{a}"}', "BAD_REQUEST"),
    "a doubled variable": (QUERY + b',"variables":{"a":1,"a":2}}', "BAD_REQUEST"),
    "no query": (b'{"variables":{}}', "BAD_REQUEST"),
    "an empty query": (b'{"query":""}', "BAD_REQUEST"),
    "a query that is a list": (b'{"query":["{a}"]}', "BAD_REQUEST"),
    "variables that are a list": (QUERY + b',"variables":[]}', "BAD_REQUEST"),
    "variables that are a text": (QUERY + b',"variables":"{}"}', "BAD_REQUEST"),
    "an operation name that is a number": (QUERY + b',"operationName":1}', "BAD_REQUEST"),
    "extensions that are a number": (QUERY + b',"extensions":1}', "BAD_REQUEST"),
    "half a surrogate pair": (QUERY + b',"variables":{"a":["\\ud800"]}}', "UNSTORABLE_TEXT"),
    "half a surrogate pair in a key": (QUERY + b',"variables":{"\\uDC00":1}}', "UNSTORABLE_TEXT"),
    "NUL in a variable": (QUERY + b',"variables":{"a":{"b":"\\u0000"}}}', "UNSTORABLE_TEXT"),
    "NUL in the document": (b'{"query":"{a\\u0000}"}', "UNSTORABLE_TEXT"),
    "an escaped NUL in the document": (b'{"query":"{a(b:\\"\\\\u0000\\")}"}', "UNSTORABLE_TEXT"),
    "a braced NUL in the document": (b'{"query":"{a(b:\\"\\\\u{00}\\")}"}', "UNSTORABLE_TEXT"),
}


@pytest.mark.parametrize("name", BAD_BODIES)
def test_what_is_no_request_is_refused_by_code(name: str):
    body, code = BAD_BODIES[name]
    with pytest.raises(PlatformError) as refused:
        read_body(body)
    assert (refused.value.code, refused.value.status) == (code, 400)


def test_a_request_is_read_as_it_was_meant():
    given = {
        "query": 'query Q($a: String) { b(c: $a, d: "\\u00e9") }',
        "variables": {"a": "Ünï 😀 \\u0000 is text here"},
        "operationName": "Q",
        "extensions": {"any": ["thing"]},
        "unknown": 1,
    }
    expected = GraphQLRequest(given["query"], given["variables"], "Q")
    assert read_body(json.dumps(given).encode()) == expected
    assert read_body(json.dumps(given, ensure_ascii=False).encode()) == expected
    del given["extensions"], given["unknown"]
    assert read_query_string(urlencode({**given, "variables": json.dumps(given["variables"])}).encode()) == expected


def test_empty_members_are_none():
    assert read_body(b'{"query":"{a}","variables":null,"operationName":"","extensions":null}') == GraphQLRequest("{a}")
    assert read_query_string(b"query={a}&variables=&operationName=") == GraphQLRequest("{a}")


BAD_ADDRESSES = [
    b"",
    b"query=",
    b"query={a}&query={b}",
    b"query=%ff",
    b"query={a}&variables=1",
    b"query={a}&variables={",
    b"query={a}&variables={}&variables={}",
    b"query={a}&extensions=[]",
    b"\xff",
    b"&".join([b"a=1"] * 30),
]


@pytest.mark.parametrize("query_string", BAD_ADDRESSES)
def test_a_bad_address_is_refused(query_string: bytes):
    with pytest.raises(PlatformError) as refused:
        read_query_string(query_string)
    assert refused.value.code == "BAD_REQUEST"
