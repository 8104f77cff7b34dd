"""One module for each framework, each behind an extra of its own."""
