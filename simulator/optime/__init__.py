"""Operator times: what one iteration runs (families), on which shapes (operators), and what each costs (sources)."""
