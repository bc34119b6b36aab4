"""Where deliveries go, and where they do not: no private address, no redirect, no proxy, and the name's own certificate."""

from __future__ import annotations

import ipaddress
import shutil
import ssl
import subprocess
from pathlib import Path

import pytest

from db import webhooks
from db.session import open_store
from search import outward
from search.delivering import Sending, send_due
from tests.databases import sqlite_url
from tests.receiver import HERE, ended, hook, make_due, only, receiving

__all__ = ["sqlite_url"]


def test_a_redirect_is_not_followed(sqlite_url: str) -> None:
    with open_store(sqlite_url) as store, receiving() as inside, receiving(307) as receiver:
        receiver.headers["Location"] = inside.url
        hook(store, receiver)
        ended(store)
        send_due(store, HERE)
        assert len(receiver.got) == 1 and inside.got == []
        assert (only(store).status, only(store).error) == (307, "it answered 307; redirects are not followed")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0"])
def test_a_private_address_is_refused_however_it_is_written(sqlite_url: str, host: str) -> None:
    with open_store(sqlite_url) as store, receiving() as receiver:
        webhooks.add(store, f"http://{host}:{receiver.port}/")
        ended(store)
        send_due(store, Sending())
        row = only(store)
        assert receiver.got == [] and row.state == "waiting" and row.status is None
        assert row.error is not None and "not public" in row.error and "--webhooks-to-private" in row.error


def test_a_name_is_looked_up_once_so_that_it_cannot_move(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    async def resolved(host: str, port: int) -> list[outward.Address]:
        asked.append(host)
        return [ipaddress.ip_address("127.0.0.1")]

    monkeypatch.setattr(outward, "_resolved", resolved)
    with open_store(sqlite_url) as store, receiving() as receiver:
        webhooks.add(store, f"http://hooks.example:{receiver.port}/")
        ended(store)
        send_due(store, Sending())
        assert receiver.got == [] and "leads to 127.0.0.1" in (only(store).error or "")
        make_due(store)
        send_due(store, HERE)
        assert asked == ["hooks.example"] * 2 and receiver.got[0].headers["host"] == f"hooks.example:{receiver.port}"


def test_one_private_address_among_public_ones_is_enough_to_refuse(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def resolved(host: str, port: int) -> list[outward.Address]:
        return [ipaddress.ip_address("93.184.216.34"), ipaddress.ip_address("10.0.0.1")]

    monkeypatch.setattr(outward, "_resolved", resolved)
    with open_store(sqlite_url) as store:
        webhooks.add(store, "https://hooks.example/")
        ended(store)
        send_due(store, Sending())
        assert "leads to 10.0.0.1" in (only(store).error or "")


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("2606:4700::1111", True),
        ("::ffff:8.8.8.8", True),
        ("64:ff9b::808:808", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::", False),
        ("::1", False),
        ("::127.0.0.1", False),
        ("::ffff:169.254.169.254", False),
        ("64:ff9b::7f00:1", False),
        ("2002:7f00:1::", False),
        ("fe80::1", False),
        ("fec0::1", False),
        ("fd00::1", False),
        ("ff02::1", False),
    ],
)
def test_what_is_public(address: str, public: bool) -> None:
    assert outward.is_public(ipaddress.ip_address(address)) is public


def test_no_proxy_of_the_environment_is_asked(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_store(sqlite_url) as store, receiving() as proxy, receiving() as receiver:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        hook(store, receiver)
        ended(store)
        send_due(store, HERE)
        assert proxy.got == [] and len(receiver.got) == 1


def test_under_tls_the_certificate_is_that_of_the_name(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not in PATH")
    make = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -keyout key.pem -out cert.pem -batch"
    names = ["-subj", "/CN=hooks.example", "-addext", "subjectAltName=DNS:hooks.example"]
    subprocess.run([*make.split(), *names], cwd=tmp_path, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
    outward._certificates.cache_clear()
    request.addfinalizer(outward._certificates.cache_clear)

    async def resolved(host: str, port: int) -> list[outward.Address]:
        return [ipaddress.ip_address("127.0.0.1")]

    monkeypatch.setattr(outward, "_resolved", resolved)
    with open_store(sqlite_url) as store, receiving(tls=context) as receiver:
        for name in ("hooks.example", "other.example"):
            webhooks.add(store, f"https://{name}:{receiver.port}/{name}")
        ended(store)
        send_due(store, HERE)
        assert [got.path for got in receiver.got] == ["/hooks.example"]
        (failed,) = [row for row in webhooks.deliveries(store) if row.state != "done"]
        assert failed.error is not None and "CERTIFICATE_VERIFY_FAILED" in failed.error
