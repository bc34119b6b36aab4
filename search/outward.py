"""Requests to addresses that somebody named: looked up once, judged, and sent to what was judged and nowhere else.

A name is not looked up again between the judgement and the connection, so that it cannot come to mean another machine. No
redirect is followed, no proxy of the environment is asked, and no body of an answer is read.
"""

from __future__ import annotations

import asyncio
import functools
import ipaddress
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass

import httpx

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
TIMEOUT_S = 10.0
# Where IPv6 alone is spoken, an IPv4 address is reached under these.
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


@dataclass(frozen=True)
class Answer:
    """What came of a request: the status, None where there was none, and what is wrong in one line, None where nothing is."""

    status: int | None
    error: str | None = None


class _Private(Exception):
    """A name that leads to where nothing may be sent."""


async def post(url: str, body: bytes, headers: Mapping[str, str], *, to_private: bool, timeout_s: float = TIMEOUT_S) -> Answer:
    """Returns the answer to a POST within `timeout_s` seconds in all; a status from 200 to 299 is the only right one.

    Without `to_private` nothing is sent to an address that is not public. Raises nothing that the other side causes.
    """
    try:
        async with asyncio.timeout(timeout_s):
            return _judged(await _post(httpx.URL(url), body, headers, to_private, timeout_s))
    except (TimeoutError, httpx.TimeoutException):
        return Answer(None, f"no answer within {timeout_s:g} s")
    except _Private as error:
        return Answer(None, str(error))
    except socket.gaierror as error:
        return Answer(None, f"its name cannot be resolved: {error.strerror or error}")
    except (httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeError) as error:
        return Answer(None, f"it cannot be reached: {' '.join(str(error).split()) or type(error).__name__}")


def _judged(status: int) -> Answer:
    if 200 <= status < 300:
        return Answer(status)
    return Answer(status, f"it answered {status}" + ("; redirects are not followed" if 300 <= status < 400 else ""))


async def _post(url: httpx.URL, body: bytes, headers: Mapping[str, str], to_private: bool, timeout_s: float) -> int:
    port = url.port or {"http": 80, "https": 443}[url.scheme]
    addresses = await _resolved(url.host, port)
    if not to_private and (closed := [address for address in addresses if not is_public(address)]):
        told = "is not public" if str(closed[0]) == url.host else f"leads to {closed[0]}, which is not public"
        raise _Private(f"{url.host} {told}: refused without --webhooks-to-private")
    sent = {"Host": url.netloc.decode("ascii"), **headers}
    context = _certificates() if url.scheme == "https" else False
    async with httpx.AsyncClient(trust_env=False, follow_redirects=False, timeout=timeout_s, verify=context) as client:
        for place, address in enumerate(addresses):
            there = url.copy_with(host=str(address))
            # The certificate is that of the name, not of the address.
            named = {"sni_hostname": url.host}
            try:
                async with client.stream("POST", there, content=body, headers=sent, extensions=named) as answer:
                    return answer.status_code
            except httpx.ConnectError:
                if place == len(addresses) - 1:
                    raise
    raise AssertionError("a name without an address does not resolve")


async def _resolved(host: str, port: int) -> list[Address]:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(ipaddress.ip_address(place[0]) for *_, place in found))


def is_public(address: Address) -> bool:
    """Returns whether an address is one of the public network; one that carries an IPv4 address is as public as that."""
    if isinstance(address, ipaddress.IPv6Address):
        carried = address.ipv4_mapped or address.sixtofour
        if address in _NAT64:
            carried = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if carried is not None:
            return is_public(carried)
        if address.is_site_local:
            return False
    return address.is_global and not address.is_multicast and not address.is_reserved


@functools.cache
def _certificates() -> ssl.SSLContext:
    """Returns whom to believe: those of SSL_CERT_FILE or SSL_CERT_DIR, else of the package certifi."""
    return httpx.create_ssl_context()
