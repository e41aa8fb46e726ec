"""`distes resume RUN_DIR [--generations N ...]`: `distes train --resume RUN_DIR` under a name of its own."""

import sys
from collections.abc import Sequence

from distes.cli import train
from distes.errors.installation import typed_command
from distes.runs.terminal import tell

USAGE = """\
usage: {} RUN_DIR [--KEY VALUE ...]

Goes on with a run from its newest checkpoint, bit for bit.

  --generations, --total_timesteps, --max_seconds, --target_fitness
                         a longer budget, or another target
  --workers, --address, --device, --chunk_timeout, --sync
                         where and how it goes on
  --eval_episodes, --eval_every, --final_episodes
                         how the policy is evaluated
  --replay G[,PAIR,SIGN] evaluate one member of generation G alone, or its centre
  --trust                let the run import and call code that is not part of distes
  --dry_run, --print_config, --quiet, --debug

Other keys make the experiment, and a resumed run keeps its experiment. --help WORD
finds keys by any part of their name.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs `distes resume` and returns the exit code, as `guarded` does.

    Args:
        argv: The arguments after `resume`; None takes those of this process.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments in (["--help"], ["-h"]):
        tell(USAGE.format(typed_command("resume")), sys.stdout if arguments else sys.stderr)
        return 0 if arguments else 2
    directory = [] if arguments[0].startswith("-") else ["--resume", arguments.pop(0)]
    return train.main([*directory, *arguments])
