"""Tries the adapters in their frameworks: `make adapters`, or `make adapters ONLY=langchain`.

Each framework has an environment of its own in `.venv/adapters/`, as its users install it, and
tests in `tests/adapters/with_NAME.py`.
"""

import sys

from tests.environments import ROOT, run


def main(names: list[str]) -> int:
    """Run the tests of these frameworks; 0 if all have passed."""
    failed = []
    for name in names:
        print(f"{name}:", flush=True)
        # anyio runs the async tests; pytest-asyncio, which some suites install, would want settings
        tests = ROOT / "tests" / "adapters" / f"with_{name}.py"
        if not run(f"adapters/{name}", "-p", "no:asyncio", tests):
            failed.append(name)
    print(f"failed: {', '.join(failed)}" if failed else f"passed: {', '.join(names)}")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
