"""`python -m trimtab`."""

from trimtab import entry

entry()
