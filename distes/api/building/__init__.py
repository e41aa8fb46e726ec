"""From a checked configuration to the objects of a run: experiment, policy, pool, monitors."""
