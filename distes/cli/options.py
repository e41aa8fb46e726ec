"""The options of the commands that take no keys of the configuration, in a table for shell completion.

The commands' own parsers import torch, and a shell that starts should not wait for it. A test compares the two.
"""

from typing import Literal

Values = tuple[str, ...] | Literal["file", "text"] | None
SAVED: dict[str, Values] = {"--trust": None, "--debug": None}
MEMBER: dict[str, Values] = {"--generation": "text", "--pair": "text", "--sign": ("+", "-")}
# For each option the values that it takes, `file` for a path, `text` for any other value, None for a switch.
OPTIONS: dict[str, dict[str, Values]] = {
    "play": {
        "--policy": ("best", "last"),
        "--episodes": "text",
        "--seed": "text",
        "--record": "file",
        "--max_steps": "text",
        "--fps": "text",
        "--every": "text",
        "--size": "text",
        "--render": ("human",),
        **SAVED,
        **MEMBER,
    },
    "evaluate": {
        "--policy": ("best", "last"),
        "--episodes": "text",
        "--seed": "text",
        "--prompts": "text",
        "--answers": "file",
        "--json": None,
        **SAVED,
    },
    "plot": {
        "--kind": ("curves", "population", "path"),
        "-x": ("timesteps", "seconds", "generations"),
        "-y": "text",
        "--by": "text",
        "--smooth": "text",
        "--title": "text",
        "-o": "file",
        "--output": "file",
        "--svg": None,
        "--png": None,
        "--debug": None,
    },
    "compare": {"--by": "text", "--target": "text", "--json": None, "--debug": None},
    "export": {
        "--onnx": "file",
        "--torch_export": "file",
        "--subnetwork": "file",
        "--transformers": "file",
        "--dtype": ("float32", "bfloat16", "float16"),
        "--policy": ("best", "last"),
        **SAVED,
    },
    "vine": {"-o": "file", "--out": "file", **SAVED},
    "import_config": {
        "--from": ("openai", "uber", "rllib", "zoo", "evotorch"),
        "--name": "text",
        "-o": "file",
        "--output": "file",
        "--table": None,
        **SAVED,
    },
}
EVERY: dict[str, Values] = {"--help": None}  # what each of them takes besides
