"""The two programs in C: the server of every measurement, and the floor."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE
from typing import TYPE_CHECKING

from .vectors import PERIOD

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
NO_TLS = "the server cannot be compiled with OpenSSL; install its headers, such as libssl-dev"


@dataclass(frozen=True)
class Server:
    """A running server.

    Attributes:
        url: its address without a path.
        pid: its process.
    """

    url: str
    pid: int


def compiled(name: str, folder: Path, *options: str) -> Path:
    """Compile benchmarks/NAME.c into the folder; return the program."""
    if not shutil.which("cc"):
        raise SystemExit("nothing was measured: the server is written in C; install a C compiler")
    program, defined = folder / name, ["-D_GNU_SOURCE", f"-DPERIOD={PERIOD}"]
    files = ["-o", str(program), str(HERE / f"{name}.c")]
    subprocess.run(["cc", "-O3", *defined, *files, "-lm", *options], check=True)
    return program


@contextmanager
def served(certificate: Path | None = None) -> Iterator[Server]:
    """Run the server in another process; with a certificate and its key, it serves https.

    Raises:
        NotImplementedError: https was asked for, and OpenSSL's headers are missing.
    """
    with tempfile.TemporaryDirectory() as folder:
        if certificate is None:
            program, scheme, given = compiled("server", Path(folder)), "http://127.0.0.1", []
        else:
            try:
                program = compiled("server", Path(folder), "-DTLS", "-lssl", "-lcrypto")
            except subprocess.CalledProcessError as error:
                raise NotImplementedError(NO_TLS) from error
            scheme, given = "https://localhost", [certificate]
        with subprocess.Popen([program, *given], stdin=PIPE, stdout=PIPE, text=True) as process:
            assert process.stdout is not None
            try:
                yield Server(f"{scheme}:{int(process.stdout.readline())}", process.pid)
            finally:
                process.kill()


def certificate(folder: Path) -> Path:
    """Write a certificate for https on this machine into the folder, and its authority, ca.pem."""
    import trustme

    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(
        folder / "server.pem"
    )
    return folder / "server.pem"
