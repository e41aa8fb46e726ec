"""What a run leaves, ready for use: load, evaluate, film, plot, compare and export it."""
