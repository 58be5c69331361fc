"""Signatures over canonical JSON: one byte form, and every change is seen."""

import copy
import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdp.core import sign
from cdp.core.keys import KeyStore
from cdp.core.sign import Signer, Verdict, canonical, check

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
DOCUMENT = {"b": [1, {"z": None, "a": "ü"}], "a": True, "n": 2**70}


@pytest.fixture
def signer(tmp_path) -> Signer:
    return Signer(KeyStore(tmp_path))


def test_the_byte_form_is_sorted_dense_utf8():
    assert canonical(DOCUMENT) == '{"a":true,"b":[1,{"a":"ü","z":null}],"n":1180591620717411303424}'.encode()


@given(st.dictionaries(st.text(), PLAIN, max_size=5))
def test_equal_documents_have_one_form(document):
    try:
        form = canonical(document)
    except UnicodeEncodeError:
        return
    shuffled = json.loads(form)
    assert canonical(dict(reversed(shuffled.items()))) == form
    assert shuffled == document


@pytest.mark.parametrize("value", [1.0, float("nan"), b"x", {1: "a"}, (1,), {"a": {"b": 0.5}}, object()])
def test_what_has_no_form_is_refused(value):
    with pytest.raises(TypeError):
        canonical(value)


def test_a_signed_document_is_valid_for_its_keys(signer: Signer):
    signed = signer.sign(DOCUMENT)
    assert check(signed, signer.keys()) is Verdict.VALID
    assert check(json.loads(json.dumps(signed)), signer.keys()) is Verdict.VALID
    assert check(dict(reversed(signed.items())), signer.keys()) is Verdict.VALID
    assert signer.sign(signed) == signed


def test_the_key_is_kept_and_named_by_its_hash(tmp_path):
    one, again = Signer(KeyStore(tmp_path)), Signer(KeyStore(tmp_path))
    assert one.keys() == again.keys()
    ((key_id, public),) = one.keys().items()
    assert key_id == hashlib.sha256(sign.decode(public)).hexdigest()[:16]
    assert len(one.sign_bytes(b"x")) == 64


def test_every_change_is_seen(signer: Signer):
    signed = signer.sign(DOCUMENT)
    changes = [
        ("a", False),
        ("a", 1.5),
        ("n", 2**70 + 1),
        ("new", None),
        ("b", [1, {"z": None, "a": "u"}]),
    ]
    for name, value in changes:
        assert check({**signed, name: value}, signer.keys()) is Verdict.INVALID
    assert check({name: value for name, value in signed.items() if name != "n"}, signer.keys()) is Verdict.INVALID


@pytest.mark.parametrize(
    ("name", "value", "verdict"),
    [
        ("algorithm", "none", Verdict.INVALID),
        ("algorithm", None, Verdict.INVALID),
        ("keyId", "0" * 16, Verdict.UNKNOWN_SIGNER),
        ("keyId", None, Verdict.UNKNOWN_SIGNER),
        ("value", "", Verdict.INVALID),
        ("value", None, Verdict.INVALID),
        ("value", "ü", Verdict.INVALID),
        ("value", "A" * 86, Verdict.INVALID),
    ],
)
def test_a_changed_signature_is_seen(signer: Signer, name: str, value: object, verdict: Verdict):
    signed = copy.deepcopy(signer.sign(DOCUMENT))
    signed["signature"][name] = value
    assert check(signed, signer.keys()) is verdict


@pytest.mark.parametrize("document", [{}, {"signature": None}, {"signature": []}, {"signature": {}}])
def test_an_unsigned_document_is_invalid(signer: Signer, document):
    assert check(document, signer.keys()) is Verdict.INVALID


def test_a_stranger_is_unknown_and_a_false_pin_is_invalid(signer: Signer, tmp_path):
    stranger = Signer(KeyStore(tmp_path / "other"))
    assert check(stranger.sign(DOCUMENT), signer.keys()) is Verdict.UNKNOWN_SIGNER
    pinned_wrong = {stranger.key_id: next(iter(signer.keys().values()))}
    assert check(stranger.sign(DOCUMENT), pinned_wrong) is Verdict.INVALID
    assert check(stranger.sign(DOCUMENT), {stranger.key_id: "not a key"}) is Verdict.INVALID


def test_a_check_never_raises(signer: Signer):
    deep: object = None
    for _ in range(100_000):
        deep = [deep]
    signed = signer.sign({"a": 1})
    assert check({**signed, "a": deep}, signer.keys()) is Verdict.INVALID
    assert check({**signed, "a": "\ud800"}, signer.keys()) is Verdict.INVALID


@given(st.binary(max_size=100))
def test_base64url_goes_both_ways(raw: bytes):
    assert sign.decode(sign.encode(raw)) == raw
    assert "=" not in sign.encode(raw)
