"""Checks the base URL, so that the API key is sent only where nobody else can read it."""

import ipaddress
import re

import httpx

from openrouter_embeddings.errors import InputError

BASE_URL = "https://openrouter.ai/api/v1"
_HOST = re.compile(r"[A-Za-z0-9._:\[\]-]+")


def parse_base_url(base_url: str, *, allow_http: bool) -> httpx.URL:
    """The URL, checked. Raises InputError, also for plain http that would expose the key."""
    example = f"use a URL such as {BASE_URL}"
    try:
        url = httpx.URL(base_url)
    except (httpx.InvalidURL, TypeError):
        raise InputError(f"base_url {base_url!r} is not a URL; {example}") from None
    if url.userinfo:  # not shown
        raise InputError("base_url contains a user name or password; remove it, and pass api_key")
    if url.scheme not in ("http", "https") or not url.host:
        raise InputError(f"base_url {base_url!r} is not an http(s) URL; {example}")
    if url.query or url.fragment or not _HOST.fullmatch(url.netloc.decode()):
        raise InputError(
            f"base_url {base_url!r} has more than a scheme, host, port and path; {example}"
        )
    if url.path.rstrip("/").endswith("/embeddings"):
        raise InputError(f"base_url {base_url!r} ends in /embeddings; remove that ending")
    if url.scheme == "http" and not allow_http and not _is_loopback(url.host):
        raise InputError(
            f"base_url sends the API key to {url.host} over plain http, where others can read it; "
            "use https, or pass allow_http=True if you trust the network"
        )
    return url


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
