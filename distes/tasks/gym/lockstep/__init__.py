"""Episodes in environments that are stepped one by one, with one batched policy call per step."""
