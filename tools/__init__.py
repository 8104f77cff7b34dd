"""Development tools: from the published specification to `generated/`."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
