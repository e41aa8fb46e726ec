"""Evolution strategies: what to try next, and what to learn from how it went."""
