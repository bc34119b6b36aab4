"""A campaign: everything that is measured on a lone GPU, in calls of under nine minutes, gone on with by the same command.

`plan` is what there is to do, `record` what became of it, `run` one call, `summary` and `page` what came of it all.
"""
