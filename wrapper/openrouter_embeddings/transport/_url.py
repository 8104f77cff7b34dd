"""Where the key may go."""

from __future__ import annotations

import ipaddress
import re

import httpx

from openrouter_embeddings.errors import InputError

BASE_URL = "https://openrouter.ai/api/v1"
_HOST = re.compile(r"[A-Za-z0-9._:\[\]-]+")


def checked(base_url: str, *, allow_http: bool) -> httpx.URL:
    """Refuse what would send the key where it can be read on the way."""
    right = f"{BASE_URL}, say, is right"
    try:
        url = httpx.URL(base_url)
    except (httpx.InvalidURL, TypeError):
        raise InputError(f"base_url {base_url!r} is no URL; {right}") from None
    if url.userinfo:
        raise InputError("base_url holds a user name or password; only the API key is sent")
    if url.scheme not in ("http", "https") or not url.host:
        raise InputError(f"base_url {base_url!r} is no http(s) URL; {right}")
    if url.query or url.fragment or not _HOST.fullmatch(url.netloc.decode()):
        raise InputError(
            f"base_url {base_url!r} has more than scheme, host, port and path; {right}"
        )
    if url.path.rstrip("/").endswith("/embeddings"):
        raise InputError(f"base_url {base_url!r} names the operation; leave /embeddings out")
    if url.scheme == "http" and not allow_http and not _is_loopback(url.host):
        raise InputError(
            f"base_url goes to {url.host} over plain http, where the API key can be read on the "
            "way; https is right, and http only to this machine itself. In a network that you "
            "trust, say allow_http=True"
        )
    return url


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
