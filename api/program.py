"""The points program in words, and what of it concerns a member."""

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from decimal import Decimal
from typing import Any

from fastapi import APIRouter, Depends, Request

from api import models
from api.database import answering
from api.keys import require
from api.problems import Problem, described
from api.state import state_of
from loyalty import program_words
from loyalty.currency import EXPONENTS
from loyalty.program import BEGINNING, Program
from loyalty.program_words import factor
from loyalty.promotions import Promotion
from sql import expiry, ledger, member_outlook
from sql.balance import MemberBalance
from sql.db import connect
from sql.member_outlook import MemberOutlook

router = APIRouter(prefix="/api/program", tags=["members"])
_WORKERS = ThreadPoolExecutor(1, thread_name_prefix="program")


@router.get(
    "",
    dependencies=[Depends(require("members:read"))],
    responses=described(401, 403, 404, 422, 429, 503),
    summary="The points program in words",
)
async def program(request: Request) -> models.ProgramWords:
    """What earns points, tiers, expiry and promotions of now, in English and Portuguese."""
    async with answering():
        in_force, promotions = await asyncio.get_running_loop().run_in_executor(
            _WORKERS, _rules, state_of(request).config.dsn
        )
    if in_force is None:
        raise Problem(404, "no_program", "No version of the points program is in force.")
    return _in_words(in_force, promotions)


def shown_points(has: MemberBalance, becomes: MemberOutlook) -> models.MemberPoints:
    """What the API answers about a member."""
    progress = becomes.tier_progress
    shown: dict[str, Any] | None = None
    if progress is not None:
        shown = asdict(progress)
        for name in ("reached", "missing_to_next"):
            shown[name] = _counted(shown[name], progress.currency)
        if shown["keep"] is not None:
            shown["keep"]["missing"] = _counted(shown["keep"]["missing"], progress.currency)
    return models.MemberPoints.model_validate(
        asdict(has)
        | {
            "tier_multiplier": becomes.tier_multiplier,
            "pending_points": becomes.pending_points,
            "tier_progress": shown,
            "promotions": [_promotion(rule) for rule in becomes.promotions],
        }
    )


def _rules(dsn: str) -> tuple[Program | None, list[Promotion]]:
    with connect(dsn) as connection:
        now = expiry.now(connection)
        in_force = member_outlook.in_force(ledger.programs(connection), now)
        return in_force, member_outlook.running(ledger.promotions(connection), now)


def _in_words(rules: Program, promotions: list[Promotion]) -> models.ProgramWords:
    policy = rules.tier_policy
    thresholds = policy.thresholds if policy else {}
    ranked = policy.ranked(rules.entry_tier) if policy else []
    others = sorted(set(rules.tier_rate_bps) - set(ranked), key=rules.tier_rate_bps.__getitem__)
    currency = policy.currency if policy else None
    return models.ProgramWords(
        version=rules.version,
        valid_from=None if rules.valid_from <= BEGINNING else rules.valid_from,
        earning=_earning(rules),
        tiers=[
            models.ProgramTier(
                tier=tier,
                multiplier=factor(rules.tier_rate_bps[tier]),
                threshold=_counted(thresholds.get(tier), currency),
                words=_words(program_words.tier(rules.tier_rate_bps[tier], tier, policy)),
            )
            for tier in (*ranked, *others)
        ],
        keeping_tiers=_words(program_words.keeping(policy)) if policy else None,
        expiry=_words(program_words.expiry(rules.expiry)),
        promotions=[_promotion(rule) for rule in promotions],
    )


def _earning(rules: Program) -> list[models.EarningRate]:
    """Rates, the one of most currencies last: it is told as that of every other one."""
    by_rate: dict[int, list[str]] = {}
    for currency, bps in sorted(rules.base_rate_bps.items()):
        by_rate.setdefault(bps, []).append(currency)
    rates = sorted(by_rate.items(), key=lambda rate: (len(rate[1]), rate[1]))
    every = len(rules.base_rate_bps) >= len(EXPONENTS)
    return [
        models.EarningRate(
            points_per_unit=factor(bps),
            currencies=[] if every and place == len(rates) - 1 else currencies,
            words=_words(
                program_words.earning(
                    bps, None if every and place == len(rates) - 1 else currencies
                )
            ),
        )
        for place, (bps, currencies) in enumerate(rates)
    ]


def _promotion(rule: Promotion) -> models.Promotion:
    return models.Promotion(
        promotion_id=rule.promotion_id, title=rule.title, ends_at=rule.valid_to,
        words=_words(program_words.promotion(rule)),
    )  # fmt: skip


def _words(words: program_words.Words) -> models.Words:
    values: Mapping[str, str] = asdict(words)
    return models.Words(**values)


def _counted(amount: int | None, currency: str | None) -> Decimal | None:
    """Points as they are, or money in whole units."""
    if amount is None:
        return None
    return Decimal(amount) if currency is None else Decimal(amount).scaleb(-EXPONENTS[currency])
