"""Studies, trials and points in SQL: `session` opens a store, `record` writes, `queries` reads; rows come back plain."""
