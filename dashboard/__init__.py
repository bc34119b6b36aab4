"""What people look at: `words` and `frames` prepare stored rows, `figures` draws them, `report` makes the offline page."""
