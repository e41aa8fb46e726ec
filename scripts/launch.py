"""Trains a policy: python scripts/launch.py [--config FILE.yaml] [--key value ...]; --help shows all keys."""

import sys

try:
    from distes.cli import main
except ModuleNotFoundError as error:
    sys.exit(f"error: {error.name} is not installed for {sys.executable}: run `make setup` or `pip install -e .`")

if __name__ == "__main__":
    sys.exit(main())
