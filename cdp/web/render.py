"""Templates: jinja2 with escaping on for everything, beside the page they belong to; names are paths below ``web``."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse

from cdp.core.clock import iso
from cdp.web.assets import address_of
from cdp.web.nonce import nonce_of

THEME_COOKIE = "cdp_theme"
THEMES = ("light", "dark")


def _moment(value: datetime) -> Markup:
    """A point in time; scripts turn it into the reader's zone, without them it is UTC."""
    shown = value.astimezone(UTC).strftime("%-d %B %Y, %H:%M UTC")
    return Markup('<time datetime="{}" data-local="">{}</time>').format(iso(value), shown)


def _day(value: datetime) -> Markup:
    return Markup('<time datetime="{}">{}</time>').format(iso(value)[:10], value.astimezone(UTC).strftime("%-d %B %Y"))


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["moment"] = _moment
    environment.filters["day"] = _day
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
