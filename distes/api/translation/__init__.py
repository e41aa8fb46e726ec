"""Configurations of other libraries in our terms: a table of keys for each format, and what tables cannot say."""
