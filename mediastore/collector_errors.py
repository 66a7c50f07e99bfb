"""The collector's errors: it refuses rather than deletes. They belong to the table in errors.py."""

from mediastore.errors import MediastoreError


class CollectorRefused(MediastoreError):
    """The collector will not run in this state."""

    code = "collector_refused"
    exit_code = 30


class CollectorPaused(CollectorRefused):
    """The collector is paused; 'mediastore-gc status' says why."""

    code = "collector_paused"
    exit_code = 31


class UnsafeDelays(CollectorRefused):
    """Delays below the safe minimum; --unsafe-delays accepts that bytes may be lost."""

    code = "unsafe_delays"
    exit_code = 32


class DatabaseRestored(CollectorRefused):
    """The database is behind what collectors have done with the store: it has been restored."""

    code = "database_restored"
    exit_code = 33


class ClockSkew(CollectorRefused):
    """The database's clock and this host's clock disagree, or the database's clock jumped."""

    code = "clock_skew"
    exit_code = 34


class RecountFailed(CollectorRefused):
    """The recount met something doubtful, so nothing may be deleted on its word."""

    code = "recount_failed"
    exit_code = 35


class BytesGone(CollectorRefused):
    """Some of its bytes are being deleted or have been; nothing was brought back."""

    code = "bytes_gone"
    exit_code = 36


class Held(CollectorRefused):
    """A legal hold keeps it; nothing was erased."""

    code = "held"
    exit_code = 37


class BadReceipt(CollectorRefused):
    """The receipt is not what the holder of the key has signed."""

    code = "bad_receipt"
    exit_code = 38


class AuditFindings(MediastoreError):
    """The audit found what must not be; its report names it. Nothing was deleted."""

    code = "audit_findings"
    exit_code = 40


class AuditStopped(MediastoreError):
    """The audit was stopped before its end; its report says how to go on."""

    code = "audit_stopped"
    exit_code = 41


class UnfitStore(CollectorRefused):
    """The bucket keeps or expires objects by itself, against what collection promises."""

    code = "unfit_store"
    exit_code = 42
