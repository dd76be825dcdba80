"""The ledger: every trade under its id, exactly as the exchange sent it, or named as missing."""
