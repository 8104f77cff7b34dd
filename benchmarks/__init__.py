"""Speed and memory, compared with other clients: `make bench SUITE=`. Nothing here is a test."""
