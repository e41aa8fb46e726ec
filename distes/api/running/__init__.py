"""Starting runs: one, a sweep, a rehearsal; what comes before training and after it."""
