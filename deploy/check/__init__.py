"""Checks of what is to be run: an engine's command against the options of its own parser, documents against their schemas.

A table (`tables/`) has the options of one version of an engine, as its own parser has them (`python -m deploy.check.table`), so
that a command can be checked where the engine is not installed. What cannot be checked here is said, never passed over.
"""
