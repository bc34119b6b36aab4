"""The compiled simulator: records, KV accounting, the loop that steps replicas, the digest of all of it."""
