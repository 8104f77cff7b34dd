"""The second half of `make contract`: the schemathesis command against `orembed serve`."""

import subprocess
import sys

from stress.servers import orembed_serve
from tools import ROOT
from tools.generate import PACKAGE


def run_schemathesis(url: str, *options: str) -> int:
    """Run the schemathesis command against a server; its exit status."""
    command = [sys.executable, "-m", "schemathesis.cli"]
    command += ["--config-file", str(ROOT / "schemathesis.toml"), "run"]
    command += [str(PACKAGE / "contract.json"), "--url", url, *options]
    # schemathesis.toml names a hook by its module, which is found from the root
    return subprocess.run(command, check=False, cwd=ROOT).returncode


def main() -> int:
    """Run schemathesis against `orembed serve`; its exit status."""
    with orembed_serve() as (url, _):
        return run_schemathesis(url)


if __name__ == "__main__":
    sys.exit(main())
