"""Batching policies, one a file; the file name is the policy's name.

A policy is one function `schedule(config, replica, requests, running)` of the signature SCHEDULE, called once a step.
It sets `scheduled_tokens` (more than 0 for those that take part), takes blocks with `blocks.grow`, admits with
`blocks.admit` and preempts with `blocks.preempt`; the loop advances the requests afterwards. An `exhausted` request is
left alone. `running` keeps the order of admission. It cannot see output lengths: they lie in a record it is not given.
WATERMARK is the share of the KV blocks that admission leaves free. WHOLE_PROMPT says that a prompt's blocks are all taken
at its admission. COUNTABLE says that, first come first served, every decode takes part in every step, then the one
part-done prompt takes the rest of the budget, then admission is from the head: such steps are decided by counters.
"""
