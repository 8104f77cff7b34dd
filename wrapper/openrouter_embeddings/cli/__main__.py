"""Run `orembed` with `python -m openrouter_embeddings.cli`."""

import sys

from . import main

sys.exit(main())
