"""What can go wrong with a ledger.

LedgerError
├── StoreLocked        another process holds the directory
├── StoreUnavailable   the disk or the directory refuses; what was not written is kept in memory
├── CorruptRecord      bytes that are not what the format says; left in place
├── NewerFormat        written by a newer version of tapedeck
├── VenueMismatch      recorded from another exchange
└── RowsRefused        rows of the past that the ledger's owner does not take
"""

# What became of damage that was come upon, and what to do.
LEFT = "left in place, run `tapedeck verify --repair`"


class LedgerError(Exception):
    """Base of all errors of the ledger."""


class StoreLocked(LedgerError):
    """Another process holds the ledger's directory."""


class StoreUnavailable(LedgerError):
    """The ledger cannot be read or written now."""


class CorruptRecord(LedgerError):
    """A record differs from what the format says; it is left in place."""


class NewerFormat(LedgerError):
    """A newer version of tapedeck wrote this."""


class VenueMismatch(LedgerError):
    """The ledger was recorded from another venue."""


class RowsRefused(LedgerError):
    """Rows that were offered are not taken, and why."""
