"""What to do about failures that are not a billing system's: database, disk, time."""

import errno

import psycopg

from loyalty.masking import message

#: The longest a message of the database is shown.
_SHOWN = 300
#: Advice where a disk is full.
_DISK_FULL = (
    "The disk of the state folder or of the database is full. Make room (`df -h`; logs are "
    "under `logs/` of the state folder), then press Retry. What was not stored is fetched "
    "again; nothing counts twice."
)
#: Advice where transactions got in each other's way.
_DATABASE_BUSY = (
    "The database is busy. It was tried several times; press Retry, or leave it to the "
    "next scheduled run."
)
#: Advice where there is no connection to the database.
_DATABASE_AWAY = (
    "The database was away or refused the connection. Look whether `twezah up` runs, or the "
    "server named in TWEZAH_DATABASE_URL. Then press Retry, or leave it to the next scheduled "
    "run: it goes on where this one stopped."
)


class TookTooLongError(TimeoutError):
    """A run was ended because it took too long.

    Prefect itself says only which scope timed out.
    """

    def __str__(self) -> str:
        """What to do."""
        return (
            "the run took longer than it may and was ended, so that the runs waiting behind it "
            "can start. Nothing is lost: the next scheduled run, or Retry, continues with the "
            "pages that are stored. If it happens again, read a shorter period at a time (Custom "
            "run, since and until)."
        )


def is_expected(error: BaseException) -> bool:
    """Whether a run may meet this error although the program has no defect.

    Such a run fails with a message instead of a traceback.
    """
    return isinstance(error, psycopg.OperationalError | TookTooLongError) or _disk_is_full(error)


def describe_error(error: BaseException) -> str:
    """The kind of the error, its message, and what to do."""
    advice = _advice(error)
    message_text = message(str(error))  # a document or a file may be named after somebody's phone
    text = message_text[:_SHOWN].rstrip(". ") + ". " if advice else message_text
    return f"{type(error).__name__}: {text}{advice}"


def _advice(error: BaseException) -> str:
    if _disk_is_full(error):
        return _DISK_FULL
    if not isinstance(error, psycopg.OperationalError):
        return ""
    if error.sqlstate in ("40001", "40P01", "55P03", "57014"):
        return _DATABASE_BUSY
    return _DATABASE_AWAY


def _disk_is_full(error: BaseException) -> bool:
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    return isinstance(error, psycopg.Error) and error.sqlstate == "53100"
