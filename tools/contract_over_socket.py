"""`make contract`, its second half: schemathesis' own command against `orembed serve`."""

import subprocess
import sys

from tools import ROOT
from tools.generate import PACKAGE


def examine(url: str, *options: str) -> int:
    """Let schemathesis look at a server; its exit status."""
    command = [sys.executable, "-m", "schemathesis.cli"]
    command += ["--config-file", str(ROOT / "schemathesis.toml"), "run"]
    command += [str(PACKAGE / "contract.json"), "--url", url, *options]
    # the configuration names a hook by its module
    return subprocess.run(command, check=False, cwd=ROOT).returncode


def main() -> int:
    """Serve on a free port, and examine that."""
    serve = [sys.executable, "-m", "openrouter_embeddings.cli", "serve", "--port", "0"]
    with subprocess.Popen(serve, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None  # noqa: S101 - it was asked for
        url = server.stdout.readline().strip().partition("=")[2]
        try:
            return examine(url)
        finally:
            server.terminate()


if __name__ == "__main__":
    sys.exit(main())
