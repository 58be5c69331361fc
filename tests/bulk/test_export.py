"""A bulk export from the wish to the signed manifest, in every format and packing."""

import pytest

from cdp.core.ids import global_id
from cdp.core.sign import Verdict, check
from cdp.tables.bulk import BulkCompression, BulkFormat
from tests.bulk.factory import Bulk
from tests.population import Person, make_person


@pytest.fixture(scope="module")
async def people(bulk: Bulk) -> list[Person]:
    return [await make_person(bulk.platform.db) for _ in range(8)]


async def test_everybody_is_in_it_once(bulk: Bulk, people: list[Person]) -> None:
    made = await bulk.export()
    assert sorted(made.ids) == sorted([await bulk.shown(made.row, one.customer_id) for one in people])
    assert len(made.manifest["output"]) >= 2
    print(made.manifest, made.rows[0])
