"""Batching policies, one a file; the file name is the policy's name.

A policy is one function `schedule(config, replica, requests, running, cache)` of the signature SCHEDULE, called once a
step. It sets `scheduled_tokens` (more than 0 for those that take part), takes blocks with `blocks.grow`, admits with
`blocks.admit` or `blocks.admit_in_order` and preempts with `blocks.preempt`; the loop advances the requests afterwards.
An `exhausted` request is left alone. It cannot see output lengths: they lie in a record it is not given; what a client
allows at most, `max_new_tokens`, it sees.

Declared beside it:

- WATERMARK, the share of the KV blocks that admission leaves free;
- WHOLE_PROMPT: a prompt's blocks are all taken at its admission;
- CHUNKS: a prompt may be computed in several steps; without, one that is longer than the token budget is rejected;
- RESERVES: the blocks of max_model_len tokens are taken at admission. A policy that reserves and does not chunk knows no
  token budget: its steps hold as many whole prompts as have slots;
- CACHES: what is admitted may find blocks in the prefix cache;
- OWN_MICRO_BATCH: in a pipeline, requests keep to micro-batches of at most `micro_batch_seqs`, the seats of one stage;
- COUNTABLE: first come first served and with options that encode to zeros, every decode takes part in every step, then
  the one part-done prompt takes the rest of the budget, then admission is from the head: counters decide such steps.

KNOBS names the deployment's knobs that not every policy heeds and that this one does: long_prefill_token_threshold,
scheduler_reserve_full_isl, scheduling_policy. Without the attribute it heeds none of them.

A policy with knobs of its own has `Options`, a Spec whose fields all have defaults (the deployment's
`scheduler_options`), `encode(options)`, which returns them as at most 8 whole numbers (`config.options`), and may have
`check(options, deployment, field)`, which raises InputError under `field` for options that do not go with the deployment.
"""
