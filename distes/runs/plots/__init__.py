"""Pictures of runs, and the only modules that import matplotlib (extra `plots`)."""

from importlib.util import find_spec

from distes.errors import ConfigurationError, installation

if find_spec("matplotlib") is None:
    raise ConfigurationError(f"matplotlib draws the plots, and is not installed: {installation.install('plots')}")
