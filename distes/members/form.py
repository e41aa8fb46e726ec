"""The forms in which a module runs for many members."""

import enum


class Form(enum.Enum):
    """How a module runs for many members: from the fastest form to the most general one."""

    LAYERS = "with its layers replaced"
    VMAP = "through torch.func.vmap"
    VMAP_OF_ROWS = "through torch.func.vmap, each row as a batch of its own"
    MEMBERS = "member by member"
    ROWS = "row by row"
