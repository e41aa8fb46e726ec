"""`distes export`: writes a saved policy for other programs.

As ONNX or with torch.export; a subnetwork as a seed and bits; a language model as a folder of transformers.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from distes.cli.guard import work_of_command
from distes.cli.parser import TRUST, Parser
from distes.errors import ConfigurationError
from distes.runs.terminal import tell

DTYPES = ("float32", "bfloat16", "float16")


def _parser() -> argparse.ArgumentParser:
    parser = Parser("export", description="Exports a saved policy, and checks the file.")
    parser.add_argument("run_dir", metavar="RUN_DIR", help="the run directory")
    form = parser.add_mutually_exclusive_group(required=True)
    form.add_argument("--onnx", type=Path, metavar="FILE", help="for ONNX runtimes; needs the extra onnx")
    form.add_argument("--torch_export", type=Path, metavar="FILE", help="for torch.export.load")
    form.add_argument("--subnetwork", type=Path, metavar="FILE", help="a seed and one bit per weight, for distes.load")
    form.add_argument(
        "--transformers",
        type=Path,
        metavar="FOLDER",
        help="of a language model, for AutoModelForCausalLM; a new folder",
    )
    parser.add_argument(
        "--dtype", choices=DTYPES, help="of the weights in the folder of --transformers (default: float32)"
    )
    parser.add_argument("--policy", choices=("best", "last"), default="best", help="(default: %(default)s)")
    parser.add_common(trust=TRUST)
    return parser


def _subnetwork(flags: argparse.Namespace) -> int:
    from distes.api.saved.load import load
    from distes.api.saved.subnetwork_file import export_subnetwork

    policy = load(flags.run_dir, flags.policy, trust=flags.trust)
    size, connections, kept = export_subnetwork(policy.saved, flags.subnetwork, trust=flags.trust)
    text = (
        f"{flags.subnetwork}: {size:,} bytes for {connections:,} connections, of which {kept:,} are kept; the same "
        "weights after it is read\n"
    )
    tell(text, sys.stdout)
    return 0


def _transformers(flags: argparse.Namespace) -> int:
    from distes.api.saved.export_language import export_transformers, require_free
    from distes.api.saved.language_model import LanguageModel
    from distes.api.saved.load import load, require_language

    require_free(flags.transformers)  # loading takes long
    what, hint = "transformers: only a language model can be written so", "Use --onnx or --torch_export."
    require_language(Path(flags.run_dir), flags.policy, what, hint)
    model = load(flags.run_dir, flags.policy, trust=flags.trust)
    assert isinstance(model, LanguageModel)
    made = export_transformers(model, flags.transformers, dtype=flags.dtype or "float32", run_dir=flags.run_dir)
    text = (
        f"{flags.transformers}: {made.name}, {made.parameters:,} parameters in {made.dtype}, {made.size:,} bytes; read "
        "back, with equal weights\n"
    )
    tell(text, sys.stdout)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Runs `distes export` and returns the exit code, as `guarded` does.

    Args:
        argv: The arguments after `export`; None takes those of this process.
    """
    flags = _parser().parse_args(argv)

    def work() -> int:
        from distes.api.saved.export import OBSERVATIONS, export
        from distes.api.saved.load import load

        if flags.dtype is not None and flags.transformers is None:
            raise ConfigurationError("--dtype is for --transformers; other formats keep the policy's own.")
        if flags.transformers is not None:
            return _transformers(flags)
        if flags.subnetwork is not None:
            return _subnetwork(flags)
        path, form = (flags.onnx, "onnx") if flags.onnx is not None else (flags.torch_export, "torch_export")
        difference = export(load(flags.run_dir, flags.policy, trust=flags.trust), path, form)
        text = f"{path}: agrees with predict on {OBSERVATIONS:,} observations (largest difference {difference:.1e})\n"
        tell(text, sys.stdout)
        return 0

    return work_of_command(work, debug=flags.debug)
