"""What runs at development time only: from the published page to `generated/`."""
