"""How often one process calls one system: turns are given out evenly, and nobody waits long for one.

Source: the generic cell rate algorithm without a burst, ITU-T I.371, https://www.itu.int/rec/T-REC-I.371
"""

import asyncio
from weakref import WeakKeyDictionary

from cdp.connectors.base import Code, Outcome, State
from cdp.connectors.http.description import Rate
from cdp.core.http import Outbound
from cdp.core.ids import SystemId

PATIENCE_S = 5.0
_NEXT: WeakKeyDictionary[Outbound, dict[SystemId, float]] = WeakKeyDictionary()


async def take_turn(outbound: Outbound, system_id: SystemId, rate: Rate | None) -> Outcome | None:
    """Wait for this system's next turn; or say that it is too far away to wait for."""
    if rate is None:
        return None
    turns = _NEXT.setdefault(outbound, {})
    now = asyncio.get_running_loop().time()
    turn = max(now, turns.get(system_id, 0.0))
    if turn - now > PATIENCE_S:
        return Outcome(State.RETRY, Code.BUSY, retry_after_s=turn - now)
    turns[system_id] = turn + rate.per_s / rate.requests
    await asyncio.sleep(turn - now)
    return None
