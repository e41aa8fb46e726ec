"""The classes that may be chosen by short names: those of the folders that hold the parts of a run."""

import re

from distes import HOMES

# The folder of distes that holds the classes of a part. Public classes in that folder have short names, and the first
# of them is the default. Base classes are no choices.
FOLDERS = {"task": "tasks", "policy": "policies", "strategy": "strategies", "perturbation": "perturbations"}
ROOMS = "(?:gym|language|supervised)"  # folders within them that hold choices as well
NO_CHOICES = "base$|layout$|virtual_batch_norm$|ask_tell$"
CLASSES = {
    section: [
        name
        for name, home in HOMES.items()
        if re.fullmatch(rf"distes\.{folder}\.(?:{ROOMS}\.)?(?!{NO_CHOICES})\w+", home)
    ]
    for section, folder in FOLDERS.items()
}
