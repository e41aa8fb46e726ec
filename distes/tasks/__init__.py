"""Tasks: from members and episode seeds to fitness. A task knows no evolution."""
