"""`python -m openrouter_embeddings.cli` is `orembed`."""

import sys

from . import main

sys.exit(main())
