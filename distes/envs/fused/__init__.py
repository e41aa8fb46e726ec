"""Steps of the classic tasks in compiled code for a CPU, generated from their definitions; see `fusion`."""
