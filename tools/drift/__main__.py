"""`python -m tools.drift`: list what the contract offers and the wrapper does not.

It calls the wrapper to find out. To keep a gap, accept it in tools/gaps.toml with a reason.
"""

import argparse
import sys

from openrouter_embeddings.local.contract import shipped

from tools.drift.gaps import check_gaps, findings, read_accepted


def main(arguments: list[str]) -> int:
    """Print the open gaps; return 1 if there are any."""
    parser = argparse.ArgumentParser(prog="python -m tools.drift", description=__doc__)
    parser.add_argument("--accepted", action="store_true", help="also list the accepted gaps")
    args = parser.parse_args(arguments)
    drift = check_gaps(findings(shipped().document), read_accepted())
    problems = drift.problems()
    for line in problems:
        print(line)
    print(f"{len(problems)} open; {len(drift.accepted)} gaps accepted in tools/gaps.toml")
    if args.accepted:
        for finding, reason in drift.accepted:
            print(f"  {finding.key}: {reason}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
