"""API keys and the browsers that showed one.

A key is random in 256 bits, so that nobody can try what may be behind a hash: a plain SHA-256 of it is as safe as a slow
hash, which is made for passwords, and every request can afford it.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from sqlalchemy import delete, select, update

from db.rows import KeyRow, row_of
from db.session import Store
from db.tables import ApiKey, LoginSession
from simulator.errors import InputError

PREFIX = "trimtab"
SCOPES = ("read", "submit", "admin")
# The last use is written at most so often: a request that reads should not write.
USE_S = 60.0
# What a key is compared with when there is none of its id, so that both take as long.
_NOBODY = hashlib.sha256(b"").hexdigest()


def create(
    store: Store, name: str, scopes: Sequence[str], expires_at: datetime | None = None, quota: int | None = None
) -> tuple[KeyRow, str]:
    """Returns a new key and its secret, which is kept nowhere; raises InputError for a wrong name, scope or time."""
    if not name.strip() or len(name) > 200 or not name.isprintable():
        raise InputError("name", name, "1 to 200 printable characters")
    for scope in scopes:
        if scope not in SCOPES:
            raise InputError("scopes", scope, ", ".join(SCOPES))
    if not scopes:
        raise InputError("scopes", "", ", ".join(SCOPES))
    now = datetime.now(UTC)
    if expires_at is not None and expires_at <= now:
        raise InputError("expires", expires_at.isoformat(), "a time that is yet to come")
    if quota is not None and quota < 1:
        raise InputError("quota", quota, "1 job or more")
    key_id = secrets.token_hex(6)
    secret = f"{PREFIX}_{key_id}_{secrets.token_urlsafe(32)}"
    with store.write() as session:
        key = ApiKey(
            id=key_id,
            name=name,
            hash=digest(secret),
            scopes=",".join(scope for scope in SCOPES if scope in scopes),
            quota=quota,
            created_at=now,
            expires_at=expires_at,
        )
        session.add(key)
        session.flush()
        return row_of(KeyRow, key), secret


def digest(secret: str) -> str:
    """Returns the SHA-256 in hex under which a secret is stored."""
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()


def keys(store: Store) -> list[KeyRow]:
    """Returns all keys, the newest first."""
    with store.read() as session:
        return [row_of(KeyRow, key) for key in session.scalars(select(ApiKey).order_by(ApiKey.created_at.desc(), ApiKey.id))]


def revoke(store: Store, text: str) -> KeyRow:
    """Returns the key with this id, else the only one of this name, revoked from now on with its browsers.

    Raises InputError under `key` when there is none, or when several have the name.
    """
    with store.write() as session:
        found = list(session.scalars(select(ApiKey).where((ApiKey.id == text) | (ApiKey.name == text))))
        if len(found) != 1:
            raise InputError("key", text, "the id of a key" if not found else f"an id: {len(found)} keys have this name")
        key = found[0]
        key.revoked_at = key.revoked_at or datetime.now(UTC)
        session.execute(delete(LoginSession).where(LoginSession.key_id == key.id))
        return row_of(KeyRow, key)


def by_secret(store: Store, secret: str) -> KeyRow | None:
    """Returns the key of a secret, None for one that is unknown, expired or revoked; compares in constant time."""
    parts = secret.split("_", 2)
    key_id = parts[1] if len(parts) == 3 and parts[0] == PREFIX else ""
    with store.read() as session:
        key = session.get(ApiKey, key_id) if key_id.isalnum() and len(key_id) <= 32 else None
        same = hmac.compare_digest(digest(secret), _NOBODY if key is None else key.hash)
        row = row_of(KeyRow, key) if key is not None and same else None
    return _used(store, row)


def begin_session(store: Store, key: KeyRow, lasts_s: float) -> tuple[str, datetime]:
    """Returns what the cookie of a browser that showed `key` holds, and until when it counts; expired ones are removed."""
    token, now = secrets.token_urlsafe(32), datetime.now(UTC)
    until = min(now + timedelta(seconds=lasts_s), key.expires_at or datetime.max.replace(tzinfo=UTC))
    with store.write() as session:
        session.execute(delete(LoginSession).where(LoginSession.expires_at < now))
        session.add(LoginSession(hash=digest(token), key_id=key.id, created_at=now, expires_at=until))
    return token, until


def by_session(store: Store, token: str) -> KeyRow | None:
    """Returns the key that a browser showed, None when it is over or the key is no longer valid."""
    query = select(ApiKey).join(LoginSession, LoginSession.key_id == ApiKey.id)
    with store.read() as session:
        key = session.scalar(query.where(LoginSession.hash == digest(token), LoginSession.expires_at > datetime.now(UTC)))
        row = None if key is None else row_of(KeyRow, key)
    return _used(store, row)


def end_session(store: Store, token: str) -> None:
    """Forgets a browser."""
    with store.write() as session:
        session.execute(delete(LoginSession).where(LoginSession.hash == digest(token)))


def _used(store: Store, row: KeyRow | None) -> KeyRow | None:
    now = datetime.now(UTC)
    if row is None or row.revoked_at is not None or (row.expires_at is not None and row.expires_at <= now):
        return None
    if row.last_used_at is None or (now - row.last_used_at).total_seconds() > USE_S:
        with store.write() as session:
            session.execute(update(ApiKey).where(ApiKey.id == row.id).values(last_used_at=now))
    return row
