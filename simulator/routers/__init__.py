"""Routers, one a file; the file name is the router's name.

A router is one function `route(state, replicas, requests, contents, request)` of the signature ROUTE, called for every
request that arrives; it returns an engine's number, or NOBODY: then the request waits in front of the fleet, and the router
is asked again, in order of arrival, whenever an engine ends a step or lets a request go.

`state` is its own memory, int64, zero at the start of a run but for `state[0]`, the run's seed. `state[:OWN]` is free to
use; after it come one number a session (STATE_PER_SESSION) and then one number a content id (STATE_PER_CONTENT), of which
a module declares one at most. `contents` holds the ids of the blocks of all requests; those of a request begin at its
`content_at`. A router may look at the blocks of the prompt only: those of the output are not there when it is asked.

IGNORES_STATE says that the choice depends on nothing but the order of arrival, so that a fleet is as many independent
engines.
"""

OWN = 8
