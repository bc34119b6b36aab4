"""Drift: a newer trace beside the workload of a stored study, and whether the study's answer still stands.

`traffic.py` says what both are, `blocks.py` how far sampling alone moves a number, `measures.py` the numbers of either,
`compare.py` what changed; `standing.py` simulates the study's deployment again, `again.py` searches anew.
"""
