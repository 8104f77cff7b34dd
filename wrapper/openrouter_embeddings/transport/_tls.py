"""The TLS settings of connections: which certificates they trust."""

import os
import ssl
import sys
from pathlib import Path
from typing import Any

import httpx

from openrouter_embeddings.errors import InputError

_TLS_FILES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE")


def check_ssl_context(context: Any, *, for_asyncio: bool) -> None:
    """Raise InputError if this cannot secure the connections of a client."""
    # not isinstance: truststore.inject_into_ssl() replaces ssl.SSLContext by a class of its own
    if not hasattr(type(context), "wrap_bio"):
        raise InputError(f"ssl_context: expected an ssl.SSLContext, got {type(context).__name__}")
    if for_asyncio and not isinstance(context, ssl.SSLContext):  # asyncio requires that
        raise InputError(
            "ssl_context was made before truststore.inject_into_ssl(), so asyncio would refuse it; "
            "make it after that"
        )
    if context.protocol == ssl.PROTOCOL_TLS_SERVER:
        raise InputError("ssl_context is one for servers; make it by ssl.create_default_context()")


def create_ssl_context() -> ssl.SSLContext:
    """A context that trusts the certificates of the first of these that there is.

    SSL_CERT_FILE, SSL_CERT_DIR, the operating system (if truststore is installed), certifi. That is
    the order of httpx2, which requires truststore.

    Raises InputError with the name of an unusable file, which OpenSSL omits.
    """
    folders = "" if os.environ.get("SSL_CERT_FILE") else os.environ.get("SSL_CERT_DIR", "")
    if folders and not any(Path(folder).is_dir() for folder in folders.split(os.pathsep)):
        raise InputError(  # OpenSSL would trust nothing then, and say nothing
            f"SSL_CERT_DIR={folders}: no such directory; correct the variable, or unset it"
        )
    try:
        is_set = os.environ.get("SSL_CERT_FILE") or os.environ.get("SSL_CERT_DIR")
        return (None if is_set else _system_context()) or httpx.create_ssl_context()
    except OSError as error:
        files = {name: os.environ[name] for name in _TLS_FILES if name in os.environ}
        for name, file in files.items():
            is_read = name != "SSLKEYLOGFILE"
            if is_read and isinstance(error, FileNotFoundError) and not Path(file).exists():
                raise InputError(
                    f"{name}={file}: no such file; correct the variable, or unset it"
                ) from None
        named = ", ".join(f"{name}={file}" for name, file in files.items())
        raise InputError(
            f"TLS cannot use the files in these environment variables ({named}): {error}; "
            "correct the variables, or unset them"
        ) from None


def _system_context() -> ssl.SSLContext | None:
    """A context that trusts the operating system's certificates; None without truststore."""
    try:
        import truststore  # noqa: PLC0415 - an extra
    except ImportError:
        return None
    if sys.platform not in ("win32", "darwin") and _openssl_has_certificates():
        # The same certificates. truststore reads all of them again for each connection, in 26 ms,
        # and lets only one thread at a time shake hands.
        return ssl.create_default_context()
    return truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _openssl_has_certificates() -> bool:
    """Whether OpenSSL, as it was compiled, finds the system's; truststore knows more places."""
    paths = ssl.get_default_verify_paths()
    hashed = paths.capath and any(Path(paths.capath).glob("????????.[0-9]"))
    return bool(paths.cafile or hashed)
