"""Nightly sweeps: pinned searches, scenarios and price books against an approved baseline; accuracy tracked apart.

A suite (`suite.py`) is run (`run.py`): each case gives numbers and the digests of what it rests on (`cases.py`,
`digests.py`). `compare.py` says which numbers moved beyond their tolerance, `blame.py` what moved them. What is written:
SQL (`record.py`), JUnit XML (`junit.py`), Markdown (`markdown.py`).
"""
