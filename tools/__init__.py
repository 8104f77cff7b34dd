"""What runs at development time only: from the published page to `generated/`."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
