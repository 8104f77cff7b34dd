"""`make contract`, its second half: schemathesis' own command against `orembed serve`."""

import subprocess
import sys

from tools import ROOT
from tools.generate import PACKAGE


def main() -> int:
    """Serve on a free port and let schemathesis look; its exit status."""
    serve = [sys.executable, "-m", "openrouter_embeddings.cli", "serve", "--port", "0"]
    with subprocess.Popen(serve, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None  # noqa: S101 - it was asked for
        url = server.stdout.readline().strip().partition("=")[2]
        run = ["schemathesis.cli", "--config-file", str(ROOT / "schemathesis.toml"), "run"]
        where = [str(PACKAGE / "contract.json"), "--url", url]
        try:
            return subprocess.run([sys.executable, "-m", *run, *where], check=False).returncode
        finally:
            server.terminate()


if __name__ == "__main__":
    sys.exit(main())
