"""What holds for every class that stands on an abstract base, run over all of them: see `registry.py`."""
