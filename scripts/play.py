"""Plays a saved policy: python scripts/play.py RUN_DIR [--episodes N] [--record FILE.mp4|gif] [--render human]."""

import sys

try:
    from distes.play import main
except ModuleNotFoundError as error:
    sys.exit(f"error: {error.name} is not installed for {sys.executable}: run `make setup` or `pip install -e .`")

if __name__ == "__main__":
    sys.exit(main())
