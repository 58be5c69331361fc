"""``cdp documents`` and ``cdp explain`` as a person at a terminal has them."""

import json
from pathlib import Path

from cdp.core.settings import Settings
from tests.cli.test_load import _cdp

KNOWN = "query Known { viewer { customer { account { username } } } }\n"


def test_documents_are_added_listed_and_removed(fresh_settings: Settings, tmp_path: Path):
    (tmp_path / "known.graphql").write_bytes(KNOWN.encode())
    (tmp_path / "other.graphql").write_bytes(b"{ viewer { kind } }\r\n")
    added = _cdp(fresh_settings, "documents", "add", str(tmp_path), "--json")
    assert added.returncode == 0, added.stderr
    found = json.loads(added.stdout)
    assert (found["added"], sorted(found["documents"].values())) == (2, ["known.graphql", "other.graphql"])
    again = _cdp(fresh_settings, "documents", "add", str(tmp_path / "known.graphql"))
    assert "0 added, 1 known" in again.stdout
    (tmp_path / "wrong.graphql").write_text("{ nothing }", encoding="utf-8")
    refused = _cdp(fresh_settings, "documents", "add", str(tmp_path))
    assert (refused.returncode, "GRAPHQL_VALIDATION_FAILED" in refused.stderr) == (1, True)
    assert "wrong.graphql" in refused.stderr
    document_id = next(iter(found["documents"]))
    assert _cdp(fresh_settings, "documents", "remove", document_id).returncode == 0
    left = json.loads(_cdp(fresh_settings, "documents", "list", "--json").stdout)
    assert [one["documentId"] for one in left] == [one for one in found["documents"] if one != document_id]


def test_a_field_is_explained_for_a_role(fresh_settings: Settings, tmp_path: Path):
    query = '{ customer(id: "Q3VzdG9tZXI6MDAwMDAwMDAtMDAwMC0wMDAwLTAwMDAtMDAwMDAwMDAwMDAw") { account { username } } }'
    shown = _cdp(fresh_settings, "explain", query, "--role", "agent", "--json")
    assert shown.returncode == 0, shown.stderr
    [username] = [one for one in json.loads(shown.stdout)["fields"] if one["field"] == "Account.username"]
    assert (username["decision"], username["mask"], username["rule"]["scope"]) == ("mask", "email", "customers:read")
    page = tmp_path / "known.graphql"
    page.write_text(KNOWN, encoding="utf-8")
    printed = _cdp(fresh_settings, "explain", f"@{page}")
    assert (printed.returncode, "SELECT" in printed.stdout) == (0, True)
    nobody = _cdp(fresh_settings, "explain", query, "--as", "nobody@example.org")
    assert (nobody.returncode, "NOBODY_THERE" in nobody.stderr) == (1, True)
