"""`distes import_config`: translates a configuration of another library into ours."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from distes.cli.guard import work_of_command
from distes.cli.output import write_text
from distes.cli.parser import Parser
from distes.runs.terminal import tell, tell_sentence

SOURCES = ("openai", "uber", "rllib", "zoo", "evotorch")


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        "import_config",
        description="Translates JSON of OpenAI's evolution-strategies-starter and of Uber's deep-neuroevolution, YAML "
        "of RLlib's ES and ARS and of rl-zoo's ars.yml, and EvoTorch's arguments, and prints the result with what each "
        "key was. A key without a counterpart is refused by name. Several files give a table.",
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="what to translate; it is read, not run")
    parser.add_argument("--from", dest="source", choices=SOURCES, help="where it comes from (default: by its content)")
    parser.add_argument("--name", metavar="NAME", help="the entry, such as an environment of rl-zoo's ars.yml")
    parser.add_argument("-o", "--output", type=Path, metavar="YAML", help="write the configuration there")
    parser.add_argument("--table", action="store_true", help="say of each entry of the files whether it is translated")
    parser.add_common(trust="let it import environments that are not part of distes")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs `distes import_config` and returns the exit code, as `guarded` does; 2 if anything is refused.

    Args:
        argv: The arguments after `import_config`; None takes those of this process.
    """
    flags = _parser().parse_args(argv)
    work = _table if flags.table or len(flags.files) > 1 else _one
    return work_of_command(lambda: work(flags), debug=flags.debug)


def _one(flags: argparse.Namespace) -> int:
    from distes.api.translation.import_config import import_config

    found = import_config(flags.files[0], flags.source, flags.name, trust=flags.trust)
    if found.warning:
        tell_sentence(f"warning: {found.warning}\n", sys.stderr)
    if flags.output is None:
        tell(found.text, sys.stdout)
        return 0
    write_text(flags.output, found.text, "output")
    rows = "".join(f"  {was}  ->  {ours}\n" for was, ours in found.rows)
    tell(f"{rows}{flags.output}: distes train --config {flags.output}\n", sys.stdout)
    return 0


def _table(flags: argparse.Namespace) -> int:
    from distes.api.translation.import_config import try_all
    from distes.errors import ConfigurationError

    if flags.output is not None:
        raise ConfigurationError("--output is for one configuration: give one FILE, and --name for one of its entries.")
    found = try_all(flags.files, flags.source, flags.name, trust=flags.trust)
    text = "".join(f"{one.name}: {one.problem or one.warning or 'translated'}\n" for one in found)
    good = sum(not one.problem for one in found)
    tell(f"{text}{good} of {len(found)} are translated.\n", sys.stdout)
    return 0 if good == len(found) else 2
