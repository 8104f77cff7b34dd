"""Speed, side by side with other clients; `make bench`. None of this is a test."""
