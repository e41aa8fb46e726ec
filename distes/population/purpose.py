"""What an evaluation is for: to learn from it, to steer a run by it, or to report it."""

from enum import IntEnum


class Purpose(IntEnum):
    """What an evaluation is for, which decides the data that a task with data held out may use.

    Attributes:
        TRAIN: A strategy learns from it: members, and centres or candidates that the strategy itself asks for.
        VALIDATE: The run is steered by it: the running evaluation of the centre, `policy/best`, the target.
        TEST: Nothing is decided by it: the last evaluation of a run, and that of a saved policy.
    """

    TRAIN = 0
    VALIDATE = 1
    TEST = 2
