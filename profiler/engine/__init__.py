"""A small serving engine in torch that is driven by the simulator's own schedulers on the simulator's own records.

From the outside in: `server` answers HTTP, `engine` runs steps, `driver` asks the policy who takes part, `batch` lays the
step out, `model` computes it over the KV pool of `kv/` with a backend of `attention/`, launched by a way of `graphs/`;
`sampling` picks tokens, `verification` makes them certain. `followers`, `parallel` and `pipeline` spread it over processes.
"""
