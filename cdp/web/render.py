"""Templates: jinja2 with escaping on for everything, beside the page they belong to; names are paths below ``web``."""

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.requests import Request
from starlette.responses import HTMLResponse

from cdp.core.clock import iso
from cdp.web import words
from cdp.web.assets import address_of
from cdp.web.nonce import nonce_of

THEME_COOKIE = "cdp_theme"
THEMES = ("light", "dark")
LONG_WORD = 20


def _moment(value: datetime) -> Markup:
    """A point in time; scripts turn it into the reader's zone, without them it is UTC."""
    shown = value.astimezone(UTC).strftime("%-d %B %Y, %H:%M UTC")
    return Markup('<time datetime="{}" data-local="">{}</time>').format(iso(value), shown)


def _date(value: str) -> str:
    """A date as the certificate writes it, 2036-03-01, as people read it."""
    return date.fromisoformat(value).strftime("%-d %B %Y")


def _day(value: datetime) -> Markup:
    return Markup('<time datetime="{}">{}</time>').format(iso(value)[:10], value.astimezone(UTC).strftime("%-d %B %Y"))


def _duration(value: timedelta) -> str:
    """A length of time as people say it, in its largest whole unit."""
    seconds = round(value.total_seconds())
    for name, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= length and seconds % length == 0:
            return _times(seconds // length, name)
    return _times(seconds, "second")


def _times(number: int, unit: str) -> str:
    return f"{number} {unit}" if number == 1 else f"{number} {unit}s"


def _breakable(value: str) -> Markup:
    """A text of a table; one with a word longer than a column may break anywhere."""
    is_long = any(len(word) > LONG_WORD for word in value.split())
    return Markup('<span class="long">{}</span>').format(value) if is_long else escape(value)


FILTERS: Mapping[str, Callable[..., object]] = {
    "moment": _moment,
    "day": _day,
    "date": _date,
    "duration": _duration,
    "breakable": _breakable,
    "size": words.size,
    "records": words.records,
    "point": words.POINT.__getitem__,
    "code": words.reason,
    "step": words.STEP.__getitem__,
    "results": words.results,
}


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(FILTERS)
    environment.globals["asset"] = address_of
    return environment


_templates = _environment()


def render(request: Request, template: str, context: Mapping[str, object], *, status: int = 200) -> HTMLResponse:
    """Render a page; besides ``context`` every template sees ``nonce``, ``theme``, ``path``, ``visit`` (or None) …."""
    theme = request.cookies.get(THEME_COOKIE)
    body = _templates.get_template(template).render(
        {
            "nonce": nonce_of(request),
            "theme": theme if theme in THEMES else "",
            "path": request.url.path,
            "visit": request.scope.get("state", {}).get("visit"),
            "problems": (),
            "help_address": request.app.state.platform.settings.mail_from,
            **context,
        }
    )
    return HTMLResponse(body, status_code=status)


def markup(template: str, **context: object) -> str:
    """Render a part of a page: what a live part is replaced with."""
    return _templates.get_template(template).render(context)
