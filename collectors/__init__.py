"""From the exchange's wire to the ledger: links, one order by id, and what fills the gaps."""
