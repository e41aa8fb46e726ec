"""Base class of the records that travel, and the type of most of their arrays."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


class ReadOnly:
    """Base class of records with read-only arrays, in this process and after unpickling in another.

    A record holds views, so the owner of an array may still write to it.
    """

    def __post_init__(self) -> None:
        """Makes the arrays given to the constructor read-only."""
        for name, value in vars(self).items():
            if isinstance(value, np.ndarray) and value.flags.writeable:
                sealed = value.view()
                sealed.flags.writeable = False
                self.__dict__[name] = sealed

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restores the record and makes the unpickled arrays read-only."""
        self.__dict__.update(state)
        ReadOnly.__post_init__(self)
