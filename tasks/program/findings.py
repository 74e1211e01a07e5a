"""What a file of rules says that is not true, by itself or beside what is stored."""

from collections.abc import Sequence

from connectors import DESCRIBED, SYSTEMS
from loyalty.authoring import Rules, placed, read_rules
from loyalty.findings import Findings, find, matches_of
from loyalty.program import Program
from loyalty.program_diff import plan
from loyalty.promotions import Promotion
from sql import member_history as facts
from sql.db import DbConnection
from sql.rule_names import stored_names
from tasks.program.reach import never_applies


def check_file(text: str, connection: DbConnection | None) -> tuple[Rules, Findings]:
    """A file, and what is not true of it, each with its line.

    Args:
        text: The file.
        connection: Reads only. None: no database answers, so the file stands for itself.

    Raises:
        loyalty.authoring.BadRulesError: With all problems of the file.
    """
    if connection is None:
        rules = read_rules(text)
        programs = [rules.program] if rules.program else []
        return rules, find_in(rules, programs, rules.promotions, text, None)
    stored = facts.rules(connection)
    zone = max(stored.programs, key=lambda p: p.version).timezone
    rules = read_rules(text, zone=zone)
    planned = plan(stored.programs, stored.promotions, rules)
    return rules, find_in(rules, planned.programs, planned.promotions, text, connection)


def find_in(
    rules: Rules,
    programs: Sequence[Program],
    promotions: Sequence[Promotion],
    text: str,
    connection: DbConnection | None,
) -> Findings:
    """The same, where the rules as they would be are known."""
    matches = [match for p in rules.promotions for _, match in matches_of(p)]
    stored = None
    if connection is not None:
        names = any(match.name_patterns for match in matches)
        places = any(p.when.places for p in rules.promotions)
        stored = stored_names(connection, products=bool(matches), names=names, places=places)
    known = [*SYSTEMS, *DESCRIBED, *(stored.systems if stored else ())]
    found = find(rules, programs, promotions, known, stored)
    by_day = never_applies(rules.promotions, None if stored is None else stored.systems)
    mistakes = placed([*found.mistakes, *by_day.mistakes], text)
    return Findings(tuple(mistakes), tuple(placed([*found.notes, *by_day.notes], text)))
