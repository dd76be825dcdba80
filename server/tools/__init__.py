"""The tools that a model calls: each loads from the ledger, analyses, and presents one answer."""
