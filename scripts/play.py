"""Plays a saved policy: python scripts/play.py RUN_DIR [--episodes N] [--record FILE.mp4|gif] [--render human]."""

import sys

try:
    from distes.__main__ import main
except ModuleNotFoundError as error:
    from instead import instead

    print(f"error: {error.name} is not installed for {sys.executable}: {instead(__file__)}", file=sys.stderr)
    sys.exit(2)

if __name__ == "__main__":
    sys.exit(main("play"))
