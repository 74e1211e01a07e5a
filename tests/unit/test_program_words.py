"""The program in words: both languages say the same numbers, and no condition is left out."""

from datetime import UTC, date, datetime, time
from typing import Any

import pytest

from loyalty import program_words
from loyalty.policies import EventRule, Expiry, Pending, TierPolicy
from loyalty.program_words import Words
from loyalty.promotions import Promotion

SINCE = datetime(2026, 1, 1, tzinfo=UTC)


def told(rule: dict[str, Any], **when: Any) -> Words:
    promotion = Promotion.model_validate(
        {"promotion_id": "p", "version": 1, "valid_from": SINCE, "rule": rule, "when": when}
    )
    return program_words.promotion(promotion).words


def test_earning_tiers_and_expiry() -> None:
    assert program_words.earning(125_000, ["AOA", "EUR"]) == Words(
        "You earn 12.5 points for each AOA or EUR.", "Ganha 12,5 pontos por cada AOA ou EUR."
    )
    assert program_words.earning(10_000, None).pt == (
        "Ganha 1 ponto por cada unidade da moeda em que paga."
    )
    policy = TierPolicy(thresholds={"silver": 5_000}, period="quarter", grace_days=30)
    assert program_words.tier(12_000, "silver", policy) == Words(
        "You earn 1.2 times as many points, once your points from purchases of the last 365 days "
        "come to 5000 points.",
        "Ganha 1,2 vezes os pontos, quando os pontos de compras dos últimos 365 dias chegam a "
        "5000 pontos.",
    )
    spent = TierPolicy(metric="spend", currency="AOA", thresholds={"silver": 1_000_050})
    assert "come to 10000.50 AOA" in program_words.tier(12_000, "silver", spent).en
    assert "as compras dos últimos 365 dias chegam a 10000,50 AOA" in (
        program_words.tier(12_000, "silver", spent).pt
    )
    assert program_words.tier(10_000, "lead", policy).pt == "Ganha 1 vezes os pontos."
    assert program_words.keeping(policy).pt.endswith("no fim de cada trimestre, 30 dias depois.")
    assert program_words.expiry(None).pt == "Os pontos não expiram."
    assert program_words.expiry(Expiry(months=12, end_of="month")) == Words(
        "Points expire 12 months after the purchase, at the end of that month; the oldest are "
        "spent first.",
        "Os pontos expiram 12 meses depois da compra, no fim desse mês; os mais antigos são "
        "gastos primeiro.",
    )


def test_from_when_on_points_can_be_spent() -> None:
    assert program_words.spending(None).pt == "Pode gastar os pontos de imediato."
    assert program_words.spending(Pending(days=14, until_paid=True)) == Words(
        "You can spend the points of a purchase once it is paid and 14 days after its day are "
        "over.",
        "Pode gastar os pontos de uma compra quando esta estiver paga e passarem 14 dias depois do "
        "dia da compra.",
    )
    assert program_words.spending(Pending(days=1)).en.endswith("once 1 day after its day is over.")


@pytest.mark.parametrize(
    ("rule", "en", "pt"),
    [
        (
            {"kind": "seasonal_multiplier", "multiplier_bps": 25_000},
            "2.5 times as many points.", "2,5 vezes os pontos.",
        ),
        (
            {"kind": "purchase_bonus", "points": 500},
            "500 points extra for a purchase.", "Mais 500 pontos por uma compra.",
        ),
        (
            {"kind": "referral_reward", "referrer_points": 100, "friend_points": 1},
            "100 points for you when somebody you referred buys, and 1 point for them.",
            "100 pontos para si quando alguém que convidou compra, e 1 ponto para essa pessoa.",
        ),
        (
            {"kind": "product_bonus", "match": {"skus": ["A", "B"]}, "points_per_unit": 5},
            "5 points extra for each A or B.", "Mais 5 pontos por cada A ou B.",
        ),
        (
            {"kind": "product_bonus", "match": {"categories": ["large"]}, "percent_bps": 500},
            "5 % of the price of large as extra points.", "Mais 5 % do preço de large em pontos.",
        ),
        (
            {"kind": "product_bonus", "match": {"skus": ["A"]}, "multiplier_bps": 0},
            "No points for A.", "Sem pontos para A.",
        ),
    ],
)  # fmt: skip
def test_what_promotions_give(rule: dict[str, Any], en: str, pt: str) -> None:
    assert told(rule) == Words(en, pt)


@pytest.mark.parametrize(
    ("when", "en", "pt"),
    [
        ({"lists": ["vip"]}, "for invited members", "para membros convidados"),
        ({"code": {"code": "SECRET"}}, "with a code", "com um código"),
        (
            {"lapsed_days": 90}, "when you have not bought for 90 days",
            "se não comprar há 90 dias",
        ),
        (
            {"bought_before": {"skus": ["A"], "categories": ["large"]}},
            "when you have bought large or A before", "se já comprou large ou A",
        ),
        (
            {"bought_lately": {"days": 30, "purchases": 3, "minimum_minor": {"AOA": 150_000}}},
            "when you have bought 3 times for 1500.00 AOA or more in the last 30 days",
            "se comprou 3 vezes por 1500,00 AOA ou mais nos últimos 30 dias",
        ),
        (
            {"bought_lately": {"days": 1}}, "when you have bought something in the last 1 day",
            "se comprou algo no último dia",
        ),
        ({"cities": ["Luanda", "Lobito"]}, "in Luanda or Lobito", "em Luanda ou Lobito"),
        ({"stores": ["Loja 1"]}, "at Loja 1", "na loja Loja 1"),
        ({"channels": ["web"]}, "bought by web", "comprado por web"),
        ({"regions": ["Huíla"]}, "in the region Huíla", "na região Huíla"),
        ({"nth_purchase": 22}, "on every 22nd purchase", "em cada 22.ª compra"),
        ({"nth_purchase": 12}, "on every 12th purchase", "em cada 12.ª compra"),
        (
            {"streak": {"weeks": 4}}, "when you buy in each of 4 weeks in a row",
            "se comprar em cada uma de 4 semanas seguidas",
        ),
        (
            {"streak": {"months": 3}}, "when you buy in each of 3 months in a row",
            "se comprar em cada um de 3 meses seguidos",
        ),
    ],
)  # fmt: skip
def test_counted_purchases(when: dict[str, Any], en: str, pt: str) -> None:
    words = told({"kind": "purchase_bonus", "points": 50}, **when)
    assert words == Words(
        f"50 points extra for a purchase ({en}).", f"Mais 50 pontos por uma compra ({pt})."
    )


@pytest.mark.parametrize(
    ("name", "rule", "en", "pt"),
    [
        ("sign_up", {}, "20 points when you sign up.", "20 pontos quando se regista."),
        (
            "birthday", {}, "20 points on your birthday, once a year.",
            "20 pontos no seu aniversário, uma vez por ano.",
        ),
        ("review", {}, "20 points for review.", "20 pontos por review."),
        ("review", {"at_most": 1}, "20 points for review (once).", "20 pontos por review (uma vez)."),
        (
            "review", {"per_day": 1, "at_most": 50},
            "20 points for review (once a day; 50 times in all at most).",
            "20 pontos por review (uma vez por dia; no máximo 50 vezes ao todo).",
        ),
        (
            "review", {"per_day": 2}, "20 points for review (2 times a day at most).",
            "20 pontos por review (no máximo 2 por dia).",
        ),
    ],
)  # fmt: skip
def test_what_is_earned_beside_buying(name: str, rule: dict[str, int], en: str, pt: str) -> None:
    assert program_words.event(name, EventRule(points=20, **rule)).words == Words(en, pt)


def test_every_condition_that_a_customer_can_act_on_is_told() -> None:
    words = told(
        {"kind": "purchase_bonus", "points": 50},
        minimum_minor={"AOA": 500_000}, first_purchase=True, currencies=["AOA"],
        tiers=["gold"], weekdays=["sat", "sun"], dates=[date(2026, 11, 27)],
        hours=[{"start": time(8), "end": time(12)}],
    )  # fmt: skip
    assert words.en == (
        "50 points extra for a purchase (from 5000.00 AOA; on your first purchase; paid in AOA; "
        "for the tier gold; on Saturday or Sunday; 08:00 to 12:00; on 2026-11-27)."
    )
    assert words.pt == (
        "Mais 50 pontos por uma compra (a partir de 5000,00 AOA; na primeira compra; pago em AOA; "
        "para o nível gold; sábado ou domingo; das 08:00 às 12:00; em 27/11/2026)."
    )
