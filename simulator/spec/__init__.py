"""The nouns of Trimtab: one frozen, strict class each, the same in YAML, REST, SQL and Ray."""
