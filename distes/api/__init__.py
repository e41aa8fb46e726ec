"""From a configuration to a run: values and files, the objects that they describe, the run and what it leaves."""
