"""Logging in with a key, for browsers: a plain page that works without scripts."""

from __future__ import annotations

import hmac
import html
import secrets
from urllib.parse import parse_qs

from anyio import to_thread
from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from db import keys
from search.api.access import COOKIE, SAFE_COOKIE, session_token
from search.api.errors import Refused
from search.api.guard import Rates, address_of

router = APIRouter(include_in_schema=False)
FORM_COOKIE = "trimtab_form"
FORM_BYTES = 4096
FORM_S = 3600
CSP = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
PAGE = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>Trimtab: log in</title>
<style>body {{ font: 1rem system-ui, sans-serif; margin: 4rem auto; max-width: 24rem; padding: 0 1rem }}
label, input, button {{ display: block; font: inherit; margin: .5rem 0 }} input {{ box-sizing: border-box; width: 100% }}
[role=alert] {{ color: #a00 }}</style></head>
<body><h1>Trimtab</h1>
{told}<form method="post" action="/login">
<input type="hidden" name="form" value="{form}"><input type="hidden" name="next" value="{next}">
<label for="key">Key</label><input id="key" name="key" type="password" autocomplete="current-password" required autofocus>
<button>Log in</button></form></body></html>
"""


@router.get("/login")
def page(request: Request) -> Response:
    """The form."""
    return _form(request, request.query_params.get("next", "/"))


@router.post("/login", max_body_size=FORM_BYTES)
async def login(request: Request) -> Response:
    """Logs a browser in: the key's session lies in a cookie that scripts cannot read and other sites cannot send."""
    fields = {name: values[-1] for name, values in parse_qs((await request.body()).decode("utf-8", "replace")).items()}
    if not _is_ours(request.cookies.get(FORM_COOKIE), fields.get("form")):
        raise Refused(403, "the form is not from here or too old: open /login again")
    rates: Rates = request.app.state.rates
    address = address_of(request)
    rates.check(rates.failures, "failures", address)
    store = request.app.state.service.store
    key = await to_thread.run_sync(keys.by_secret, store, fields.get("key", "").strip())
    if key is None:
        rates.count(rates.failures, "failures", address)
        return _form(request, fields.get("next", "/"), "This key is not valid.", 401)
    lasts_s = request.app.state.access.session_s
    token, until = await to_thread.run_sync(keys.begin_session, store, key, lasts_s)
    response = RedirectResponse(_local(fields.get("next", "/")), 303)
    is_tls = request.url.scheme == "https"
    response.set_cookie(_cookie(request), token, expires=until, httponly=True, samesite="lax", secure=is_tls, path="/")
    response.delete_cookie(FORM_COOKIE, path="/login", httponly=True, samesite="strict", secure=is_tls)
    return response


@router.post("/logout", max_body_size=FORM_BYTES)
async def logout(request: Request) -> Response:
    """Logs a browser out, here and in the store."""
    if (token := session_token(request)) is not None:
        await to_thread.run_sync(keys.end_session, request.app.state.service.store, token)
    response = RedirectResponse("/login", 303)
    is_tls = request.url.scheme == "https"
    response.delete_cookie(_cookie(request), path="/", httponly=True, samesite="lax", secure=is_tls)
    return response


def _form(request: Request, after: str, told: str = "", status: int = 200) -> Response:
    form = secrets.token_urlsafe(32)
    alert = f'<p role="alert">{html.escape(told)}</p>\n' if told else ""
    text = PAGE.format(told=alert, form=form, next=html.escape(_local(after)))
    response = HTMLResponse(text, status, headers={"Content-Security-Policy": CSP})
    is_tls = request.url.scheme == "https"
    response.set_cookie(FORM_COOKIE, form, max_age=FORM_S, httponly=True, samesite="strict", secure=is_tls, path="/login")
    return response


def _cookie(request: Request) -> str:
    return SAFE_COOKIE if request.url.scheme == "https" else COOKIE


def _is_ours(cookie: str | None, field: str | None) -> bool:
    return cookie is not None and field is not None and hmac.compare_digest(cookie.encode(), field.encode())


def _local(after: str) -> str:
    """Returns the path to go on to, `/` for an address elsewhere."""
    is_path = after.startswith("/") and not after.startswith("//") and after.isprintable() and "\\" not in after
    return after if is_path and len(after) <= 1000 else "/"
