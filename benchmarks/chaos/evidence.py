"""What is kept of a round in which something was wrong."""

import json
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks.chaos.comparison import Comparison
from benchmarks.chaos.service import UpService


@dataclass
class Evidence:
    """A folder of its own for each such round. It holds simulated data only."""

    folder: Path
    comparison: Comparison | None = None
    #: What was wrong at each look of the quiet time.
    timeline: list[str] = field(default_factory=list)

    def collect(self, name: str, problems: list[str], service: UpService) -> Path:
        """Problems, differences, processes and logs; returns the folder."""
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "problems.txt").write_text("\n".join(problems) + "\n")
        (folder / "timeline.txt").write_text("\n".join(self.timeline) + "\n")
        if self.comparison is not None:
            differences = [asdict(one) for one in self.comparison.differences]
            (folder / "differences.json").write_text(json.dumps(differences, indent=1))
        processes = [f"{one.kind} {one.pid}" for one in service.targets()]
        (folder / "processes.txt").write_text("\n".join(processes) + "\n")
        shutil.copytree(service.settings.logs, folder / "logs", dirs_exist_ok=True)
        if service.log.exists():
            shutil.copy(service.log, folder / "up.log")
        return folder

    def keep_home(self, home: Path) -> Path:
        """The state folder, from a disk that is about to go; returns where it is now."""
        kept = self.folder / "home"
        ignored = shutil.ignore_patterns("chaos-ballast", ".s.PGSQL*", "run")
        shutil.copytree(home, kept, symlinks=True, ignore=ignored, dirs_exist_ok=True)
        return kept
