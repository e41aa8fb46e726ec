"""Members of past generations, made again from integers."""
