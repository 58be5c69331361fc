"""The door for systems that took long: everything wrong looks the same."""

import pytest
from starlette.applications import Starlette

from cdp.core.ids import new_id
from tests.browser import visitor


@pytest.mark.parametrize("header", [{}, {"authorization": "Bearer x"}, {"authorization": "Basic eDp5"}])
@pytest.mark.parametrize("task", ["1", "{id}"])
async def test_a_wrong_callback_is_not_found(app: Starlette, header: dict[str, str], task: str) -> None:
    async with visitor(app) as system:
        address = f"/v1/tasks/{task.format(id=new_id())}/callback"
        answer = await system.post(address, headers={**header, "accept": "application/json"})
        assert (answer.status_code, answer.json()["code"]) == (404, "NOT_FOUND")
        assert (await system.get(address)).status_code == 405
