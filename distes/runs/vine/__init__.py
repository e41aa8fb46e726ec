"""The page that shows a run's populations: HTML with a small script, self-contained."""
