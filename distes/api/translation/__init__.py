"""Configurations of other libraries, translated into ours: a table of keys for each format, and what tables cannot say."""
