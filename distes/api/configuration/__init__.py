"""From YAML files, flags and arguments of Python to checked values."""
