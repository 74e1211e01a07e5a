"""Where exchange rates come from: a file, pasted text, or the configured address."""

from pathlib import Path
from urllib.parse import urlsplit

from connectors.kit.http.download import download
from loyalty.fx import BadRatesError, FxRate, read_csv
from settings import settings

#: A larger file is no file of rates.
BYTES_MAX = 5_000_000


def read_rates(
    *, text: str = "", file: str = "", source: str = "", carry_days: int = 0
) -> tuple[list[FxRate], str]:
    """The rates, and their source.

    Args:
        text: The CSV itself. If empty, `file` counts.
        file: Its path; or else it is downloaded from TWEZAH_FX_URL.
        source: Where the rates are from; if empty, the file's name or the address's host.
        carry_days: See `loyalty.fx.read_csv`.

    Raises:
        BadRatesError: The file cannot be used, is missing or too large, or no address is
            configured.
        connectors.kit.http.download.DownloadError: It could not be downloaded.
    """
    if text:
        return read_csv(_decoded(text.encode()), carry_days=carry_days), source or "entered by hand"
    if file:
        return read_csv(_decoded(_file(Path(file))), carry_days=carry_days), source or Path(
            file
        ).name[:200]
    url = settings().fx_url
    if url is None:
        raise BadRatesError(["no file was given, and no address is configured (TWEZAH_FX_URL)"])
    address = url.get_secret_value()
    body = download(address, bytes_max=BYTES_MAX)
    return read_csv(_decoded(body), carry_days=carry_days), source or urlsplit(
        address
    ).hostname or "TWEZAH_FX_URL"


def _file(path: Path) -> bytes:
    try:
        with path.open("rb") as opened:
            return opened.read(BYTES_MAX + 1)
    except OSError as error:
        raise BadRatesError([f"{path}: {error.strerror or 'cannot be read'}"]) from None


def _decoded(body: bytes) -> str:
    if len(body) > BYTES_MAX:
        raise BadRatesError([f"the file is larger than {BYTES_MAX} bytes: load it in parts"])
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise BadRatesError(["the file is not UTF-8 text"]) from None
