"""Which physics steps MuJoCo's environments, and how much room it has: the argument `physics` of `Gym`."""

import dataclasses

from distes.errors import ConfigurationError, did_you_mean


@dataclasses.dataclass(frozen=True)
class WarpSettings:
    """How much room MuJoCo Warp has. The defaults are enough for all eight tasks, after falls, too.

    Attributes:
        nconmax: Contacts per world on average: all worlds share one buffer, whose size is this number times theirs.
        njmax: Rows of constraints of a world, at most.
    """

    nconmax: int = 24
    njmax: int = 48

    @classmethod
    def read(cls, physics: str) -> "WarpSettings | None":
        """Reads the argument `physics`.

        Args:
            physics: `c`; or `warp`, perhaps with settings: `warp:nconmax=48,njmax=96`.

        Returns:
            None for `c`.

        Raises:
            ConfigurationError: It is neither.
        """
        engine, _, settings = physics.partition(":")
        if engine not in ("c", "warp") or (engine == "c" and settings):
            raise ConfigurationError(
                f"physics must be 'c' (MuJoCo) or 'warp' (MuJoCo Warp, also 'warp:nconmax=48,njmax=96'); got "
                f"{physics!r}.{did_you_mean(engine, ('c', 'warp'))}",
                argument="physics",
            )
        if engine == "c":
            return None
        given = {}
        for part in filter(None, settings.split(",")):
            name, _, number = part.partition("=")
            if name not in ("nconmax", "njmax") or not number.isdecimal() or int(number) < 1:
                raise ConfigurationError(
                    f"physics {physics!r}: {part!r} is neither nconmax=N nor njmax=N, with a number from 1.",
                    argument="physics",
                )
            given[name] = int(number)
        return cls(**given)

    def with_more(self, name: str) -> str:
        """The value of `physics` that gives twice the room.

        Args:
            name: `nconmax` or `njmax`.
        """
        more = dataclasses.replace(self, **{name: 2 * getattr(self, name)})
        usual = WarpSettings()
        changed = [f"{key}={value}" for key, value in vars(more).items() if value != getattr(usual, key)]
        return f"warp:{','.join(changed)}"
