"""Routers, one a file; the file name is the router's name.

A router is one function `route(state, replicas, requests, request)` of the signature ROUTE, called once an arrival; it
returns the replica's number. `state` is its own memory: int64[8], zero at the start of a run. IGNORES_STATE says that
the choice does not depend on the replicas, so that a fleet is as many independent replicas.
"""
