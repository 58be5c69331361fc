"""Independent readers: DuckDB reads what the page says, from the files of a downloaded export."""

import re
from decimal import Decimal
from pathlib import Path

import duckdb

from cdp.operations.bulk import folders
from cdp.tables.bulk import BulkFormat
from tests.bulk.factory import Bulk
from tests.population import make_person

PAGE = Path(__file__).parents[2] / "docs" / "bulk-exports.md"


async def test_the_page_is_right_about_duckdb(bulk: Bulk, tmp_path: Path) -> None:
    for country in ("DE", "DE", "DE", "FR", "FR"):
        await make_person(bulk.platform.db, country=country)
    page = PAGE.read_text(encoding="utf-8")
    (query,) = re.findall(r"```graphql\n(.*?)```", page, re.DOTALL)
    (statement,) = re.findall(r"```sql\n(.*?)```", page, re.DOTALL)
    viewer = await bulk.member("analyst")
    made = await bulk.export(viewer, query, format=BulkFormat.PARQUET)
    everybody = await bulk.export(
        viewer, query.replace('(filter: {country: {eq: "DE"}})', ""), format=BulkFormat.PARQUET
    )
    for export, wanted in (
        (made, {("DE", 3, Decimal("61.50"))}),
        (everybody, {("DE", 3, Decimal("61.50")), ("FR", 2, Decimal("41.00"))}),
    ):
        folder = tmp_path / export.row.reference
        await folders.download(bulk.platform, viewer, export.row.id, folder, lambda _: None)
        with duckdb.connect() as connection:
            found = connection.execute(statement.replace("export/", f"{folder}/")).fetchall()
            assert set(found) == wanted
            described = connection.execute(
                f"DESCRIBE SELECT * FROM read_parquet('{folder}/output-*.parquet')"
            ).fetchall()
            assert {row[0]: row[1] for row in described}["createdAt"] == "TIMESTAMP WITH TIME ZONE"
