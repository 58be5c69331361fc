"""What stands under a key, as JSON: every type of value a server has, whole or not at all."""

from base64 import b64encode

from redis.asyncio import Redis

from cdp.connectors.base import Json

MAX_ITEMS = 100_000
_LENGTHS = {"hash": "HLEN", "set": "SCARD", "zset": "ZCARD", "list": "LLEN", "stream": "XLEN"}
_READS: dict[str, tuple[str, ...]] = {
    "hash": ("HGETALL",),
    "set": ("SMEMBERS",),
    "zset": ("ZRANGE", "0", "-1"),
    "list": ("LRANGE", "0", "-1"),
    "stream": ("XRANGE", "-", "+"),
}
REMOVALS = {"hash": "HDEL", "set": "SREM", "zset": "ZREM"}
HELD = {"hash": "HEXISTS", "set": "SISMEMBER", "zset": "ZSCORE"}


class TooMuch(Exception):
    """More stands under one key than is read, or a type nobody knows."""


async def ask(server: Redis, *arguments: str) -> object:
    """Send one command; the answer as bytes, numbers, lists, sets and mappings."""
    answer: object = await server.execute_command(*arguments)  # type: ignore[no-untyped-call]  # not typed there
    return answer


async def type_of(server: Redis, key: str) -> str:
    """The type of a key's value, ``none`` if there is none."""
    said = await ask(server, "TYPE", key)
    return said.decode() if isinstance(said, bytes) else str(said)


async def members(server: Redis, key: str) -> list[str]:
    """The members of an index: a set, a sorted set, a list, or the fields of a hash. Raises TooMuch."""
    kind = await type_of(server, key)
    if kind == "none":
        return []
    if kind not in {"hash", "set", "zset", "list"}:
        raise TooMuch
    found = await _whole(server, key, kind)
    values = list(found) if isinstance(found, dict | list | set | tuple) else []
    return sorted({_exact(value) for value in values})


async def value_of(server: Redis, key: str) -> Json:
    """A key's value. Raises TooMuch."""
    kind = await type_of(server, key)
    if kind == "string":
        return _json(await ask(server, "GET", key))
    return _json(await _whole(server, key, kind))


async def _whole(server: Redis, key: str, kind: str) -> object:
    if kind not in _READS:
        raise TooMuch
    length = await ask(server, _LENGTHS[kind], key)
    if not isinstance(length, int) or length > MAX_ITEMS:
        raise TooMuch
    command, *rest = _READS[kind]
    return await ask(server, command, key, *rest)


def _exact(value: object) -> str:
    """A member as text. Raises TooMuch when it is none: it could not be named again."""
    try:
        return value.decode() if isinstance(value, bytes) else str(value)
    except UnicodeDecodeError as error:
        raise TooMuch from error


def _json(value: object) -> Json:
    match value:
        case bytes():
            return _text(value)
        case dict():
            return {str(_json(name)): _json(item) for name, item in value.items()}
        case list() | tuple():
            return [_json(item) for item in value]
        case set() | frozenset():
            return [_json(item) for item in sorted(value)]
        case None | bool() | int() | float() | str():
            return value
    return str(value)


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return b64encode(value).decode()
